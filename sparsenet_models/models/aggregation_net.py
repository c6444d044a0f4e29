"""The net that SparseNet and DenseNet share: stem, stages with transitions between them, head.

Layout after the official code of Zhu et al., ECCV 2018 (arXiv 1801.05895), which follows DenseNet
(Huang et al., CVPR 2017, arXiv 1608.06993).
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from ..aggregation import AggregationRule, StageGraph
from ..common.arguments import fraction, integer
from ..layers.blocks import CifarStem, ClassifierHead, ImageNetStem, PreActivationLayer, Transition
from ..layers.norms import ActLayer, NormLayer, act_layer_of, norm_layer_of
from ..layers.stage import MERGES, Stage
from .classifier_net import AFTER_EVERY_LAYER, ClassifierNet, initialise_convolution, rising

CIFAR_STAGES = 3
STEMS: dict[str, type[CifarStem | ImageNetStem]] = {"cifar": CifarStem, "imagenet": ImageNetStem}


class AggregationNet(ClassifierNet):
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
        drop_path_rate: share of the samples whose new features the last layer drops in training; it
            rises linearly from 0 at the first.
        norm_layer: "batchnorm2d", "groupnorm", "frozenbatchnorm2d", "syncbatchnorm", or a function from
            channels to a layer. Pretrained weights fit the batch norms alone.
        act_layer: a class, such as ``nn.SiLU``, or timm's name of one: "relu", "silu", "gelu", ...
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
        drop_path_rate: float = 0.0,
        norm_layer: str | NormLayer = "batchnorm2d",
        act_layer: str | ActLayer = nn.ReLU,
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
        drop_rate = fraction("drop_rate", drop_rate)
        proj_drop_rate = fraction("proj_drop_rate", proj_drop_rate)
        drop_path_rate = fraction("drop_path_rate", drop_path_rate)
        norm_layer = norm_layer_of(norm_layer)
        act_layer = act_layer_of(act_layer)
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
        self.stem = STEMS[stem](in_chans, stem_channels, norm_layer, act_layer)
        self.stages = nn.ModuleList()
        self.transitions = nn.ModuleList()
        self.feature_info: list[dict[str, Any]] = []
        channels, reduction = stem_channels, STEMS[stem].reduction
        drop_path_rates = iter(rising(drop_path_rate, sum(stage_layers)))
        for index, (num_layers, width) in enumerate(zip(stage_layers, growth_rates)):
            if index > 0:
                mapped = width if merge == "sum" else int(channels * theta)
                if mapped < 1:
                    raise ValueError(
                        f"compression={theta} leaves no channel of the {channels} of stage {index - 1}; "
                        "a larger growth_rate or compression does"
                    )
                self.transitions.append(Transition(channels, mapped, norm_layer, act_layer))
                channels, reduction = mapped, 2 * reduction
            stage = Stage(
                StageGraph(num_layers, aggregation, base),
                merge,
                in_channels=channels,
                width=width,
                make_layer=lambda in_channels, width=width: PreActivationLayer(  # type: ignore[misc]
                    in_channels,
                    width,
                    bottleneck,
                    proj_drop_rate,
                    next(drop_path_rates),
                    norm_layer,
                    act_layer,
                ),
            )
            self.stages.append(stage)
            channels = stage.out_channels
            self.feature_info.append(
                {"num_chs": channels, "reduction": reduction, "module": f"stages.{index}"}
            )
        self.num_features = channels
        self.norm = norm_layer(channels)
        self.act = act_layer()
        self.head = ClassifierHead(channels, num_classes, global_pool, drop_rate)
        self.apply(initialise_convolution)
        self.pretrained_cfg: dict[str, Any] = {}

    def parts(self) -> list[str]:
        """Return ``stem, stages.0, transitions.0, stages.1, ..., norm, act, head``."""
        stages = [f"stages.{index}" for index in range(len(self.stages))]
        transitions = [f"transitions.{index}" for index in range(len(self.transitions))]
        inner = [part for pair in zip(transitions, stages[1:]) for part in pair]
        return ["stem", stages[0], *inner, "norm", "act", "head"]

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return regular expressions that put every parameter in one group, as timm's layer decay wants.

        A transition counts with the stage before it, after its layers.

        Args:
            coarse: a group for each stage instead of one for each layer.
        """
        blocks: Any = r"^(?:stages|transitions)\.(\d+)"
        if not coarse:
            blocks = [
                (r"^stages\.(\d+)\.layers\.(\d+)", None),
                (r"^transitions\.(\d+)", (AFTER_EVERY_LAYER,)),
                (r"^(?:norm|act)", (AFTER_EVERY_LAYER,)),
            ]
        return {"stem": r"^stem", "blocks": blocks}

    def forward_stem(self, x: Tensor) -> Tensor:
        """Return what the first stage receives, ``(N, C, H / r, W / r)``: r is 1, or 4 (ImageNet)."""
        return self.stem(x)

    def forward_stage(self, index: int, x: Tensor) -> Tensor:
        """Return the feature map of stage ``index``, of the map before it."""
        return self.stages[index](self.transitions[index - 1](x) if index > 0 else x)

    def forward_final(self, x: Tensor) -> Tensor:
        """Return the last feature map after the final norm and ReLU.

        ``(N, num_features, H / r, W / r)``: r is 4 for three stages on the CIFAR stem, 32 for four on the
        ImageNet stem.
        """
        return self.act(self.norm(x))


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
