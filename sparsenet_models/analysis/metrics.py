"""The table of a training run, ``metrics.csv``, as numbers."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import NamedTuple

from ..common.arguments import is_integer


class EpochMetrics(NamedTuple):
    """A row of ``metrics.csv``: top-1 accuracy in percent, None where the epoch was not scored."""

    epoch: int
    loss: float
    lr: float
    top1: float | None


class Scoring(NamedTuple):
    """The images that epochs were scored on ("" where they are unknown), and the epoch whose net was kept."""

    images: str = ""
    kept_epoch: int | None = None


UNKNOWN_SCORING = Scoring()


def read_scoring(run_json: Path) -> Scoring:
    """Return the scoring that a finished run wrote beside its metrics; the unknown one of other folders."""
    try:
        options = json.loads(run_json.read_text(encoding="utf-8"))
        images, kept = options["scored_on"], options["kept_epoch"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return UNKNOWN_SCORING
    return Scoring(str(images), kept) if kept is None or is_integer(kept) else UNKNOWN_SCORING


def read_metrics(path: Path) -> list[EpochMetrics]:
    """Return the epochs of a run's ``metrics.csv``.

    Raises:
        ValueError: the file is not such a table, or has no row.
        OSError: the file cannot be read.
    """
    expected = f"{path} must be a run's metrics.csv with the columns epoch, loss, lr and top1"
    with path.open(encoding="utf-8", newline="") as file:
        try:
            rows = [
                EpochMetrics(
                    epoch=int(row["epoch"]),
                    loss=float(row["loss"]),
                    lr=float(row["lr"]),
                    top1=float(row["top1"]) if row["top1"] else None,
                )
                for row in csv.DictReader(file)
            ]
        except (KeyError, ValueError, TypeError, csv.Error) as error:
            raise ValueError(f"{expected}; got {type(error).__name__}: {error}") from error
    if not rows:
        raise ValueError(f"{expected}; it has no row")
    return rows
