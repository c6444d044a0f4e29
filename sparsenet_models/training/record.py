"""How far a run has come: the rows of its epochs, the place within the epoch, the best epoch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class Record:
    """The part of a checkpoint beside the options and the tensors.

    ``git_commit`` is the library's when the run began, ``init_sha256`` the hash of the weights that the run
    started from ("" for random ones). ``compiled_sides`` are the sides in pixels of the images at which a
    compiled step was the faster one (None: not timed). ``rows`` are those of ``metrics.csv``;
    ``environments`` has an entry for the start and for each change of machine or settings. ``best`` has
    epoch, top1 and state of the best epoch so far. ``step`` counts the steps done in the current epoch,
    ``loss`` (a scalar on the run's device) is the sum of their losses, ``seconds`` the time that they took.
    """

    git_commit: str
    init_sha256: str
    loss: Tensor
    precision: str = ""
    compiled_sides: tuple[int, ...] | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    environments: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    step: int = 0
    seconds: float = 0.0

    @property
    def epochs_done(self) -> int:
        """The number of finished epochs."""
        return len(self.rows)

    def is_stuck(self, patience: int) -> bool:
        """Return whether the last ``patience`` scored epochs are no better than the best before; 0: never."""
        scores = [float(row["top1"]) for row in self.rows if row["top1"]]
        if not 0 < patience < len(scores):
            return False
        return max(scores[-patience:]) <= max(scores[:-patience])

    def end_epoch(self, row: dict[str, Any]) -> None:
        """Add the row of the current epoch and start the next one."""
        self.rows.append(row)
        self.step, self.seconds = 0, 0.0
        self.loss.zero_()

    def state_dict(self) -> dict[str, Any]:
        """Return the fields under the names that checkpoints have for them."""
        state = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        state["metrics"] = state.pop("rows")
        return state

    @classmethod
    def from_state_dict(cls, checkpoint: dict[str, Any], device: torch.device) -> Record:
        """Return the record of a checkpoint, with its loss on ``device``.

        Of several processes all get the first one's loss: a checkpoint has no other.
        """
        known = {"compiled_sides": None} | checkpoint  # older libraries wrote none
        state = {item.name: known[item.name] for item in dataclasses.fields(cls) if item.name != "rows"}
        return cls(**state | {"rows": checkpoint["metrics"], "loss": checkpoint["loss"].to(device)})
