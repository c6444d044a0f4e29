"""Image sets that the package ``datasets`` reads, such as Parquet files: the rows of one split."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ..common.extras import pip_install
from ..common.messages import one_line
from .pictures import open_image, read_image


@dataclass(frozen=True)
class DatasetRows:
    """The encoded images of a split, in ``column`` of ``rows``, and its ``labels``; errors use ``name``.

    Where a row names a file in place of an image, the file must be in one of ``folders``.
    """

    rows: Any
    column: str
    labels: Sequence[int]
    class_names: tuple[str, ...]
    name: str
    folders: tuple[Path, ...]

    def open_image(self, channels: int, index: int) -> Image.Image:
        """Return the image of a row as ``open_image`` does.

        Raises:
            OSError: the row has no image, or one that cannot be read; the message names folder and row.
        """
        stored = self._stored(index)
        if isinstance(stored, bytes):
            return read_image(io.BytesIO(stored), f"row {index} of {self.name}", channels)
        return open_image(stored, channels)

    def encoded(self, index: int) -> bytes:
        """Return the encoded image of a row.

        Raises:
            OSError: the row has no image, or one whose file cannot be read.
        """
        stored = self._stored(index)
        return stored if isinstance(stored, bytes) else Path(stored).read_bytes()

    def _stored(self, index: int) -> bytes | str:
        """Return the encoded image of a row, or the path of its file."""
        stored = self.rows[index][self.column] or {}
        found = [stored[key] for key in ("bytes", "path") if stored.get(key) is not None]
        if not found:
            raise OSError(
                f"row {index} of {self.name} has no image in its column {self.column!r}: remove the row"
            )
        if isinstance(found[0], bytes):
            return found[0]
        file = Path(os.path.abspath(found[0]))  # noqa: PTH100, as links in the folder may lead elsewhere
        if not any(file.is_relative_to(folder) for folder in self.folders) or not file.is_file():
            raise OSError(
                f"row {index} of {self.name} names {found[0]}, no file in its folder: remove the row"
            )
        return str(file)


def dataset_splits(path: Path, split_names: Sequence[str]) -> Mapping[str, Any]:
    """Return the rows of a folder that ``datasets`` reads, by the names of the splits.

    Args:
        path: the folder.
        split_names: what an error calls the folders of classes that it might have instead.

    Raises:
        ValueError: ``datasets`` cannot read the folder.
        ImportError: ``datasets`` is not installed.
    """
    folders = " or ".join(f"{name}/" for name in split_names)
    message = f"{path} holds neither class folders under {folders} nor data that datasets can read"
    if not any(child.is_file() for child in path.rglob("*")):
        raise ValueError(f"{message}: it has no file")
    try:
        import datasets
    except ImportError as error:
        raise ImportError(f"reading {path} needs the package datasets: {pip_install('training')}") from error

    try:
        return dict(datasets.load_dataset(str(path)))
    # It raises its own exceptions and those of its readers: pyarrow's, json's, ...
    except Exception as error:
        raise ValueError(f"{message}: {one_line(str(error).strip().partition(chr(10))[0], 300)}") from error


def read_dataset_rows(path: Path, split_names: Sequence[str]) -> DatasetRows:
    """Open the first of ``split_names`` in a folder, by its first Image and its first ClassLabel column.

    Raises:
        ValueError: ``datasets`` cannot read the folder, it has no such split or column, or a row no label.
        ImportError: ``datasets`` is not installed.
    """
    splits = dataset_splits(path, split_names)
    import datasets

    names = [name for name in split_names if name in splits]
    if not names:
        raise ValueError(f"{path} has no split named {' or '.join(split_names)}: {list(splits)}")
    rows = splits[names[0]]
    image_column = _first_column(rows, datasets.Image, path)
    label_column = _first_column(rows, datasets.ClassLabel, path)
    name = f"the split {names[0]!r} of {path}"
    labels = list(rows[label_column])
    if None in labels:
        raise ValueError(
            f"row {labels.index(None)} of {name} has no label in its column {label_column!r}: remove the row"
        )
    # Decoded here, as datasets would open every format of Pillow's and name no row.
    images = rows.select_columns([image_column]).cast_column(image_column, datasets.Image(decode=False))
    # datasets unpacks archives into its own folders.
    own = (datasets.config.HF_DATASETS_CACHE, datasets.config.DOWNLOADED_DATASETS_PATH)
    folders = (Path(os.path.abspath(path)), path.resolve(), *map(Path, own))  # noqa: PTH100
    classes = tuple(rows.features[label_column].names)
    return DatasetRows(images, image_column, labels, classes, name, folders)


def _first_column(rows: Any, feature_type: type, path: Path) -> str:
    for column, feature in rows.features.items():
        if isinstance(feature, feature_type):
            return column
    raise ValueError(
        f"{path} has no {feature_type.__name__} column, only {list(rows.features)}: put images into a folder "
        "for each class"
    )
