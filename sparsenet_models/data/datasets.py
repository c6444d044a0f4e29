"""Opens labelled image sets: class folders, folders that `datasets` reads, and known sets by download."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..common.arguments import first_repeated, one_of
from ..common.files import local_path
from .class_folders import ClassFolders, has_pictures, read_class_folders, visible_folders
from .dataset_rows import dataset_splits, read_dataset_rows
from .downloads import downloaded_cifar, downloaded_imagenette, downloaded_tiny_imagenet
from .image_set import AnyImageSet, StreamedImageSet
from .pictures import open_image, to_channels
from .sources import LOADERS, data_source
from .tiny_imagenet import is_tiny_imagenet, read_tiny_imagenet
from .transforms import create_crop

SPLIT_NAMES = {
    "train": ("train",),
    "validation": ("val", "validation"),
    "test": ("test", "val", "validation"),
}

LIKE_SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "eval", "dev"}
"""Names in small letters of folders that are hardly classes."""

IN_MEMORY_BYTES = 2 * 2**30
"""Image sets with at most this many bytes of pixels are read into memory, larger ones are streamed."""


def load_image_set(
    source: str | PathLike[str],
    split: str,
    data_config: dict[str, Any],
    loader: str = "auto",
    workers: int = 0,
) -> AnyImageSet:
    """Open one split of a labelled image set, cropped to the size of ``data_config``.

    Args:
        source: a folder with ``train/`` and ``test/`` or ``val/`` of class folders; a folder of class
            folders, which is one training split; a folder that ``datasets.load_dataset`` reads, by its
            first Image and its first ClassLabel column; Tiny ImageNet in its own layout; or "cifar10",
            "cifar100", "imagenette" or "tiny-imagenet", which is downloaded.
        split: "train", "test" (``val/`` where there is no ``test/``), or "validation" (``val/`` alone; the
            sets that are downloaded have none).
        data_config: the image configuration, as ``resolve_data_config`` returns it.
        loader: "memory" reads all images now, "stream" reads each image when it is used; "auto" reads
            sets of at most ``IN_MEMORY_BYTES`` into memory.
        workers: number of processes that read a streamed set; 0 reads in this process.

    Raises:
        ValueError: the folder is none of these, or has no image; a class has the name of a split and holds
            folders; ``split`` or ``loader`` is unknown, or the set has no such split.
        OSError: the folder is missing, an image is damaged, or the download fails.
        ImportError: reading it needs a package that is not installed.
    """
    one_of("split", split, SPLIT_NAMES)
    one_of("loader", loader, LOADERS)
    image_set = _open(source, split, data_config, workers)
    if loader == "memory" or (loader == "auto" and fits_in_memory(image_set)):
        return image_set.in_memory()
    return image_set


def fits_in_memory(image_set: AnyImageSet) -> bool:
    """Return whether ``load_image_set`` reads such a set into memory by itself."""
    return len(image_set) * math.prod(image_set.size) <= IN_MEMORY_BYTES


def split_for(source: str | PathLike[str], split: str) -> str | None:
    """Return the name of what ``load_image_set`` opens as ``split``, None where there is nothing.

    Args:
        source: as for ``load_image_set``.
        split: "train", "test" or "validation".

    Raises:
        ValueError: the folder is none that ``load_image_set`` opens.
        ImportError: reading it needs a package that is not installed.
    """
    path = local_path(source)
    if not path.is_dir() or is_tiny_imagenet(path):
        return None if split == "validation" else split
    folder = _class_folders(path, split)
    if folder is not None:
        return folder.name
    if any(_class_folders(path, other) for other in SPLIT_NAMES):
        return None
    _refuse_classes_named_as_splits(path)
    names = dataset_splits(path, SPLIT_NAMES[split])
    return next((name for name in SPLIT_NAMES[split] if name in names), None)


def _open(
    source: str | PathLike[str], split: str, data_config: dict[str, Any], workers: int
) -> StreamedImageSet:
    path = data_source(source)
    name = path if isinstance(path, str) else path.resolve().name
    if split == "validation" and (isinstance(path, str) or is_tiny_imagenet(path)):
        raise ValueError(f"{name} has no images for validation beside those of split='test'")
    if path in ("cifar10", "cifar100"):
        rows = downloaded_cifar(name, split)
        open_image_at = partial(_open_pixels, rows.data, data_config["input_size"][0])
        return _image_set(open_image_at, rows.targets, rows.classes, name, data_config, workers)
    if path == "imagenette":
        return _of_files(downloaded_imagenette(split), name, data_config, workers)
    if isinstance(path, str):
        path = downloaded_tiny_imagenet()
    if is_tiny_imagenet(path):
        return _of_files(read_tiny_imagenet(path, split), "tiny-imagenet", data_config, workers)
    class_folders = _class_folders(path, split)
    if class_folders is not None:
        return _of_files(read_class_folders(class_folders), name, data_config, workers)
    _refuse_classes_named_as_splits(path)
    found = read_dataset_rows(path, SPLIT_NAMES[split])
    open_image_at = partial(found.open_image, data_config["input_size"][0])
    rows = (found.labels, found.class_names, name)
    return _image_set(open_image_at, *rows, data_config, workers, encoded_at=found.encoded)


def _refuse_classes_named_as_splits(path: Path) -> None:
    """Raise a ValueError if a folder named as a split may be a class: it has images, and sibling folders."""
    splits = {name for names in SPLIT_NAMES.values() for name in names}
    folders = visible_folders(path)
    others = [folder.name for folder in folders if folder.name not in splits]
    for folder in folders:
        if others and folder.name in splits and has_pictures(folder):
            raise ValueError(
                f"{folder} holds images beside the folder {others[0]}/, so it may be the split "
                f"{folder.name!r} or a class {folder.name!r}: put class folders into {path / 'train'}, or "
                "rename the class"
            )


def _class_folders(path: Path, split: str) -> Path | None:
    """Return the folder that has the class folders of a split, None if there is none."""
    for name in SPLIT_NAMES[split]:
        folder = path / name
        if folder.is_dir() and visible_folders(folder):
            return folder
    splits = {name for names in SPLIT_NAMES.values() for name in names}
    folders = [child.name for child in visible_folders(path)]
    if split == "train" and folders and splits.isdisjoint(folders) and not list(path.glob("**/*.parquet")):
        _refuse_misnamed_splits(path)
        return path
    return None


def _refuse_misnamed_splits(path: Path) -> None:
    """Raise a ValueError if a class seems to be a split under another name: it holds folders alone."""
    for folder in visible_folders(path):
        if folder.name.lower() in LIKE_SPLITS and visible_folders(folder) and not has_pictures(folder):
            raise ValueError(
                f"{folder} holds folders and would be a class of the name {folder.name!r}: name the splits "
                f"train, val and test, or put the classes into {path / 'train'}"
            )


def _of_files(found: ClassFolders, name: str, data_config: dict[str, Any], workers: int) -> StreamedImageSet:
    open_image_at = partial(_open_file, found.paths, data_config["input_size"][0])
    return _image_set(open_image_at, found.labels, found.class_names, name, data_config, workers, found.paths)


def _open_file(paths: Sequence[str], channels: int, index: int) -> Image.Image:
    return open_image(paths[index], channels)


def _open_pixels(pixels: Any, channels: int, index: int) -> Image.Image:
    return to_channels(Image.fromarray(pixels[index]), channels)


def _image_set(
    open_image_at: Callable[[int], Image.Image],
    labels: Sequence[int],
    class_names: Sequence[str],
    name: str,
    data_config: dict[str, Any],
    workers: int,
    paths: tuple[str, ...] = (),
    encoded_at: Callable[[int], bytes] | None = None,
) -> StreamedImageSet:
    if not labels:
        raise ValueError(f"{name} holds no image")
    for text in (name, *class_names):
        _check_is_unicode(text)
    twice = first_repeated(class_names)
    if twice is not None:
        raise ValueError(f"{name} has two classes of the name {twice!r}: rename one")
    if not 0 <= min(labels) <= max(labels) < len(class_names):
        raise ValueError(f"{name} has labels outside its {len(class_names)} classes (hidden ones, perhaps)")
    size = data_config["input_size"]
    crop = create_crop(
        size,
        interpolation=data_config["interpolation"],
        crop_pct=data_config["crop_pct"],
        crop_mode=data_config["crop_mode"],
    )
    return StreamedImageSet(
        open_image_at, crop, size, torch.tensor(labels), tuple(class_names), name, workers, paths, encoded_at
    )


def _check_is_unicode(name: str) -> None:
    """Refuse the name of a set or a class that could not be written beside the weights."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"the name {os.fsencode(name)!r} of a folder is not UTF-8, which the classes of a net must be: "
            "rename it"
        ) from None
