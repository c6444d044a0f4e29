"""The net that SparseNet and DenseNet share: stem, stages with transitions between them, head.

The layout is that of the official code of Zhu et al., ECCV 2018 (arXiv 1801.05895), which follows DenseNet
(Huang et al., CVPR 2017, arXiv 1608.06993).
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from ..aggregation import AggregationRule, StageGraph
from ..common.arguments import integer, one_of
from ..layers.activations import ActLayer, get_act_layer
from ..layers.blocks import PreActivationLayer, Transition, set_drop_path
from ..layers.norms import NormLayer, get_norm_layer, start_near_linear
from ..layers.stage import Stage
from ..layers.stem import STEMS
from ..layers.widths import MERGES
from .classifier_net import AFTER_EVERY_LAYER, ClassifierNet
from .dilation import dilate

CIFAR_STAGES = 3


class AggregationNet(ClassifierNet):
    """A net of stages whose layers read the earlier outputs that an aggregation rule names.

    Input ``(N, in_chans, H, W)``, logits ``(N, num_classes)``. Any size from 8x8 up (32x32 with
    ``stem="imagenet"``), oblong too.

    Args:
        depth: number of convolutions and linear layers (L in the papers): three stages of
            ``(depth - 4) // 3`` layers, half as many (rounded down) with bottleneck. Give it or ``layers``.
        growth_rate: channels that a layer makes (k in the papers), one number or one per stage.
        bottleneck: whether a 1x1 convolution to 4k channels comes before each 3x3 one.
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
        drop_path_rate: share of the samples whose new features the last layer drops in training; the
            share rises linearly from 0 in the first layer.
        norm_layer: "batchnorm2d", "groupnorm", "frozenbatchnorm2d", "syncbatchnorm", or a function from
            channels to a layer. Pretrained weights fit only the batch norms.
        act_layer: a class, such as ``nn.SiLU``, or timm's name of one: "relu", "silu", "gelu", ...
        layers: number of layers in each stage, instead of ``depth``.
        stem: "cifar" (3x3 convolution) or "imagenet" (7x7/2 convolution, 3x3/2 max pool).
        output_stride: the largest stride of a feature map; dilated convolutions replace the strides after
            it. Default: the net's own.

    Biases of norms start with 1 where the rule leaves out an earlier output, else with 0.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range, or two exclude each other.
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
        output_stride: int | None = None,
    ) -> None:
        super().__init__(in_chans)
        stage_layers = _stage_layers(depth, layers, bottleneck)
        widths = _growth_rates(growth_rate, len(stage_layers))
        theta = _compression(compression, merge, bottleneck)
        rule = self.family_aggregation if aggregation is None else aggregation
        graphs = [StageGraph(num_layers, rule, base) for num_layers in stage_layers]
        norm_layer, act_layer = get_norm_layer(norm_layer), get_act_layer(act_layer)

        one_of("stem", stem, STEMS)
        doubled = merge == "concat" and (graphs[0].reads_everything or stem == "imagenet")
        channels = _stem_channels(stem_channels, merge, widths[0], doubled)
        self.stem = STEMS[stem](self.in_chans, channels, norm_layer, act_layer)
        self.has_stem_map = self.stem.reduction > 1
        self.stem_pool: nn.Module = nn.Identity()
        if self.has_stem_map:
            self.add_feature_info("stem", channels, self.stem.reduction)
            self.stem_pool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)

        make_layer = partial(
            PreActivationLayer,
            bottleneck=bottleneck,
            proj_drop_rate=proj_drop_rate,
            norm_layer=norm_layer,
            act_layer=act_layer,
        )
        self.stages = nn.ModuleList()
        self.transitions = nn.ModuleList()
        for index, (graph, width) in enumerate(zip(graphs, widths)):
            if index > 0:
                kept = width if merge == "sum" else _compressed(channels, theta, index - 1)
                self.transitions.append(Transition(channels, kept, norm_layer, act_layer))
                channels = kept
            channels = self._add_stage(graph, merge, channels, width, make_layer)
        set_drop_path(self, drop_path_rate)

        self.norm = norm_layer(channels)
        self.act = act_layer()
        stages = cast("Iterable[Stage]", self.stages)
        self.starts_near_linear = any(_leaves_out_links(stage) for stage in stages)
        self.add_head(channels, num_classes, global_pool, drop_rate)
        if output_stride is not None:
            dilate(self, output_stride)

    def _initialise(self) -> None:
        super()._initialise()
        if self.starts_near_linear:
            # Where a layer reads few outputs, most paths run through many layers.
            start_near_linear(self)

    def _add_stage(
        self,
        graph: StageGraph,
        merge: str,
        in_channels: int,
        width: int,
        make_layer: Callable[[int, int], nn.Module],
    ) -> int:
        """Add a stage of layers ``make_layer(in_channels, width)``; return the channels of its output."""
        stage = Stage(graph, merge, in_channels, width, lambda _, channels: make_layer(channels, width))
        index = len(self.stages)
        self.stages.append(stage)
        first_reduction = 2 * self.stem.reduction if self.has_stem_map else 1
        self.add_feature_info(f"stages.{index}", stage.out_channels, first_reduction * 2**index)
        return stage.out_channels

    def parts(self) -> list[str]:
        """Return ``stem, stages.0, transitions.0, stages.1, ..., norm, act, head``.

        With ``stem="imagenet"``, ``stem_pool`` comes after the stem.
        """
        stages = [f"stages.{index}" for index in range(len(self.stages))]
        transitions = [f"transitions.{index}" for index in range(len(self.transitions))]
        inner = [part for pair in zip(transitions, stages[1:]) for part in pair]
        stem = ["stem", "stem_pool"] if self.has_stem_map else ["stem"]
        return [*stem, stages[0], *inner, "norm", "act", "head"]

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return regular expressions that put every parameter in one group, for timm's layer-wise decay.

        A transition belongs to the stage before it, after that stage's layers.

        Args:
            coarse: one group for each stage instead of one for each layer.
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
        """Return the stem's output, ``(N, C, H / r, W / r)``: r is 1, with the ImageNet stem 2."""
        return self.stem(x)

    def forward_stage(self, index: int, x: Tensor) -> Tensor:
        """Return the feature map of stage ``index``, computed from the map before it or the stem's output.

        ``(N, C, H / r, W / r)``: each stage from the second on doubles r, as does the ImageNet stem's pool.
        """
        before = self.transitions[index - 1] if index > 0 else self.stem_pool
        return self.stages[index](before(x))

    def forward_final(self, x: Tensor) -> Tensor:
        """Return the last feature map after the final norm and activation.

        ``(N, num_features, H / r, W / r)``: r is 4 for three stages after the CIFAR stem, 32 for four after
        the ImageNet stem.
        """
        return self.act(self.norm(x))


def _stage_layers(depth: int | None, layers: Sequence[int] | None, bottleneck: bool) -> tuple[int, ...]:
    """Return the number of layers in each stage, from ``depth`` or from ``layers``."""
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


def _leaves_out_links(stage: Stage) -> bool:
    """Return whether a layer, or the stage's output, reads fewer outputs than there are before it."""
    return any(len(read) < layer for layer, read in enumerate(stage.sources, 1))


def _compression(compression: float | None, merge: str, bottleneck: bool) -> float:
    """Return theta, the share of channels that a transition keeps."""
    one_of("merge", merge, MERGES)
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


def _stem_channels(stem_channels: int | None, merge: str, width: int, doubled: bool) -> int:
    """Return the channels of the stem; default the first stage's ``width``, or twice that."""
    if stem_channels is None:
        return 2 * width if doubled else width
    stem_channels = integer("stem_channels", stem_channels, minimum=1)
    if merge == "sum" and stem_channels != width:
        raise ValueError(
            f"merge='sum' needs stem_channels equal to the first growth_rate, {width}, got {stem_channels}"
        )
    return stem_channels


def _compressed(channels: int, theta: float, stage: int) -> int:
    """Return the channels that the transition after ``stage`` keeps."""
    kept = int(channels * theta)
    if kept < 1:
        raise ValueError(
            f"compression={theta} leaves no channel of the {channels} of stage {stage}; "
            "a larger growth_rate or compression does"
        )
    return kept
