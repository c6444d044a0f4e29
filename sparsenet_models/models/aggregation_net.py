"""The net that SparseNet and DenseNet share: stem, stages with transitions between them, head.

Layout after the official code of Zhu et al., ECCV 2018 (arXiv 1801.05895), which follows DenseNet
(Huang et al., CVPR 2017, arXiv 1608.06993). Initialisation: He et al. 2015 (arXiv 1502.01852) on
fan-out.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from ..aggregation import AggregationRule, StageGraph
from ..arguments import integer, share
from ..layers import CifarStem, ClassifierHead, ImageNetStem, PreActivationLayer, Transition
from ..stage import MERGES, Stage

CIFAR_STAGES = 3
STEMS: dict[str, type[CifarStem | ImageNetStem]] = {"cifar": CifarStem, "imagenet": ImageNetStem}


class AggregationNet(nn.Module):
    """A net of stages whose layers read the earlier outputs that an aggregation rule names.

    Input ``(N, in_chans, H, W)``, logits ``(N, num_classes)``. Any size from 8x8 up (32x32 with
    ``stem="imagenet"``), oblong too.

    Args:
        depth: convolutions and linear layers on the way, L in the papers: three stages of
            ``(depth - 4) // 3`` layers, half as many (rounded down) with bottleneck. Give it or ``layers``.
        growth_rate: channels that a layer makes (k in the papers), one number or one per stage.
        bottleneck: 1x1 convolution to 4k channels before each 3x3 one.
        aggregation: "sparse", "dense", or a function from a layer (1 ... N + 1) to the distinct
            outputs in ``[0, layer)`` that it reads. Default: the family's own rule.
        base: offset base of the sparse rule.
        merge: "concat", or "sum" (every output of a stage then has the stage's k channels).
        compression: share of the channels that a transition keeps (theta); default 0.5 with
            bottleneck, else 1. Not with ``merge="sum"``.
        stem_channels: channels of the stem; default the first stage's k, twice that for a dense net
            and with ``stem="imagenet"``. With ``merge="sum"`` it can only be k.
        num_classes: classes of the head; 0 for none.
        in_chans: channels of the input.
        global_pool: "avg", "max", "avgmax", "catavgmax", or "" (with ``num_classes=0``).
        drop_rate: dropout before the classifier.
        proj_drop_rate: dropout on the new features of every layer.
        layers: layers of each stage, in place of ``depth``.
        stem: "cifar" (3x3 convolution) or "imagenet" (7x7/2 convolution, 3x3/2 max pool).

    Raises:
        TypeError: a number is not an integer.
        ValueError: an argument is out of range or does not go with another.
    """

    family_aggregation: ClassVar[str]

    def __init__(
        self,
        depth: int | None = None,
        growth_rate: int | Sequence[int] = 12,
        bottleneck: bool = False,
        aggregation: str | AggregationRule | None = None,
        base: int = 2,
        merge: str = "concat",
        compression: float | None = None,
        stem_channels: int | None = None,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        layers: Sequence[int] | None = None,
        stem: str = "cifar",
    ) -> None:
        super().__init__()
        aggregation = self.family_aggregation if aggregation is None else aggregation
        stage_layers = _stage_layers(depth, layers, bottleneck)
        growth_rates = _growth_rates(growth_rate, len(stage_layers))
        theta = _compression(compression, merge, bottleneck)
        if stem not in STEMS:
            raise ValueError(f"stem must be one of {tuple(STEMS)}, got {stem!r}")
        in_chans = integer("in_chans", in_chans, minimum=1)
        drop_rate = share("drop_rate", drop_rate)
        proj_drop_rate = share("proj_drop_rate", proj_drop_rate)
        if stem_channels is None:
            doubled = merge == "concat" and (aggregation == "dense" or stem == "imagenet")
            stem_channels = growth_rates[0] * (2 if doubled else 1)
        stem_channels = integer("stem_channels", stem_channels, minimum=1)
        if merge == "sum" and stem_channels != growth_rates[0]:
            raise ValueError(
                f"merge='sum' needs stem_channels equal to the first growth_rate, "
                f"{growth_rates[0]}, got {stem_channels}"
            )

        self.in_chans = in_chans
        self.stem = STEMS[stem](in_chans, stem_channels)
        self.stages = nn.ModuleList()
        self.transitions = nn.ModuleList()
        self.feature_info: list[dict[str, Any]] = []
        channels, reduction = stem_channels, STEMS[stem].reduction
        for index, (num_layers, width) in enumerate(zip(stage_layers, growth_rates)):
            if index > 0:
                mapped = width if merge == "sum" else int(channels * theta)
                if mapped < 1:
                    raise ValueError(
                        f"compression={theta} leaves no channel of the {channels} of stage {index - 1}; "
                        "a larger growth_rate or compression does"
                    )
                self.transitions.append(Transition(channels, mapped))
                channels, reduction = mapped, 2 * reduction
            stage = Stage(
                StageGraph(num_layers, aggregation, base),
                merge,
                in_channels=channels,
                width=width,
                make_layer=_layer_maker(width, bottleneck, proj_drop_rate),
            )
            self.stages.append(stage)
            channels = stage.out_channels
            self.feature_info.append(
                {"num_chs": channels, "reduction": reduction, "module": f"stages.{index}"}
            )
        self.num_features = channels
        self.norm = nn.BatchNorm2d(channels)
        self.head = ClassifierHead(channels, num_classes, global_pool, drop_rate)
        self.apply(_initialise_convolution)
        self.pretrained_cfg: dict[str, Any] = {}

    @property
    def num_classes(self) -> int:
        """Classes of the head; 0 where there is none."""
        return self.head.num_classes

    @property
    def global_pool(self) -> str:
        """The head's pooling, one of timm's words."""
        return self.head.global_pool

    @property
    def head_hidden_size(self) -> int:
        """Width of what ``forward_head(x, pre_logits=True)`` returns."""
        return self.head.hidden_size

    @property
    def default_cfg(self) -> dict[str, Any]:
        """timm's older name of ``pretrained_cfg``."""
        return self.pretrained_cfg

    def get_classifier(self) -> nn.Module:
        """Return the linear layer, or an ``nn.Identity`` where there are no classes."""
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new, untrained head in place.

        Args:
            num_classes: classes of the new head; 0 for none.
            global_pool: the new pooling; None keeps what there is.

        Raises:
            ValueError: ``num_classes`` is negative, ``global_pool`` unknown, or "" with classes.
        """
        like = self.stem.conv.weight
        self.head.reset(num_classes, global_pool, like.device, like.dtype)
        if self.pretrained_cfg.get("num_classes") not in (None, num_classes):
            self.pretrained_cfg |= {"num_classes": num_classes, "label_names": None}

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the normalised last feature map, ``(N, num_features, H / r, W / r)``.

        ``r`` is 4 for three stages on the CIFAR stem, 32 for four on the ImageNet stem.
        """
        x = self.stages[0](self.stem(x))
        for transition, stage in zip(self.transitions, self.stages[1:]):
            x = stage(transition(x))
        return F.relu(self.norm(x))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits ``(N, num_classes)`` of a feature map, or the pooled features before them."""
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def _stage_layers(depth: int | None, layers: Sequence[int] | None, bottleneck: bool) -> tuple[int, ...]:
    """Return how many layers each stage has, from ``depth`` or from ``layers``."""
    if (depth is None) == (layers is None):
        raise ValueError(f"give one of depth and layers, got depth={depth!r}, layers={layers!r}")
    if layers is not None:
        if not isinstance(layers, Sequence) or not layers:
            raise ValueError(f"layers must be a sequence of at least one number, got {layers!r}")
        return tuple(integer("each of layers", count, minimum=1) for count in layers)
    depth = integer("depth", depth, minimum=1)
    least = 10 if bottleneck else 7
    if depth < least or (depth - 4) % CIFAR_STAGES:
        below = depth - (depth - 4) % CIFAR_STAGES
        nearest = sorted({max(least, below), max(least, below + CIFAR_STAGES)})
        raise ValueError(
            f"depth must be 4 more than a multiple of {CIFAR_STAGES} and at least {least}, got "
            f"{depth}; the nearest: {' or '.join(map(str, nearest))}"
        )
    per_stage = (depth - 4) // CIFAR_STAGES
    return (per_stage // 2 if bottleneck else per_stage,) * CIFAR_STAGES


def _growth_rates(growth_rate: int | Sequence[int], num_stages: int) -> tuple[int, ...]:
    rates = tuple(growth_rate) if isinstance(growth_rate, Sequence) else (growth_rate,) * num_stages
    if len(rates) != num_stages:
        raise ValueError(
            f"growth_rate must be one number or one per stage ({num_stages}), got {growth_rate!r}"
        )
    return tuple(integer("growth_rate", rate, minimum=1) for rate in rates)


def _compression(compression: float | None, merge: str, bottleneck: bool) -> float:
    """Return theta, the share of channels that a transition keeps."""
    if merge not in MERGES:
        raise ValueError(f"merge must be one of {MERGES}, got {merge!r}")
    if compression is None:
        return 0.5 if bottleneck else 1.0
    if merge == "sum":
        raise ValueError(
            "compression does not go with merge='sum', whose transitions map to the next "
            f"stage's growth_rate; got compression={compression!r}"
        )
    if isinstance(compression, bool) or not isinstance(compression, numbers.Real):
        raise TypeError(f"compression must be a number, got {compression!r} ({type(compression).__name__})")
    if not 0.0 < compression <= 1.0:
        raise ValueError(f"compression must be in (0, 1], got {compression!r}")
    return float(compression)


def _layer_maker(width: int, bottleneck: bool, proj_drop_rate: float):
    def make(in_channels: int) -> nn.Module:
        return PreActivationLayer(in_channels, width, bottleneck, proj_drop_rate)

    return make


def _initialise_convolution(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
