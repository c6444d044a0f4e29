"""Every option of a training run, in one place: the command line and the recipes are built from it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from ..common.arguments import is_integer, one_of
from ..common.devices import DEVICES
from ..common.messages import did_you_mean
from ..data.sources import LOADERS

TRAINING_PRECISIONS = ("auto", "float32", "bfloat16")
LEARNING_RATES = {"sgd": 0.3, "adamw": 0.001, "muon": 0.01}
"""The peak learning rate of each optimizer where none is given."""

CLASS_WEIGHTS = ("", "balanced")
SCHEDULES = ("linear", "cosine", "step")

MAY_CHANGE_ON_RESUME = (
    *("data", "out", "device", "precision", "compile", "cuda_graphs", "loader", "workers"),
    "checkpoint_minutes",
)
"""Options of a resumed run that may differ; none changes net or method; ``data`` must be alike inside."""

TYPES: tuple[tuple[type, Any, str], ...] = (
    (bool, bool, "True or False"),
    (int, Integral, "a whole number"),
    (float, Real, "a number"),
    (str, str, "a string"),
    (tuple, (tuple, list), "pairs of a side and its epochs"),
)
"""The type of an option's default, the type to accept, and its name. A bool is an int too, so it is first."""


def option(default: Any, text: str, *, group: str | None = None) -> Any:
    """Return a dataclass field with its help text; it opens a group, or belongs to that of the one before."""
    return dataclasses.field(default=default, metadata={"help": text, "group": group})


@dataclass(frozen=True)
class TrainConfig:
    """The options of ``sparsenet train``; the help text of each is in its field's metadata.

    ``model`` is ``architecture`` or ``architecture.tag``, ``data`` a folder or the name of a set to
    download (see ``data.load_image_set``), ``out`` the folder of the run. ``lr=0`` becomes the rate of the
    optimizer at once.

    Raises:
        ValueError: an option is out of range; the message names it and its value.
    """

    model: str
    data: str
    out: str
    init_from: str = option(
        "", "Weights to start from: a file, a folder, NAME.TAG or hf-hub:org/name.", group="Net and images"
    )
    pretrained: bool = option(False, "Start from MODEL's pretrained weights, with a new head.")
    size: int = option(0, "Side in pixels to which images are resized; 0: that of the net's configuration.")
    in_chans: int = option(0, "Channels of the images, 1 (grey) or 3; 0: those of the net's configuration.")
    drop_path_rate: float = option(0.0, "Drop path of the net's last layer; in a FractalNet, of each join.")
    validation: float = option(
        0.0, "Share of each class held out to score on, not the test images.", group="Scoring"
    )
    keep_best: bool = option(False, "Save the weights of the epoch with the best score.")
    eval_every: int = option(1, "Epochs between scores on the test images; 0: at the end only.")
    patience: int = option(0, "Stop after so many scored epochs without a better score; 0: never.")
    epochs: int = option(40, "Passes over the training images.", group="Schedule")
    resolution: tuple[tuple[int, int], ...] = option((), "Epochs at each side in pixels: 16:18,24:7,32:4.")
    batch_size: int = option(128, "Images in a step, of all processes; a smaller last batch is skipped.")
    accumulate: int = option(1, "Parts in which a step is computed, one after another, to save memory.")
    lr: float = option(
        0.0, "Peak learning rate of the mean loss; 0: 0.3 for sgd, 0.001 for adamw, 0.01 for muon."
    )
    layer_decay: float = option(1.0, "Factor on the rate from each part of the net to the one before it.")
    schedule: str = option("linear", "linear or cosine decay to 0, or step: by 10 at 1/2 and 3/4.")
    warmup: float = option(0.1, "Share of the steps in which the learning rate rises.")
    optimizer: str = option(
        "sgd",
        "sgd (Nesterov), adamw or muon (AdamW for all but convolutions).",
        group="Optimizer and loss",
    )
    momentum: float = option(0.9, "Momentum of Nesterov SGD and Muon; AdamW's first beta.")
    weight_decay: float = option(1e-4, "Weight decay of convolutions and linear layers, not of biases.")
    clip_grad_norm: float = option(0.0, "Largest L2 norm of a step's gradient; 0: no limit.")
    class_weights: str = option("", "balanced: the loss of rare classes counts more, in inverse ratio.")
    label_smoothing: float = option(0.0, "Share of the target that is spread over all classes.")
    cutout: int = option(
        0, "Side in pixels of the square cut out of each image; 0: no cutout.", group="Augmentation"
    )
    trivial_augment: float = option(0.0, "Share of the images to which TrivialAugment is applied.")
    cutmix: float = option(0.0, "Share of the batches that are mixed by CutMix.")
    mixup: float = option(0.0, "Share of the batches that are mixed by MixUp.")
    augment_until: float = option(1.0, "Share of the epochs after which these augmentations stop.")
    distill: str = option(
        "", "Teacher, NAME.TAG: its logits are learned beside the labels.", group="Distillation"
    )
    soft_labels: str = option("", "File of class probabilities of the training images (docs/training.md).")
    distill_weight: float = option(0.5, "Share of the teacher, or of the soft labels, in the loss.")
    distill_temperature: float = option(4.0, "Temperature by which the logits of both nets are divided.")
    ema_decay: float = option(
        0.0, "Decay of the averaged weights; 0: no averaging.", group="Averaging of weights"
    )
    ema_start: float = option(0.5, "Share of the steps after which averaging starts.")
    ema_warmup: bool = option(False, "Let the decay rise to ema_decay: at step n at most (1 + n) / (10 + n).")
    checkpoint_minutes: float = option(
        0.0, "Minutes between checkpoints within an epoch; 0: none.", group="Running"
    )
    seed: int = option(0, "Seed of initialisation, order and augmentation.")
    loader: str = option("auto", "memory, stream (DataLoader), or auto: memory for sets that fit.")
    workers: int = option(2, "Processes of each DataLoader, for a streamed set.")
    device: str = option("auto", "auto, cpu, cuda or mps.")
    precision: str = option("auto", "float32, bfloat16 (autocast) or auto: the faster of the two.")
    compile: bool = option(True, "Use torch.compile at the sizes of images at which it is faster.")
    cuda_graphs: bool = option(False, "CUDA graphs instead of torch.compile, for GPUs that wait for Python.")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            self._check_type(field.name, "" if field.default is dataclasses.MISSING else field.default)
        self._check("size", self.size == 0 or self.size >= 8, "0 or at least 8")
        self._check("in_chans", self.in_chans in (0, 1, 3), "1 or 3, or 0 for the net's own")
        self._check("validation", 0 <= self.validation < 1, "in [0, 1)")
        self._check("drop_path_rate", 0 <= self.drop_path_rate < 1, "in [0, 1)")
        self._check("layer_decay", 0 < self.layer_decay <= 1, "in (0, 1]")
        self._check("epochs", 1 <= self.epochs <= 10**9, "at least 1 and at most 10**9")
        self._check("patience", self.patience >= 0, "at least 0")
        self._check("batch_size", self.batch_size >= 1, "at least 1")
        self._check("accumulate", 1 <= self.accumulate <= self.batch_size, f"in [1, {self.batch_size}]")
        self._check("lr", 0 <= self.lr < math.inf, "at least 0")
        one_of("optimizer", self.optimizer, LEARNING_RATES)
        if not self.lr:
            object.__setattr__(self, "lr", LEARNING_RATES[self.optimizer])
        one_of("class_weights", self.class_weights, CLASS_WEIGHTS)
        one_of("schedule", self.schedule, SCHEDULES)
        self._check("clip_grad_norm", 0 <= self.clip_grad_norm < math.inf, "at least 0")
        self._check("warmup", 0 <= self.warmup <= 1, "in [0, 1]")
        self._check("momentum", 0 < self.momentum < 1, "in (0, 1)")
        self._check("weight_decay", 0 <= self.weight_decay < math.inf, "at least 0 and finite")
        self._check("label_smoothing", 0 <= self.label_smoothing < 1, "in [0, 1)")
        self._check("cutout", self.cutout >= 0, "at least 0")
        for share in ("trivial_augment", "cutmix", "mixup", "augment_until", "distill_weight"):
            self._check(share, 0 <= getattr(self, share) <= 1, "in [0, 1]")
        self._check("distill_temperature", 0 < self.distill_temperature < math.inf, "above 0 and finite")
        self._check("ema_decay", 0 <= self.ema_decay < 1, "in [0, 1)")
        self._check("ema_start", 0 <= self.ema_start < 1, "in [0, 1)")
        self._check("eval_every", self.eval_every >= 0, "at least 0")
        self._check("checkpoint_minutes", 0 <= self.checkpoint_minutes < math.inf, "at least 0 and finite")
        self._check("seed", 0 <= self.seed < 2**63, "at least 0 and below 2**63")
        one_of("loader", self.loader, LOADERS)
        self._check("workers", self.workers >= 0, "at least 0")
        one_of("device", self.device, DEVICES)
        one_of("precision", self.precision, TRAINING_PRECISIONS)
        object.__setattr__(self, "resolution", _pairs(self.resolution))
        for side, epochs in self.resolution:
            if side < 8 or epochs < 1:
                raise ValueError(f"resolution needs sides from 8 and epochs from 1, got {side}:{epochs}")
        if self.pretrained and self.init_from:
            raise ValueError(f"give one of pretrained and init_from, not both (init_from={self.init_from!r})")
        if self.distill and self.soft_labels:
            raise ValueError(
                f"give one of distill and soft_labels, not both (distill={self.distill!r}, "
                f"soft_labels={self.soft_labels!r})"
            )
        if self.keep_best and not 1 <= self.eval_every <= self.epochs:
            raise ValueError(
                "keep_best needs a score of the epochs: eval_every must be at least 1 and at most "
                f"epochs={self.epochs}, got {self.eval_every}"
            )
        if self.cuda_graphs and self.accumulate > 1:
            raise ValueError(f"cuda_graphs needs accumulate=1, got {self.accumulate}")
        if self.cuda_graphs and self.drop_path_rate:
            raise ValueError(f"cuda_graphs needs drop_path_rate=0, got {self.drop_path_rate}")
        if self.cutmix + self.mixup > 1:
            raise ValueError(
                f"cutmix and mixup are shares of the batches, at most 1 together, got {self.cutmix} and "
                f"{self.mixup}"
            )
        if self.patience and not 1 <= self.eval_every <= self.epochs:
            raise ValueError(
                f"patience={self.patience} needs scores: eval_every must be at least 1 and at most "
                f"epochs={self.epochs}, got {self.eval_every}"
            )
        total = sum(epochs for _, epochs in self.resolution)
        if self.resolution and total != self.epochs:
            raise ValueError(f"resolution adds up to {total} epochs, epochs is {self.epochs}: change both")

    def _check(self, name: str, valid: bool, expected: str) -> None:
        if not valid:
            raise ValueError(f"{name} must be {expected}, got {getattr(self, name)!r}")

    def _check_type(self, name: str, default: Any) -> None:
        value = getattr(self, name)
        kind, accepted, expected = next(row for row in TYPES if isinstance(default, row[0]))
        if not isinstance(value, accepted) or (kind is not bool and isinstance(value, bool)):
            raise ValueError(f"{name} must be {expected}, got {value!r}")
        if kind in (int, float) and type(value) not in (int, float):  # numpy's, which JSON does not take
            object.__setattr__(self, name, kind(value))

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> TrainConfig:
        """Return the configuration with ``options``, values by field name, as ``to_dict`` returns them.

        With ``resolution`` and without ``epochs``, the epochs are those of ``resolution``.

        Raises:
            ValueError: an option is unknown or out of range.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for key in options:
            if key not in names:
                raise ValueError(f"unknown training option {key!r}{did_you_mean(key, names)}")
        chosen = dict(options)
        if sides := _pairs(chosen.get("resolution", ())):
            chosen.setdefault("epochs", sum(epochs for _, epochs in sides))
        return cls(**chosen)

    def side_in(self, epoch: int) -> int | None:
        """Return the side in pixels in ``epoch`` (from 1), None for the full size."""
        for side, epochs in self.resolution:
            epoch -= epochs
            if epoch <= 0:
                return side
        return None

    def sides_and_epochs(self, own_side: int) -> tuple[tuple[int, int], ...]:
        """Return each side in pixels with its epochs, in their order; ``own_side`` without ``resolution``."""
        return self.resolution or ((own_side, self.epochs),)

    def augments_in(self, epoch: int) -> bool:
        """Return whether cutout, TrivialAugment, CutMix and MixUp are on in ``epoch`` (from 1)."""
        return epoch <= round(self.augment_until * self.epochs, 6)  # 0.29 * 100 is below 29

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the options that have a default, as ``to_dict`` returns them."""
        options = cls(model="", data="", out="").to_dict()
        return {key: value for key, value in options.items() if key not in ("model", "data", "out")}

    def to_dict(self) -> dict[str, Any]:
        """Return the options as a JSON-ready dict."""
        return dataclasses.asdict(self) | {"resolution": [list(part) for part in self.resolution]}


def _pairs(resolution: Any) -> tuple[tuple[int, int], ...]:
    """Return the pairs of a side and its epochs as tuples of ints; in JSON they are lists."""
    expected = "resolution must be pairs of a side and its epochs"
    if not isinstance(resolution, (tuple, list)):
        raise ValueError(f"{expected}, got {resolution!r}")
    for part in resolution:
        is_pair = isinstance(part, (tuple, list)) and len(part) == 2
        if not is_pair or not all(is_integer(number) for number in part):
            raise ValueError(f"{expected}, got {part!r} among them")
    return tuple((int(side), int(epochs)) for side, epochs in resolution)


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
