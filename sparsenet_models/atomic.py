"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def temporary_name(name: str, mark: str) -> str:
    """Return the name under which ``name`` is written before it takes its place."""
    return f".{name}.{mark}.tmp"


@contextmanager
def all_or_none(*paths: Path) -> Iterator[tuple[Path, ...]]:
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
