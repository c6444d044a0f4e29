"""ResNet, pre-activation, and its sparse twin: each layer reads a sum of earlier outputs.

Paper: He, Zhang, Ren, Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016, arXiv 1603.05027.
In a ResNet each layer reads the sum of every earlier output (Zhu et al., ECCV 2018, arXiv 1801.05895,
section 2), which its running sum computes. The sparse ResNet sums the outputs at distance 1, 2, 4, ... and
is otherwise the same net, with the same modules and weights. That paper reports no sparse ResNet of this
layout, and no public code contains one. Code and weights: Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ..aggregation import AggregationRule, StageGraph
from ..common.arguments import integer
from ..layers.activations import ActivatedLayer, ActLayer, get_act_layer
from ..layers.blocks import DropPath, set_drop_path
from ..layers.chain import Chain
from ..layers.norms import NormLayer, get_norm_layer
from ..layers.stage import Stage
from ..layers.stem import CifarStem
from .classifier_net import AFTER_EVERY_LAYER, ClassifierNet, checked_widths
from .dilation import dilate

EXPANSION = 4
"""A bottleneck's outputs have this many times its width (arXiv 1512.03385, section 4.1)."""

STEM_CHANNELS = 16


class ResidualBranch(ActivatedLayer, Chain):
    """(BN-ReLU-conv3x3) twice, or with a bottleneck BN-ReLU-conv1x1, -conv3x3, -conv1x1.

    ``(N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride)``, rounded up. ``out_channels``
    is ``width``, with a bottleneck ``4 * width``. Its ``drop_path`` has rate 0 until ``set_drop_path``
    changes that.

    Args:
        in_channels: channels that the branch receives.
        width: channels of its 3x3 convolutions.
        bottleneck: narrow to ``width`` before the one 3x3 convolution and widen after it.
        stride: stride of the first 3x3 convolution.
        norm_layer: called with the channels, makes a normalisation; default batch norm.
        act_layer: makes an activation; default ReLU.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        bottleneck: bool,
        stride: int = 1,
        norm_layer: NormLayer = nn.BatchNorm2d,
        act_layer: ActLayer = nn.ReLU,
    ) -> None:
        super().__init__()
        self.bottleneck = bottleneck
        self.drop_path = DropPath()
        self.norm1, self.act1 = norm_layer(in_channels), act_layer()
        self.norm2, self.act2 = norm_layer(width), act_layer()
        if bottleneck:
            self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
            self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
            self.norm3, self.act3 = norm_layer(width), act_layer()
            self.conv3 = nn.Conv2d(width, EXPANSION * width, kernel_size=1, bias=False)
        else:
            self.conv1 = nn.Conv2d(in_channels, width, kernel_size=3, stride=stride, padding=1, bias=False)
            self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self._convolved(self.act1(self.norm1(x)))

    def _convolved(self, x: Tensor) -> Tensor:
        x = self.conv2(self.act2(self.norm2(self.conv1(x))))
        if self.bottleneck:
            x = self.conv3(self.act3(self.norm3(x)))
        return self.drop_path(x)

    def chain(self) -> list[nn.Module]:
        chain = [self.norm1, self.act1, self.conv1, self.norm2, self.act2, self.conv2]
        return [*chain, self.norm3, self.act3, self.conv3] if self.bottleneck else chain


class ProjectedBranch(ResidualBranch):
    """A branch that returns, before its own output, a projection of its activated input to the same shape.

    The projection is a 1x1 convolution; the branch itself reads the unprojected input. The arguments are
    those of ``ResidualBranch``.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        bottleneck: bool,
        stride: int,
        norm_layer: NormLayer = nn.BatchNorm2d,
        act_layer: ActLayer = nn.ReLU,
    ) -> None:
        super().__init__(in_channels, width, bottleneck, stride, norm_layer, act_layer)
        out_channels = EXPANSION * width if bottleneck else width
        self.projection = nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x = self.act1(self.norm1(x))
        return self.projection(x), self._convolved(x)


class ProjectedStage(Stage):
    """A stage whose outputs differ in shape from its input, so that output 0 is a projection of the input.

    Layer 1 is a ``ProjectedBranch``: it reads the stage's input and returns output 0 and output 1. The
    later layers and the stage's output read as in any ``Stage``.
    """

    first_computed = 0

    def forward(self, x: Tensor) -> Tensor:
        projection, output = self._run(self.layers[0], [x])
        return self._continue({0: projection, 1: output})


class ResNet(ClassifierNet):
    """A net whose layers, residual branches, each read the sum of earlier outputs.

    Input ``(N, in_chans, H, W)``, logits ``(N, num_classes)``. Any size from 8x8 up, oblong too.

    Examples:
        >>> ResNet(depth=110)  # resnet_110
        >>> ResNet(depth=110, aggregation="sparse")  # sparse_resnet_110

    Args:
        depth: number of convolutions and linear layers, projections not counted: 6n + 2, with bottleneck
            9n + 2, for three stages of n layers.
        bottleneck: branches of three convolutions that make 4 times the width.
        aggregation: "dense" (the ordinary ResNet), "sparse", or a function from a layer (1 ... n + 1)
            to the distinct outputs in ``[0, layer)`` whose sum it reads.
        base: offset base of the sparse rule.
        widths: width of each stage; from the second on, a stage halves height and width.
        num_classes: classes of the head; 0 for none.
        in_chans: channels of the input.
        global_pool: "avg", "max", "avgmax", "catavgmax", or "" (with ``num_classes=0``).
        drop_rate: dropout before the classifier.
        drop_path_rate: share of the samples whose branch the last layer drops in training; the share
            rises linearly from 0 in the first layer.
        norm_layer: "batchnorm2d", "groupnorm", "frozenbatchnorm2d", "syncbatchnorm", or a function from
            channels to a layer.
        act_layer: a class, such as ``nn.SiLU``, or timm's name of one: "relu", "silu", "gelu", ...
        output_stride: the largest stride of a feature map; dilated convolutions replace the strides after
            it. Default: the net's own.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        depth: int,
        bottleneck: bool = False,
        aggregation: str | AggregationRule = "dense",
        base: int = 2,
        widths: Sequence[int] = (16, 32, 64),
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        norm_layer: str | NormLayer = "batchnorm2d",
        act_layer: str | ActLayer = nn.ReLU,
        output_stride: int | None = None,
    ) -> None:
        super().__init__(in_chans)
        widths = checked_widths(widths)
        graph = StageGraph(_stage_layers(depth, len(widths), bottleneck), aggregation, base)
        norm_layer, act_layer = get_norm_layer(norm_layer), get_act_layer(act_layer)

        channels = STEM_CHANNELS
        self.stem = CifarStem(self.in_chans, channels)
        self.stages = nn.ModuleList()
        for index, width in enumerate(widths):
            stride = 1 if index == 0 else 2
            stage = _stage(graph, channels, width, bottleneck, stride, norm_layer, act_layer)
            self.stages.append(stage)
            channels = stage.out_channels
            self.add_feature_info(f"stages.{index}", channels, reduction=2**index)
        set_drop_path(self, drop_path_rate)

        self.norm = norm_layer(channels)
        self.act = act_layer()
        self.add_head(channels, num_classes, global_pool, drop_rate)
        if output_stride is not None:
            dilate(self, output_stride)

    def parts(self) -> list[str]:
        """Return ``stem, stages.0, stages.1, ..., norm, act, head``."""
        return ["stem", *(f"stages.{index}" for index in range(len(self.stages))), "norm", "act", "head"]

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return regular expressions that put every parameter in one group, for timm's layer-wise decay.

        Args:
            coarse: one group for each stage instead of one for each layer.
        """
        layers = [(r"^stages\.(\d+)\.layers\.(\d+)", None), (r"^(?:norm|act)", (AFTER_EVERY_LAYER,))]
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)" if coarse else layers}

    def forward_stem(self, x: Tensor) -> Tensor:
        """Return the first stage's input, ``(N, 16, H, W)``."""
        return self.stem(x)

    def forward_stage(self, index: int, x: Tensor) -> Tensor:
        """Return the feature map of stage ``index``, ``(N, C, H / r, W / r)``, from the map before it."""
        return self.stages[index](x)

    def forward_final(self, x: Tensor) -> Tensor:
        """Return the last map after the final norm and activation, ``(N, num_features, H / r, W / r)``.

        ``r`` is 4 for three stages. Each stage from the second on halves height and width, rounding up.
        """
        return self.act(self.norm(x))


def _stage(
    graph: StageGraph,
    in_channels: int,
    width: int,
    bottleneck: bool,
    stride: int,
    norm_layer: NormLayer,
    act_layer: ActLayer,
) -> Stage:
    """Return a stage of residual branches, with a projection where the shape of its input changes."""
    out_channels = EXPANSION * width if bottleneck else width
    projected = stride != 1 or out_channels != in_channels

    def make_branch(layer: int, channels: int) -> ResidualBranch:
        if projected and layer == 1:
            return ProjectedBranch(in_channels, width, bottleneck, stride, norm_layer, act_layer)
        return ResidualBranch(channels, width, bottleneck, norm_layer=norm_layer, act_layer=act_layer)

    stage_class = ProjectedStage if projected else Stage
    return stage_class(graph, "sum", out_channels, out_channels, make_branch)


def _stage_layers(depth: int, num_stages: int, bottleneck: bool) -> int:
    """Return the number of layers in each stage."""
    depth = integer("depth", depth, minimum=1)
    unit = num_stages * (3 if bottleneck else 2)
    layers, rest = divmod(depth - 2, unit)
    if rest or layers < 1:
        below = max(unit + 2, depth - rest)
        nearest = sorted({below, max(unit + 2, depth - rest + unit)})
        raise ValueError(
            f"depth must be 2 more than a multiple of {unit}, got {depth}; "
            f"the nearest: {' or '.join(map(str, nearest))}"
        )
    return layers
