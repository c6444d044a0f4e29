"""What the user names as data: a folder, or a set to download. No torch here, so a slip is told at once."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from ..common.files import local_path
from ..common.messages import did_you_mean

DOWNLOADS = ("cifar10", "cifar100", "imagenette", "tiny-imagenet")
"""The sets that are downloaded from their own homes."""


LOADERS = ("auto", "memory", "stream")
"""How ``load_image_set`` reads images."""


def data_source(source: str | PathLike[str]) -> Path | str:
    """Return the folder of an image set, or the name of one to download if there is no folder of that name.

    Raises:
        FileNotFoundError: it is neither.
        NotADirectoryError: it is a file.
    """
    folder = local_path(source)
    if folder.is_dir():
        return folder
    if str(source) in DOWNLOADS:
        return str(source)
    if folder.exists():
        raise NotADirectoryError(f"data must be a folder of images, {source} is a file")
    known = ", ".join(map(repr, DOWNLOADS[:-1]))
    hint = did_you_mean(source, DOWNLOADS) or f" (a folder, or {known} or {DOWNLOADS[-1]!r} to download)"
    raise FileNotFoundError(f"data folder not found: {source}{hint}")
