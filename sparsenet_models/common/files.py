"""Files: written whole or not at all, and checked by their hash."""

from __future__ import annotations

import hashlib
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def local_path(path: str | os.PathLike[str]) -> Path:
    """Return the path that a user named, with ``~`` and ``~user`` expanded.

    Raises:
        ValueError: there is no such user, or the text is empty, which would stand for the current folder.
    """
    if path == "":
        raise ValueError("the path of a file or a folder is empty")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path} cannot be expanded: {error}") from error


def temporary_name(name: str, mark: str) -> str:
    """Return the name under which ``name`` is written before it takes its place."""
    return f".{name}.{mark}.tmp"


@contextmanager
def atomic_write(*paths: Path, through_links: bool = True) -> Iterator[tuple[Path, ...]]:
    """Yield a temporary file beside each path; all take their places once all are on the disk.

    A path that is a device or a pipe, such as ``/dev/stdout``, is yielded itself. A file that is there keeps
    its mode.

    Args:
        *paths: the files; their folders must be there.
        through_links: write the file that a link leads to, instead of replacing the link.

    Raises:
        OSError: a file cannot be written; the error names its path, not the temporary file.
    """
    targets = {
        path: Path(os.path.realpath(path)) if through_links else path
        for path in paths
        if path.is_file() or not path.exists()
    }
    written = {
        path: target.with_name(temporary_name(target.name, uuid.uuid4().hex[:8]))
        for path, target in targets.items()
    }
    try:
        yield tuple(written.get(path, path) for path in paths)
        for temporary in written.values():
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        for path, temporary in written.items():
            _take_mode(temporary, path)
        for path, temporary in written.items():
            temporary.replace(targets[path])
    except OSError as error:
        for path, temporary in written.items():
            if error.filename is not None and str(error.filename) == str(temporary):
                raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        for temporary in written.values():
            with suppress(OSError):  # what was raised says more
                temporary.unlink(missing_ok=True)


def _take_mode(temporary: Path, path: Path) -> None:
    """Give a temporary file the mode of the file whose place it takes, if there is one."""
    if path.exists():
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode != stat.S_IMODE(temporary.stat().st_mode):  # some file systems refuse every chmod
            temporary.chmod(mode)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, 64 hexadecimal digits."""
    return digest(path, hashlib.sha256())


def digest(path: Path, hasher: Any) -> str:
    """Return the hexadecimal digest of a file, read in pieces, by a hasher of ``hashlib``."""
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            hasher.update(chunk)
    return hasher.hexdigest()


def verify_sha256(path: Path, expected: str) -> None:
    """Raise unless the file has the sha256 ``expected`` (64 hexadecimal digits).

    Raises:
        ValueError: it has another one.
        OSError: the file cannot be read.
    """
    check_is_file(path)
    sha256 = sha256_of(path)
    if sha256 != expected:
        raise ValueError(
            f"{path} is not the file that its configuration names ({path.stat().st_size:,} bytes, sha256 "
            f"{sha256}, expected {expected}); it was changed or damaged"
        )


def check_is_file(path: Path) -> None:
    """Raise an OSError that names ``path`` unless it is a regular file."""
    if not path.exists():
        raise FileNotFoundError(f"weight file not found: {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a weight file")
    if not path.is_file():
        raise OSError(f"{path} is not a regular file")
