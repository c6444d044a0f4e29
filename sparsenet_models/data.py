"""Labelled image sets, held in memory as uint8: Parquet folders, class folders, CIFAR by download."""

from __future__ import annotations

import urllib.error
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .transforms import create_crop, open_image, to_channels

SPLIT_NAMES = {"train": ("train",), "test": ("test", "val", "validation")}


@dataclass(frozen=True)
class ImageSet:
    """Images ``(N, C, H, W)`` uint8, labels ``(N,)`` int64, the name of each class, the set's name."""

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    name: str

    def __len__(self) -> int:
        return len(self.labels)


def load_image_set(source: str | PathLike[str], split: str, data_config: dict[str, Any]) -> ImageSet:
    """Load one split of a labelled set, cropped to the size of ``data_config``.

    Args:
        source: a folder that ``datasets.load_dataset`` reads (its first Image and first ClassLabel
            column are taken), a folder with ``train/`` and ``test/`` or ``val/`` of class folders,
            or "cifar10" or "cifar100" for torchvision's download.
        split: "train" or "test".
        data_config: what ``resolve_data_config`` returns.

    Raises:
        ValueError: the folder is none of these, or holds no image.
        OSError: the folder is missing, an image damaged, or the download fails.
        ImportError: reading it needs a package that is not installed.
    """
    path = Path(source)
    if not path.is_dir():
        if str(source) in ("cifar10", "cifar100"):
            return _download_cifar(str(source), split, data_config)
        raise FileNotFoundError(
            f"data folder not found: {source} (a folder, or 'cifar10' or 'cifar100' to download)"
        )
    class_folders = _class_folders(path, split)
    if class_folders is not None:
        return _read_class_folders(class_folders, path.resolve().name, data_config)
    return _read_with_datasets(path, split, data_config)


def _class_folders(path: Path, split: str) -> Path | None:
    for name in SPLIT_NAMES[split]:
        folder = path / name
        if folder.is_dir() and any(child.is_dir() for child in folder.iterdir()):
            return folder
    return None


def _read_class_folders(folder: Path, name: str, data_config: dict[str, Any]) -> ImageSet:
    from torchvision.datasets import ImageFolder

    try:
        files = ImageFolder(str(folder), allow_empty=True)
    except FileNotFoundError as error:
        raise ValueError(f"{folder} holds no class folders of images ({error})") from error
    if not files.samples:
        raise ValueError(f"{folder} holds class folders but no image in any of them")
    channels = data_config["input_size"][0]
    images = (open_image(path, channels) for path, _ in files.samples)
    return _gathered(images, files.targets, tuple(files.classes), name, data_config)


def _read_with_datasets(path: Path, split: str, data_config: dict[str, Any]) -> ImageSet:
    folders = " or ".join(f"{name}/" for name in SPLIT_NAMES[split])
    refusal = f"{path} holds neither class folders under {folders} nor data that datasets can read"
    if not any(child.is_file() for child in path.rglob("*")):
        raise ValueError(f"{refusal}: it has no file")
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            f"reading {path} needs the package datasets: pip install 'sparsenet-models[training]'"
        ) from error

    try:
        found = datasets.load_dataset(str(path))
    # Its own exceptions and those of every reader beneath: pyarrow's, json's, ...
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{refusal}: {reason}") from error
    names = [name for name in SPLIT_NAMES[split] if name in found]
    if not names:
        raise ValueError(f"{path} has no split named {' or '.join(SPLIT_NAMES[split])}: {list(found)}")
    rows = found[names[0]]
    image_column = _first_column(rows, datasets.Image, path)
    label_column = _first_column(rows, datasets.ClassLabel, path)
    channels = data_config["input_size"][0]
    images = (to_channels(row[image_column], channels) for row in rows)
    class_names = tuple(rows.features[label_column].names)
    return _gathered(images, list(rows[label_column]), class_names, path.resolve().name, data_config)


def _first_column(rows: Any, kind: type, path: Path) -> str:
    for column, feature in rows.features.items():
        if isinstance(feature, kind):
            return column
    raise ValueError(f"{path} has no {kind.__name__} column: {dict(rows.features)}")


def _download_cifar(name: str, split: str, data_config: dict[str, Any]) -> ImageSet:
    from torchvision.datasets import CIFAR10, CIFAR100

    kind = CIFAR10 if name == "cifar10" else CIFAR100
    downloads = Path.home() / ".cache" / "sparsenet_models"
    try:
        rows = kind(str(downloads), train=split == "train", download=True)
    except (urllib.error.URLError, RuntimeError) as error:
        raise OSError(
            f"{name} could not be downloaded into {downloads} ({error}); give a folder instead"
        ) from error
    channels = data_config["input_size"][0]
    images = (to_channels(Image.fromarray(pixels), channels) for pixels in rows.data)
    return _gathered(images, rows.targets, tuple(rows.classes), name, data_config)


def _gathered(
    images: Iterable[Image.Image],
    labels: list[int],
    class_names: tuple[str, ...],
    name: str,
    data_config: dict[str, Any],
) -> ImageSet:
    if not labels:
        raise ValueError(f"{name} holds no image")
    if not 0 <= min(labels) <= max(labels) < len(class_names):
        raise ValueError(f"{name} has labels outside its {len(class_names)} classes (hidden ones, perhaps)")
    channels, height, width = data_config["input_size"]
    crop = create_crop(
        data_config["input_size"],
        interpolation=data_config["interpolation"],
        crop_pct=data_config["crop_pct"],
        crop_mode=data_config["crop_mode"],
    )
    # Written in place: a list of arrays beside their stack would need the memory twice.
    pixels = np.empty((len(labels), height, width, channels), dtype=np.uint8)
    for index, image in enumerate(images):
        if image.size != (width, height):
            image = crop(image)
        pixels[index] = np.asarray(image).reshape(height, width, channels)
    tensor = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return ImageSet(tensor, torch.tensor(labels), class_names, name)
