"""Parameters, arithmetic and memory of one stage, from formulas: no net is built, no torch imported.

Everything but the parameters is for one image:

- **multiply-adds**: of convolutions and the linear layer, half of what torch's flop counter counts.
- **traffic**: the numbers that convolutions read and write, without weights (arXiv 1909.00948).
- **kept**: the numbers that eager PyTorch keeps for the backward pass: inputs of batch norms and
  convolutions, outputs of ReLUs, what pools save. Each tensor counts once; weights and statistics do not
  count.
- **live**: the most numbers held at once in inference, if each output is freed after its last reader and
  batch norm and ReLU work in place. While a convolution runs, these are its input, its output and the
  outputs that later layers read; during a merge, the tensors read, the merged one and the same outputs, and
  in a sum of more than two the sum of the ones before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..aggregation import StageGraph
from ..common.arguments import integer, one_of
from ..layers.widths import BOTTLENECK_WIDTH, MERGES

LAYERS = ("plain", "bottleneck", "residual")


class Costs(NamedTuple):
    """Parameters, and for one image multiply-adds and the numbers moved, kept and live."""

    parameters: int
    macs: int
    traffic: int
    kept: int
    live: int


class ConvolutionShape(NamedTuple):
    """A square convolution of stride 1: input and output channels, and the side of its kernel."""

    in_channels: int
    out_channels: int
    kernel: int


def stage_costs(
    graph: StageGraph,
    merge: str,
    width: int,
    in_channels: int | None = None,
    layer: str = "plain",
    size: tuple[int, int] = (32, 32),
) -> Costs:
    """Return what the layers of one stage cost.

    Args:
        graph: which outputs each layer reads.
        merge: "concat" or "sum".
        width: output channels of each layer (k).
        in_channels: channels of output 0; default ``width``, the only value that "sum" allows.
        layer: "plain" or "bottleneck" (SparseNet's layers), or "residual" (ResNet's, two 3x3 convolutions).
        size: height and width of the maps in pixels.

    Raises:
        TypeError: a number is not an integer.
        ValueError: an argument is out of range or does not go with another.
    """
    width = integer("width", width, minimum=1)
    in_channels = width if in_channels is None else integer("in_channels", in_channels, minimum=1)
    one_of("merge", merge, MERGES)
    if merge == "sum" and in_channels != width:
        raise ValueError(f"merge='sum' needs in_channels equal to width, {width}, got {in_channels}")
    pixels = pixel_count(size)

    def merged_channels(number: int) -> int:
        if merge == "sum":
            return width
        return graph.fan_in(number) * width + (in_channels - width if graph.reads(number, 0) else 0)

    numbers = range(1, graph.num_layers + 1)
    layers = [layer_convolutions(layer, merged_channels(number), width) for number in numbers]
    shapes = [shape for convolutions in layers for shape in convolutions]
    # Layers that read the same single output normalise one tensor, which is kept once.
    singles = [graph.inputs(number)[0] for number in numbers if graph.fan_in(number) == 1]
    kept_once = sum(in_channels if source == 0 else width for source in singles) - sum(
        in_channels if source == 0 else width for source in set(singles)
    )
    live = live_in_stage(
        graph,
        outputs=[in_channels] + [width] * graph.num_layers,
        merged=[*(convolutions[0].in_channels for convolutions in layers), merged_channels(len(layers) + 1)],
        convolutions=[[(c.in_channels, c.out_channels) for c in convolutions] for convolutions in layers],
        merge="running sum" if merge == "sum" and graph.reads_everything else merge,
    )
    weights = sum(c.in_channels * c.out_channels * c.kernel**2 for c in shapes)
    return Costs(
        parameters=weights + sum(2 * c.in_channels for c in shapes),
        macs=weights * pixels,
        traffic=sum(c.in_channels + c.out_channels for c in shapes) * pixels,
        kept=(sum(2 * c.in_channels for c in shapes) - kept_once) * pixels,
        live=live * pixels,
    )


def layer_convolutions(layer: str, in_channels: int, width: int) -> tuple[ConvolutionShape, ...]:
    """Return the convolutions of one layer: one of SparseNet's two kinds, or ResNet's basic branch."""
    one_of("layer", layer, LAYERS)
    if layer == "plain":
        return (ConvolutionShape(in_channels, width, 3),)
    if layer == "bottleneck":
        middle = BOTTLENECK_WIDTH * width
        return ConvolutionShape(in_channels, middle, 1), ConvolutionShape(middle, width, 3)
    return ConvolutionShape(in_channels, width, 3), ConvolutionShape(width, width, 3)


def live_in_stage(
    graph: StageGraph,
    outputs: Sequence[int],
    merged: Sequence[int],
    convolutions: Sequence[Iterable[tuple[int, int]]],
    merge: str,
) -> int:
    """Return the most that a stage of BN-ReLU-convolution layers holds at once in inference.

    Args:
        graph: which outputs each layer reads.
        outputs: sizes of output 0 ... N.
        merged: sizes of the merged inputs of layer 1 ... N + 1.
        convolutions: for layer 1 ... N, the input and output sizes of its convolutions.
        merge: "concat", "sum", or "running sum": one sum of all outputs goes from layer to layer.
    """
    largest = [max(entering + leaving for entering, leaving in layer) for layer in convolutions]
    if merge == "running sum":
        # An addition has the old sum, a layer's output and the new sum.
        return max(3 * outputs[-1], outputs[-1] + max(largest))
    during_merge = graph.waiting(outputs)
    # While layer l runs, those outputs wait that layer l + 1 will find, except the layer's own.
    own = [0 if last is None else size for size, last in zip(outputs, graph.last_uses())]
    during_layer = [waiting - size for waiting, size in zip(during_merge[1:], own[1:])]
    sums = [2 if merge == "sum" and graph.fan_in(number) > 2 else 1 for number in range(1, len(merged) + 1)]
    merging = [waiting + count * size for waiting, count, size in zip(during_merge, sums, merged)]
    return max(*merging, *map(sum, zip(during_layer, largest)))


def pixel_count(size: tuple[int, int]) -> int:
    """Return height times width.

    Raises:
        TypeError: a side is not an integer.
        ValueError: ``size`` is not a pair, or a side is below 1.
    """
    if not isinstance(size, Sequence) or len(size) != 2:
        raise ValueError(f"size must be height and width, got {size!r}")
    return math.prod(integer("each of size", side, minimum=1) for side in size)
