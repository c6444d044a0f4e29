"""Files: written whole or not at all, told by their hash."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def temporary_name(name: str, mark: str) -> str:
    """Return the name under which ``name`` is written before it takes its place."""
    return f".{name}.{mark}.tmp"


@contextmanager
def atomic_write(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Yield a temporary file beside each path; all take their places once all are on the disk."""
    temporaries = tuple(path.with_name(temporary_name(path.name, uuid.uuid4().hex[:8])) for path in paths)
    try:
        yield temporaries
        for temporary in temporaries:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        for temporary, path in zip(temporaries, paths):
            temporary.replace(path)
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)


def verify_sha256(path: Path, expected: str) -> None:
    """Raise unless the file's sha256 is ``expected`` (64 hex digits).

    Raises:
        ValueError: it is another one.
        OSError: the file cannot be read.
    """
    check_is_file(path)
    found = digest(path, hashlib.sha256())
    if found != expected:
        raise ValueError(
            f"{path} is not the file that its configuration names (sha256 {found}, expected "
            f"{expected}); it was changed or damaged"
        )


def digest(path: Path, hasher: Any) -> str:
    """Return the hexadecimal digest of a file, read in pieces, by a hasher of ``hashlib``."""
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            hasher.update(chunk)
    return hasher.hexdigest()


def check_is_file(path: Path) -> None:
    """Raise an OSError that names ``path`` unless it is a regular file."""
    if not path.exists():
        raise FileNotFoundError(f"weight file not found: {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a weight file")
    if not path.is_file():
        raise OSError(f"{path} is not a regular file")
