"""What is known of a set of weights: where they are, how images reach them, and the evidence."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..common.messages import did_you_mean

if TYPE_CHECKING:
    from torch import nn

WEIGHT_SOURCE_KEYS = {"file", "hf_hub_id", "hf_hub_filename", "revision"}
DATA_CONFIG_KEYS = {"input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode"}
"""How images reach the net: what ``resolve_data_config`` tells."""

NO_METRICS: dict[str, Any] = dict.fromkeys(("top1", "top5", "loss"))
"""For a net that is not, or not fed, as it was when they were measured."""

TOLD_OF_ANY = {*WEIGHT_SOURCE_KEYS, "architecture", "tag", "sha256", "file_size", "num_classes"}
"""Fields that a file or the caller fill for a net that was registered without a configuration."""


@dataclass(frozen=True)
class PretrainedCfg:
    """The configuration of one ``architecture.tag``. Field names are timm's where timm has one.

    ``file`` is a local weight file. Without one, ``hf_hub_filename`` (default ``model.safetensors``) of the
    Hub repository ``hf_hub_id`` is fetched, at ``revision``. With neither there are no weights under this
    tag. Sizes are
    ``(channels, height, width)`` or ``(height, width)`` in pixels, ``mean`` and ``std`` are per
    channel with pixels in [0, 1], ``macs`` the multiply-adds of one image of ``input_size``,
    ``first_conv`` the name of the convolution that reads the image, or the names of all that do, ``top1``
    and ``top5`` accuracies in percent and ``loss`` the mean cross-entropy in nats on the set's test images;
    ``epochs_before`` those of the weights that the run of ``epochs`` began with.
    """

    architecture: str = ""
    tag: str = ""
    file: str | None = None
    hf_hub_id: str | None = None
    hf_hub_filename: str | None = None
    revision: str | None = None
    sha256: str | None = None
    file_size: int | None = None
    input_size: tuple[int, int, int] = (3, 224, 224)
    min_input_size: tuple[int, int, int] | None = None
    fixed_input_size: bool = False
    pool_size: tuple[int, int] | None = None
    interpolation: str = "bicubic"
    crop_pct: float = 0.875
    crop_mode: str = "center"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    num_classes: int | None = None
    label_names: tuple[str, ...] | None = None
    first_conv: str | tuple[str, ...] | None = None
    classifier: str | None = None
    num_params: int | None = None
    macs: int | None = None
    data: str | None = None
    top1: float | None = None
    top5: float | None = None
    loss: float | None = None
    recipe: str | None = None
    epochs: int | None = None
    epochs_before: int = 0
    seed: int | None = None
    train_seconds: float | None = None
    machine: str | None = None
    library_version: str | None = None
    git_commit: str | None = None
    license: str | None = None
    paper_name: str | None = None
    paper_ids: str | None = None

    @property
    def name(self) -> str:
        """``architecture.tag``, or the architecture alone where there is no tag."""
        return f"{self.architecture}.{self.tag}" if self.tag else self.architecture

    @property
    def epochs_text(self) -> str | None:
        """The epochs of training, ``epochs_before`` first: "39 + 8", or "39"; None where they are unknown."""
        if self.epochs is None:
            return None
        return f"{self.epochs_before} + {self.epochs}" if self.epochs_before else str(self.epochs)

    @property
    def has_weights(self) -> bool:
        """Whether there is a file to load, here or on the Hub."""
        return self.file is not None or self.hf_hub_id is not None

    @property
    def has_data_config(self) -> bool:
        """Whether anybody said how images reach the net; else those fields are defaults of nobody's."""
        fields = (field for field in dataclasses.fields(self) if field.name not in TOLD_OF_ANY)
        return any(getattr(self, field.name) != field.default for field in fields)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a new dict."""
        return dataclasses.asdict(self)

    def overlaid(self, overlay: Mapping[str, Any]) -> PretrainedCfg:
        """Return a copy with the keys of ``overlay`` in place of its own.

        Figures go where what they depend on changes, the weights' place or how images reach the net. A new
        place (``file``, or what names one on the Hub) takes that of the old one, and without a
        ``sha256`` is not checked against the old one's.

        Raises:
            ValueError: a key is not a field.
        """
        names = [field.name for field in dataclasses.fields(self)]
        for key in overlay:
            if key not in names:
                hint = did_you_mean(key, names)
                raise ValueError(f"unknown key {key!r} in pretrained_cfg_overlay{hint}")
        changes = dict(overlay)
        if changes.get("file") is not None:
            changes["file"] = str(changes["file"])
        if WEIGHT_SOURCE_KEYS & changes.keys():
            changes.setdefault("file", None)
            changes.setdefault("sha256", None)
            changes.setdefault("file_size", None)
        if (WEIGHT_SOURCE_KEYS | DATA_CONFIG_KEYS) & changes.keys():
            changes = {**NO_METRICS, **changes}
        return dataclasses.replace(self, **changes)


def cfg_of(model: nn.Module) -> dict[str, Any]:
    """Return the ``pretrained_cfg`` that ``create_model`` gave a net; {} for a net of another origin."""
    return getattr(model, "pretrained_cfg", None) or {}
