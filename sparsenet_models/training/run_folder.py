"""The files of a run: options, checkpoint, metrics and pictures, each written whole or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..analysis.metrics import Scoring
from ..common.extras import pip_install
from ..common.files import atomic_write, temporary_name
from ..data.run_files import CHECKPOINT, CONFUSION, COPIES, CURVES, METRICS, OPTIONS
from ..models.pretrained_cfg import WEIGHTS
from ..pretrained.weight_file import check_not_compressed, lacks_memory_for
from .progress import say

OLD_OPTIONS = "config.json"
"""The name of the options in older runs; a saved model has its configuration under it."""

COLUMNS = ("epoch", "loss", "lr", "seconds", "images_per_second", "top1")


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of a run that a killed process left behind, and no file of the user's."""
    for name in (OPTIONS, CHECKPOINT, METRICS, COPIES, CURVES, CONFUSION, WEIGHTS):
        for temporary in folder.glob(temporary_name(name, "[0-9a-f]" * 8)):
            temporary.unlink()


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Replace the run's checkpoint by ``state``.

    Raises:
        OSError: the file cannot be written; the previous checkpoint is still there.
    """
    buffer = io.BytesIO()  # torch.save to a file on a full disk raises no OSError
    torch.save(state, buffer)
    with atomic_write(folder / CHECKPOINT) as (path,):
        path.write_bytes(buffer.getbuffer())


def write_options(folder: Path, options: Mapping[str, Any]) -> None:
    """Replace ``run.json``: the run's options, and what it was computed with."""
    text = json.dumps(options, indent=2) + "\n"
    with atomic_write(folder / OPTIONS) as (path,):
        path.write_text(text, encoding="utf-8")


def options_file(folder: Path) -> Path:
    """Return the file with the options of a run, under its old name where there is no other."""
    path = folder / OPTIONS
    return path if path.exists() else folder / OLD_OPTIONS


def load_checkpoint_state(folder: Path) -> dict[str, Any] | None:
    """Return the run's last checkpoint, or None.

    Raises:
        ValueError: the file is damaged, or of another program; the message names it.
        OSError: it cannot be read.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    with path.open("rb"):  # tells that it may not be read, which is no damage
        pass
    try:
        check_not_compressed(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    # A damaged file can make the unpickler raise any exception.
    except Exception as error:
        if lacks_memory_for(path, error):
            raise
        raise ValueError(
            f"{path} is damaged and cannot be resumed from; remove it to start afresh"
        ) from error
    if not isinstance(state, dict) or not {"config", "metrics", "model", "optimizer"} <= state.keys():
        raise ValueError(f"{path} is no checkpoint of sparsenet train: give another folder for the run")
    return state


def write_metrics(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace ``metrics.csv`` by ``rows``, one for each epoch."""
    with atomic_write(folder / METRICS) as (path,), path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def write_pictures(
    folder: Path, confusion: Tensor | None, class_names: Sequence[str], images: str, scoring: Scoring
) -> None:
    """Draw ``curves.png`` and ``confusion.png``, where matplotlib is installed.

    Args:
        folder: the run's folder, with its ``metrics.csv``.
        confusion: ``(classes, classes)``, counts of images by class (row) and predicted class (column); None
            for too many classes to draw.
        class_names: the classes.
        images: what ``confusion`` counts, such as "test images".
        scoring: of the epochs.
    """
    try:
        from ..analysis.plot import plot_confusion, plot_curves

        plot_curves(folder / METRICS, folder / CURVES, scoring)
        if confusion is not None:
            plot_confusion(confusion, class_names, folder / CONFUSION, images)
    except ImportError:
        say(f"no {CURVES} and {CONFUSION}: they need matplotlib ({pip_install('plots')})")
    except OSError:
        raise
    # A font or a class name that matplotlib cannot draw must not lose the weights.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        say(f"a picture could not be drawn: {type(error).__name__}: {reason}")
