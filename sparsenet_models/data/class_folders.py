"""The picture files of folders. Hidden files are skipped, and what else is left out is logged."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..common.messages import one_line
from .pictures import picture_suffixes
from .run_files import RUN_FILES, RUN_PICTURES

MAX_NAMED = 5

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClassFolders:
    """``paths`` of the pictures with their ``labels``, the indices of ``class_names``."""

    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    labels: tuple[int, ...]


def visible_folders(path: Path) -> list[Path]:
    """Return the folders in ``path``, sorted, without hidden ones and those of training runs."""
    folders = (child for child in path.iterdir() if not child.name.startswith(".") and child.is_dir())
    # By name, as paths compare without regard to capital letters on Windows.
    return sorted((child for child in folders if not holds_runs(child)), key=lambda child: child.name)


def has_pictures(folder: Path) -> bool:
    """Return whether a picture lies in ``folder`` itself."""
    return any(_is_picture(child.name) for child in folder.iterdir())


def read_class_folders(folder: Path) -> ClassFolders:
    """Find the pictures of each class at every depth, in the order of torchvision's ``ImageFolder``.

    Args:
        folder: it has a folder for each class.

    Raises:
        ValueError: there is no picture.
        OSError: a folder cannot be read.
    """
    classes = visible_folders(folder)
    left_out: Counter[str] = Counter()
    paths: list[str] = []
    labels: list[int] = []
    for label, class_folder in enumerate(classes):
        found = _pictures(class_folder, left_out)
        paths += found
        labels += [label] * len(found)
    if not paths:
        raise ValueError(f"{folder} holds class folders but no image in any of them{_listed(left_out)}")
    _tell(folder, len(paths), left_out)
    return ClassFolders(tuple(child.name for child in classes), tuple(paths), tuple(labels))


def pictures_in(folder: Path) -> list[str]:
    """Find the pictures in ``folder`` at every depth, by the rules of ``read_class_folders``.

    Raises:
        ValueError: there is no picture.
        OSError: a folder cannot be read.
    """
    left_out: Counter[str] = Counter()
    paths = _pictures(folder, left_out)
    if not paths:
        raise ValueError(f"{folder} holds no image{_listed(left_out)}")
    _tell(folder, len(paths), left_out)
    return paths


def _pictures(folder: Path, left_out: Counter[str]) -> list[str]:
    return [path for _, paths in sorted(_walk(folder, left_out)) for path in paths]


def _walk(top: Path, left_out: Counter[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder with the pictures in it; links are followed, but none to a folder seen before."""
    above = {*top.absolute().parents, *top.resolve().parents}
    seen = set(map(_identity, above))
    pending = [str(top)]
    for folder in pending:
        if (identity := _identity(Path(folder))) in seen:
            continue
        seen.add(identity)
        pictures = []
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith("."):
                    left_out["hidden"] += _is_picture(entry.name)
                elif entry.is_dir():
                    if not holds_runs(Path(entry)):
                        pending.append(entry.path)
                elif not _is_picture(entry.name):
                    left_out[Path(entry.name).suffix.lower() or "without an ending"] += 1
                # A link to nothing is kept: an error will name it.
                elif entry.is_file() or entry.is_symlink():
                    pictures.append(entry.path)
                else:
                    left_out["pipe or device"] += 1
        yield folder, pictures


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in picture_suffixes()


def _identity(folder: Path) -> tuple[int, int] | Path:
    status = folder.stat()
    if status.st_ino == 0:  # the file system has no inodes
        return folder.resolve()
    return status.st_dev, status.st_ino


def holds_runs(folder: Path) -> bool:
    """Return whether ``folder`` is the folder of a run, or holds nothing but such folders."""
    if _is_run(folder):
        if any(_is_picture(child.name) and child.name not in RUN_PICTURES for child in folder.iterdir()):
            files = ", ".join(RUN_FILES)
            _log_once(
                f"{one_line(str(folder), 300)} is left out as a training run, as it holds one of {files}"
            )
        return True
    runs = False
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                runs = entry.is_dir() and _is_run(Path(entry))
                if not runs:
                    return False
    return runs


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in RUN_FILES)


def _listed(left_out: Counter[str]) -> str:
    """Return the end of a message: how many files were left out, and which."""
    counts = +left_out
    if not counts:
        return ""
    kinds = [f"{count:,} {kind}" for kind, count in counts.most_common(MAX_NAMED)]
    files = "1 file" if counts.total() == 1 else f"{counts.total():,} files"
    more = ", ..." if len(counts) > MAX_NAMED else ""
    return f"; left out as hidden or no pictures: {files} ({', '.join(kinds)}{more})"


def _tell(folder: Path, count: int, left_out: Counter[str]) -> None:
    if listed := _listed(left_out):
        _log_once(one_line(f"{folder}: {count:,} images are read{listed}", 300))


@cache  # a run opens its images more than once
def _log_once(message: str) -> None:
    _logger.warning("%s", message)
