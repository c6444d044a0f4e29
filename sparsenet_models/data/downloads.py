"""Image sets that are downloaded from their own homes, once: torchvision's, and Tiny ImageNet."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock

from ..common.files import local_path
from .class_folders import ClassFolders, read_class_folders

TINY_IMAGENET = "http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de"
"""Address and MD5 of the archive."""

IMAGENETTE_SIZE = "320px"
"""Of torchvision's three sizes of Imagenette, by the shorter side: enough for nets of 224x224 pixels."""


def downloaded_cifar(name: str, split: str) -> Any:
    """Return torchvision's ``CIFAR10`` or ``CIFAR100``.

    Raises:
        OSError: the download fails.
    """
    from torchvision.datasets import CIFAR10, CIFAR100

    dataset = partial(CIFAR10 if name == "cifar10" else CIFAR100, str(_folder()), train=split == "train")
    with _told(name):
        try:
            return dataset()
        except RuntimeError:  # not there, or not whole
            with _alone():
                return dataset(download=True)


def downloaded_imagenette(split: str) -> ClassFolders:
    """Return the pictures of torchvision's ``Imagenette``, with classes in words; the test images are val's.

    Raises:
        OSError: the download fails.
    """
    from torchvision.datasets import Imagenette

    split, size = "train" if split == "train" else "val", IMAGENETTE_SIZE
    folder = _downloaded(
        "imagenette",
        f"imagenette2-{size.removesuffix('px')}",
        lambda target: Imagenette(target, split, size, download=True),
    )
    found = read_class_folders(folder / split)
    words = Imagenette(str(folder.parent), split, size).classes
    return ClassFolders(tuple(names[0] for names in words), found.paths, found.labels)


def downloaded_tiny_imagenet() -> Path:
    """Return the folder of Tiny ImageNet in its own layout.

    Raises:
        OSError: the download fails.
    """
    from torchvision.datasets.utils import download_and_extract_archive

    address, md5 = TINY_IMAGENET
    return _downloaded(
        "tiny-imagenet",
        "tiny-imagenet-200",
        lambda target: download_and_extract_archive(address, target, md5=md5, remove_finished=True),
    )


def _folder() -> Path:
    return local_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "sparsenet_models"


def _downloaded(name: str, folder_name: str, download: Callable[[str], object]) -> Path:
    """Return the folder that ``download`` makes in the folder it is given, and only once it is whole."""
    target = _folder() / folder_name
    if target.is_dir():
        return target
    with _told(name), _alone():
        if not target.is_dir():  # another process may have been faster
            with TemporaryDirectory(dir=_folder()) as unfinished:
                download(unfinished)
                (Path(unfinished) / folder_name).rename(target)
    return target


@contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other process downloads; the processes of one run all ask for the same set."""
    _folder().mkdir(parents=True, exist_ok=True)
    with FileLock(_folder() / ".lock"):
        yield


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        with redirect_stdout(sys.stderr):  # old torchvisions print what they download
            yield
    except (OSError, HTTPException, RuntimeError) as error:
        raise OSError(
            f"{name} could not be downloaded into {_folder()} ({error}); give a folder instead"
        ) from error
