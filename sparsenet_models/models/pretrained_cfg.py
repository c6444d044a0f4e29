"""The pretrained configuration: where a set of weights is, how its images are prepared, its metrics."""

# No postponed annotations: dataclasses look them up in sys.modules, where torch.package has no modules.
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..common.messages import did_you_mean

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = "model.safetensors"
"""The name of the weight file in a Hub repository, a saved folder and the folder of a run."""

WEIGHT_SOURCE_KEYS = {"file", "hf_hub_id", "hf_hub_filename", "revision"}
"""The fields that say where the weights are."""

DATA_CONFIG_KEYS = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")
"""The fields that say how images are prepared: the result of ``resolve_data_config``."""

IMAGE_KEYS = (*DATA_CONFIG_KEYS, "min_input_size", "fixed_input_size", "pool_size", "first_conv")
"""The fields that say what images a net takes: where one is set, there is an image configuration."""

NO_METRICS: dict[str, Any] = dict.fromkeys(("top1", "top5", "loss"))
"""Replaces the metrics where the net or its images differ from those that were measured."""

NO_COSTS: dict[str, Any] = dict.fromkeys(("num_params", "macs"))
"""Replaces the costs where the net differs from the one that was counted."""

TRAINING_KEYS = ("data", "recipe", "epochs", "epochs_before", "seed", "library_version", "git_commit")
"""The fields about the training that travel with weights: in the metadata of a file, and in config.json."""

NO_TRAINING: dict[str, Any] = {
    **dict.fromkeys((*TRAINING_KEYS, "train_seconds", "machine")),
    "epochs_before": 0,
}
"""Replaces what is known of the training where other weights take the place of those that it led to."""

IMAGENET_SIZE = (3, 224, 224)


@dataclass(frozen=True)
class PretrainedCfg:
    """The configuration of one ``architecture.tag``. Field names are timm's where timm has the field.

    ``file`` is a local weight file. Without it, the weights are the file ``hf_hub_filename`` (default
    ``model.safetensors``) of the Hub repository ``hf_hub_id`` at ``revision``. Without both, the tag has no
    weights.

    ``input_size`` and ``min_input_size`` are ``(channels, height, width)``, ``pool_size`` is
    ``(height, width)``, in pixels. Where another field of the images is given, such as ``mean`` or
    ``first_conv``, ``input_size`` is by default ``(3, 224, 224)``; where none is, there is no image
    configuration. ``mean`` and ``std`` are per channel, for pixels in [0, 1]. ``macs`` counts the
    multiply-adds for one image of ``input_size``. ``first_conv`` is the name of the convolution that reads
    the image, or a tuple where several do. ``top1`` and ``top5`` are accuracies in percent, ``loss`` is the
    mean cross-entropy in nats, all on the test images (of Tiny ImageNet and Imagenette, the validation
    images). The weights were trained for ``epochs``, starting from weights that had been trained for
    ``epochs_before``.
    """

    architecture: str = ""
    tag: str = ""
    file: str | None = None
    hf_hub_id: str | None = None
    hf_hub_filename: str | None = None
    revision: str | None = None
    sha256: str | None = None
    file_size: int | None = None
    input_size: tuple[int, int, int] | None = None
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

    def __post_init__(self) -> None:
        fields = (field for field in dataclasses.fields(self) if field.name in IMAGE_KEYS)
        if self.input_size is None and any(getattr(self, field.name) != field.default for field in fields):
            object.__setattr__(self, "input_size", IMAGENET_SIZE)

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
        """Whether the image configuration was set.

        Where it was not, ``mean``, ``std`` and so on are defaults of this class, which say nothing about the
        net.
        """
        return self.input_size is not None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a new dict."""
        return dataclasses.asdict(self)

    def overlaid(self, overlay: Mapping[str, Any], origin: str = "pretrained_cfg_overlay") -> "PretrainedCfg":
        """Return a copy with the keys of ``overlay`` in place of its own.

        Metrics that the overlay does not give are dropped where it changes the weights or the preparation
        of images, and what depends on the size of images where it changes that. A new source of weights
        (``file`` or ``hf_hub_id``) replaces the old one whole, and as another ``hf_hub_filename`` or
        ``revision`` does, with its ``sha256``, its ``file_size`` and what is known of its training.

        Args:
            overlay: fields by name.
            origin: what an error calls the overlay.

        Raises:
            ValueError: a key is not a field.
        """
        names = [field.name for field in dataclasses.fields(self)]
        for key in overlay:
            if key not in names:
                raise ValueError(f"unknown key {key!r} in {origin}{did_you_mean(key, names)}")
        changes = dict(overlay)
        if changes.get("file") is not None:
            changes["file"] = str(changes["file"])
        if changes.get("file") is not None or changes.get("hf_hub_id") is not None:
            changes = {**dict.fromkeys(WEIGHT_SOURCE_KEYS), **changes}
        if WEIGHT_SOURCE_KEYS & changes.keys():
            changes = {"file": None, "sha256": None, "file_size": None, **NO_TRAINING, **changes}
        size = changes.get("input_size", self.input_size)
        if size and self.input_size and tuple(size)[1:] != tuple(self.input_size)[1:]:
            changes = {"macs": None, "pool_size": None, **changes}
        if changes.keys() & {*WEIGHT_SOURCE_KEYS, *DATA_CONFIG_KEYS}:
            changes = {**NO_METRICS, **changes}
        return dataclasses.replace(self, **changes)

    def dict_for(self, model: "nn.Module", num_classes: int | None = None) -> dict[str, Any]:
        """Return ``model.pretrained_cfg``: the fields, with the classes and input channels of ``model``.

        ``num_classes`` is what it was built with, for a net that has no attribute of this name.

        Without an image configuration the dict leaves out the fields of images and of the weight file.
        """
        built_with = self.num_classes if num_classes is None else num_classes
        classes = getattr(model, "num_classes", built_with)
        changes: dict[str, Any] = {"num_classes": classes}
        if classes != self.num_classes:
            changes |= {**NO_METRICS, **NO_COSTS}
        if self.label_names is not None and classes != len(self.label_names):
            changes["label_names"] = None
        if self.input_size is None:
            left_out = {*IMAGE_KEYS, *WEIGHT_SOURCE_KEYS, "sha256", "file_size"}
            fields = self.overlaid(changes).to_dict()
            return {key: value for key, value in fields.items() if key not in left_out}
        channels = getattr(model, "in_chans", self.input_size[0])
        if channels != self.input_size[0]:
            changes |= NO_COSTS
            changes["input_size"] = (channels, *self.input_size[1:])
            changes["mean"] = _per_channel(self.mean, channels)
            changes["std"] = _per_channel(self.std, channels)
            if self.min_input_size is not None:
                changes["min_input_size"] = (channels, *self.min_input_size[1:])
        return self.overlaid(changes).to_dict()


def pretrained_cfg_of(model: "nn.Module") -> PretrainedCfg:
    """Return the configuration of a net by ``create_model``, from the dict ``model.pretrained_cfg``.

    Keys of the dict that are not fields are ignored. Classes and input channels are those of the net, whose
    classifier may have been replaced since. For any other net, the configuration is empty.
    """
    values: Mapping[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    if not values:
        return PretrainedCfg()
    names = {field.name for field in dataclasses.fields(PretrainedCfg)}
    cfg = PretrainedCfg(**{key: value for key, value in values.items() if key in names})
    return PretrainedCfg(**cfg.dict_for(model))


def _per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Return statistics for another number of channels: the mean for one, else repeated."""
    if channels == 1:
        return (sum(values) / len(values),)
    return tuple(values[index % len(values)] for index in range(channels))
