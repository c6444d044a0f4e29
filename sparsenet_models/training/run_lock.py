"""The lock that keeps a second run out of a folder; it ends with its process, however that ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..data.run_files import LOCK

WAIT_SECONDS = 6.0
"""A killed run may hold its lock through its data workers, which notice its end within five seconds."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make ``folder`` and keep other runs out of it; afterwards remove what was made and is still empty.

    Raises:
        ValueError: another run is in the folder.
        OSError: the folder cannot be made or written into.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=WAIT_SECONDS)
    except Timeout:
        raise ValueError(
            f"out is in use: another run trains into {folder}; wait for its end, or give another folder"
        ) from None
    try:
        yield
    finally:
        with suppress(OSError):  # Windows keeps an open file
            Path(lock.lock_file).unlink()
        lock.release()
        for path in missing:
            with suppress(OSError):
                path.rmdir()
