"""A run's folder: checkpoints that are always whole, and the table of its epochs."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "model.safetensors"
METRICS = "metrics.csv"
CONFIG = "config.json"
COLUMNS = ("epoch", "loss", "lr", "seconds", "images_per_second", "top1")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it: whole, or not there.

    Raises:
        OSError: the file cannot be written; what ``path`` held before is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Replace the run's checkpoint by ``state``."""
    write_atomically(folder / CHECKPOINT, lambda path: torch.save(state, path))


def load_checkpoint_state(folder: Path) -> dict[str, Any] | None:
    """Return the run's last checkpoint, None where there is none.

    Raises:
        ValueError: the file is damaged; the message names it.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    # What a damaged file makes the unpickler raise is anybody's guess.
    except Exception as error:
        raise ValueError(
            f"{path} is damaged and cannot be resumed from; remove it to start afresh"
        ) from error


def write_metrics(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace ``metrics.csv`` by ``rows``, one an epoch."""

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)

    write_atomically(folder / METRICS, write)
