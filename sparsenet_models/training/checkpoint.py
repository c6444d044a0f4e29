"""A run's folder: checkpoints that are always whole, options, the table and the curves of its epochs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..common.files import atomic_write, temporary_name
from .progress import say

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "model.safetensors"
METRICS = "metrics.csv"
CONFIG = "config.json"
CURVES = "curves.png"
CONFUSION = "confusion.png"
COLUMNS = ("epoch", "loss", "lr", "seconds", "images_per_second", "top1")


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of writes that a kill cut off."""
    for temporary in folder.glob(temporary_name("*", "*")):
        temporary.unlink()


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Replace the run's checkpoint by ``state``.

    Raises:
        OSError: it cannot be written; the checkpoint before it is still there.
    """
    buffer = io.BytesIO()  # torch.save into a file of a full disk would not raise an OSError
    torch.save(state, buffer)
    with atomic_write(folder / CHECKPOINT) as (path,):
        path.write_bytes(buffer.getbuffer())


def write_config(folder: Path, options: Mapping[str, Any]) -> None:
    """Replace ``config.json``: the run's options, and what it was computed with."""
    text = json.dumps(options, indent=2) + "\n"
    with atomic_write(folder / CONFIG) as (path,):
        path.write_text(text, encoding="utf-8")


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
    with atomic_write(folder / METRICS) as (path,), path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def write_pictures(folder: Path, confusion: Tensor, class_names: Sequence[str]) -> None:
    """Draw ``curves.png`` and ``confusion.png``, where matplotlib is installed.

    Args:
        folder: of the run, with its ``metrics.csv``.
        confusion: ``(classes, classes)``, images of each class (row) by what the net said.
        class_names: the classes.
    """
    try:
        from ..analysis.plot import plot_confusion, plot_curves

        plot_curves(folder / METRICS, folder / CURVES)
        plot_confusion(confusion, class_names, folder / CONFUSION)
    except ImportError:
        say(f"no {CURVES} and {CONFUSION}: they need matplotlib (pip install 'sparsenet-models[docs]')")
    except OSError:
        raise
    # A font or a name that matplotlib cannot draw is no reason to lose the weights.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        say(f"a picture could not be drawn: {type(error).__name__}: {reason}")
