"""Every option of a training run, in one place."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from ..devices import DEVICES

PRECISIONS = ("auto", "float32", "bfloat16")

MAY_CHANGE_ON_RESUME = ("device", "precision", "compile", "out")
"""What does not change which net is being trained on what, and how; ``out`` may be written otherwise."""


@dataclass(frozen=True)
class TrainConfig:
    """The options of ``sparsenet train``.

    Attributes:
        model: ``architecture`` or ``architecture.tag``.
        data: a folder, or "cifar10" or "cifar100"; see ``data.load_image_set``.
        out: folder of the run.
        epochs: passes over the training images.
        batch_size: images in a step; the last, smaller batch of an epoch is left out.
        lr: the highest learning rate, for a loss averaged over the batch.
        warmup: share of the steps in which the rate rises from 0; it then falls linearly to 0.
        momentum: of Nesterov SGD.
        weight_decay: on the weights of convolutions and linear layers alone.
        label_smoothing: share of the target spread over all classes.
        resolution: side in pixels and number of epochs at it, in order, ``((16, 18), (32, 4))``;
            empty for the full size throughout.
        ema_decay: decay of the averaged weights, 0 for none.
        ema_start: share of the steps after which averaging starts.
        eval_every: epochs between looks at the test images; 0 for one look, at the end.
        seed: of initialisation, order and augmentation.
        device: "auto", "cpu", "cuda" or "mps".
        precision: "auto" (times both), "float32" or "bfloat16" (autocast).
        compile: compile the net with torch.compile.
    """

    model: str
    data: str
    out: str
    epochs: int = 40
    batch_size: int = 128
    lr: float = 0.3
    warmup: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    resolution: tuple[tuple[int, int], ...] = ()
    ema_decay: float = 0.0
    ema_start: float = 0.5
    eval_every: int = 1
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    compile: bool = True

    def __post_init__(self) -> None:
        self._check("epochs", self.epochs >= 1, "at least 1")
        self._check("batch_size", self.batch_size >= 1, "at least 1")
        self._check("lr", self.lr > 0 and math.isfinite(self.lr), "above 0")
        self._check("warmup", 0 <= self.warmup <= 1, "in [0, 1]")
        self._check("momentum", 0 < self.momentum < 1, "in (0, 1)")
        self._check("weight_decay", self.weight_decay >= 0, "at least 0")
        self._check("label_smoothing", 0 <= self.label_smoothing < 1, "in [0, 1)")
        self._check("ema_decay", 0 <= self.ema_decay < 1, "in [0, 1)")
        self._check("ema_start", 0 <= self.ema_start < 1, "in [0, 1)")
        self._check("eval_every", self.eval_every >= 0, "at least 0")
        self._check("device", self.device in DEVICES, f"one of {DEVICES}")
        self._check("precision", self.precision in PRECISIONS, f"one of {PRECISIONS}")
        for side, epochs in self.resolution:
            if side < 8 or epochs < 1:
                raise ValueError(f"resolution needs sides from 8 and epochs from 1, got {side}:{epochs}")
        told = sum(epochs for _, epochs in self.resolution)
        if self.resolution and told != self.epochs:
            raise ValueError(f"resolution tells {told} epochs, epochs is {self.epochs}")

    def _check(self, name: str, holds: bool, wanted: str) -> None:
        if not holds:
            raise ValueError(f"{name} must be {wanted}, got {getattr(self, name)!r}")

    def side_in(self, epoch: int) -> int | None:
        """Return the side in pixels in ``epoch`` (from 1), None for the full size."""
        for side, epochs in self.resolution:
            epoch -= epochs
            if epoch <= 0:
                return side
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return the options as a JSON-ready dict."""
        return dataclasses.asdict(self) | {"resolution": [list(part) for part in self.resolution]}


def parse_resolution(text: str) -> tuple[tuple[int, int], ...]:
    """Parse "16:18,24:7,32:4", epochs at each side in pixels.

    Raises:
        ValueError: the text is not of that form.
    """
    try:
        parts = [part.split(":") for part in text.split(",") if part]
        return tuple((int(side), int(epochs)) for side, epochs in parts)
    except ValueError:
        raise ValueError(f"resolution must read like 16:18,24:7,32:4 (side:epochs), got {text!r}") from None
