"""What a rule, a stage or a net costs, counted exactly: links, paths, parameters, arithmetic, memory.

Graph questions are answered from the graph, in integers: no net is built, no torch imported. The
quantities, all for one image:

- **links**: what the layers 1 ... N read. *Unrolled*, every earlier output that reaches a layer counts;
  *as computed*, every tensor that a layer reads. They differ where a sum or a mean is kept and read
  again: a ResNet's running sum is N links as computed and N (N + 1) / 2 unrolled.
- **fan-in** and **path**: of the unrolled graph. The path of layer l is the fewest links from output l
  back to output 0, the shortest way of a gradient (Zhu et al., arXiv 1801.05895, table 1).
- **multiply-adds**: of convolutions and the linear layer, as torch's flop counter has them (FLOPs / 2).
- **traffic**: numbers that convolutions read and write, weights left aside (arXiv 1909.00948).
- **kept**: numbers that eager PyTorch keeps for the backward pass: what enters a batch norm or a
  convolution, what leaves a ReLU, what pools keep; each tensor once, weights and statistics left aside.
- **live**: the most numbers held at once in inference, when each output is freed after its last
  reader and batch norm and ReLU work in place: while a convolution runs, its input, its output and the
  outputs that later layers read; while inputs are merged, them, the merged and the same outputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..aggregation import StageGraph
from ..common.arguments import integer

RULES = ("sparse", "dense", "resnet")
LAYERS = ("plain", "bottleneck", "residual")
BOTTLENECK_WIDTH = 4
"""As in ``layers``, which would bring torch along."""


class GraphFigures(NamedTuple):
    """What the graph of one stage, or of several of a net, tells; see the module's docstring.

    ``shortest_path`` is that of the last layer, ``path_mean`` and ``path_max`` are over all layers.
    ``live_outputs`` is the most outputs that wait for a reader at once.
    """

    layers: int
    links: int
    links_unrolled: int
    fan_in_mean: float
    fan_in_max: int
    shortest_path: int
    path_mean: float
    path_max: int
    live_outputs: int


class Costs(NamedTuple):
    """Parameters, and for one image multiply-adds and numbers moved, kept and live."""

    parameters: int
    macs: int
    traffic: int
    kept: int
    live: int


@dataclass(frozen=True)
class Analysis:
    """A row of the table: a rule at a depth, or a net.

    ``depth`` is N, the layers of one stage, for a rule; for a net the convolutions and linear layers on
    its longest way, projections aside. A net's links are summed over its stages, its paths lead back
    to the input of the layer's own stage. ``costs`` is None for a rule alone.
    """

    name: str
    depth: int
    graph: GraphFigures
    costs: Costs | None = None

    def row(self) -> dict[str, str | int | float | None]:
        """Return all figures by name, None where there is none."""
        costs = self.costs._asdict() if self.costs else dict.fromkeys(Costs._fields)
        return {"name": self.name, "depth": self.depth, **self.graph._asdict(), **costs}


def parse_depths(text: str) -> list[int]:
    """Return the depths of a text like ``16,128,1024``.

    Raises:
        ValueError: a part is no integer from 1 to 10**18.
    """
    depths = []
    for part in text.split(","):
        number = part.strip()
        # The length comes first, as Python does not read an integer of thousands of digits.
        if not number.isdecimal() or len(number) > 19 or not 1 <= int(number) <= 10**18:
            raise ValueError(
                f"depths must be integers from 1 to 10**18 with commas between, got {part!r} in {text!r}"
            )
        depths.append(int(number))
    return depths


def analyze_rule(rule: str, depth: int, base: int = 2) -> Analysis:
    """Analyse one stage of ``depth`` layers under a rule; its costs need widths, as in ``stage_costs``.

    >>> analyze_rule("sparse", 1024).graph.path_max
    10

    Args:
        rule: "sparse", "dense", or "resnet" (dense, computed as a running sum).
        depth: N, from 1.
        base: offset base of the sparse rule.

    Raises:
        TypeError: a number is not an integer.
        ValueError: the rule is unknown or a number out of range.
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {RULES}, got {rule!r}")
    graph = StageGraph(depth, "dense" if rule == "resnet" else rule, base)
    return Analysis(rule, graph.num_layers, graph_figures(graph, running_sum=rule == "resnet"))


def graph_figures(graph: StageGraph, *, running_sum: bool = False) -> GraphFigures:
    """Return what a graph tells.

    Args:
        graph: the unrolled graph.
        running_sum: every layer reads one tensor, a sum or mean that is kept.
    """
    layers, unrolled = graph.num_layers, graph.link_count()
    if graph.aggregation in ("sparse", "dense"):
        fan_in_max = graph.fan_in(layers)  # both rules' fan-in never falls
    else:
        fan_in_max = max(graph.fan_in(layer) for layer in range(1, layers + 1))
    return GraphFigures(
        layers=layers,
        links=layers if running_sum else unrolled,
        links_unrolled=unrolled,
        fan_in_mean=unrolled / layers,
        fan_in_max=fan_in_max,
        shortest_path=graph.shortest_path(),
        path_mean=graph.total_path() / layers,
        path_max=graph.longest_path(),
        live_outputs=1 if running_sum else graph.most_waiting(),
    )


def combined(figures: Sequence[GraphFigures]) -> GraphFigures:
    """Return the figures of a net from those of its stages, first to last."""
    layers = sum(stage.layers for stage in figures)
    unrolled = sum(stage.links_unrolled for stage in figures)
    return GraphFigures(
        layers=layers,
        links=sum(stage.links for stage in figures),
        links_unrolled=unrolled,
        fan_in_mean=unrolled / layers,
        fan_in_max=max(stage.fan_in_max for stage in figures),
        shortest_path=figures[-1].shortest_path,
        path_mean=sum(stage.path_mean * stage.layers for stage in figures) / layers,
        path_max=max(stage.path_max for stage in figures),
        live_outputs=max(stage.live_outputs for stage in figures),
    )


class ConvolutionShape(NamedTuple):
    """A square convolution of stride 1: channels in and out, and side of its kernel."""

    in_channels: int
    out_channels: int
    kernel: int


def layer_convolutions(layer: str, in_channels: int, width: int) -> tuple[ConvolutionShape, ...]:
    """Return the convolutions of one layer: SparseNet's two kinds, or ResNet's basic branch."""
    if layer == "plain":
        return (ConvolutionShape(in_channels, width, 3),)
    if layer == "bottleneck":
        middle = BOTTLENECK_WIDTH * width
        return ConvolutionShape(in_channels, middle, 1), ConvolutionShape(middle, width, 3)
    if layer == "residual":
        return ConvolutionShape(in_channels, width, 3), ConvolutionShape(width, width, 3)
    raise ValueError(f"layer must be one of {LAYERS}, got {layer!r}")


def stage_costs(
    graph: StageGraph,
    merge: str,
    width: int,
    in_channels: int | None = None,
    layer: str = "plain",
    size: tuple[int, int] = (32, 32),
) -> Costs:
    """Return what the layers of one stage cost, from formulas: no net is built.

    Args:
        graph: which outputs each layer reads.
        merge: "concat" or "sum".
        width: channels that each layer makes (k).
        in_channels: channels of output 0; default ``width``. With "sum" it can only be that.
        layer: "plain" or "bottleneck" (SparseNet's layers), or "residual" (ResNet's, two 3x3 ones).
        size: height and width of the maps in pixels.

    Raises:
        TypeError: a number is not an integer.
        ValueError: an argument is out of range or does not go with another.
    """
    width = integer("width", width, minimum=1)
    in_channels = width if in_channels is None else integer("in_channels", in_channels, minimum=1)
    if merge not in ("concat", "sum"):
        raise ValueError(f"merge must be one of ('concat', 'sum'), got {merge!r}")
    if merge == "sum" and in_channels != width:
        raise ValueError(f"merge='sum' needs in_channels equal to width, {width}, got {in_channels}")
    pixels = _pixels(size)

    def merged(number: int) -> int:
        if merge == "sum":
            return width
        fan_in = graph.fan_in(number)
        reads_0 = graph.aggregation == "dense" or 0 in graph.inputs(number)
        return fan_in * width + (in_channels - width if reads_0 else 0)

    numbers = range(1, graph.num_layers + 1)
    layers = [layer_convolutions(layer, merged(number), width) for number in numbers]
    convolutions = [convolution for made in layers for convolution in made]
    # A layer that reads one output normalises that output itself: readers of the same one share it.
    alone = [graph.inputs(number)[0] for number in numbers if graph.fan_in(number) == 1]
    shared = sum(in_channels if source == 0 else width for source in alone) - sum(
        in_channels if source == 0 else width for source in set(alone)
    )
    live = live_in_stage(
        graph,
        outputs=[in_channels] + [width] * graph.num_layers,
        merged=[*(made[0].in_channels for made in layers), merged(graph.num_layers + 1)],
        convolutions=[[(c.in_channels, c.out_channels) for c in made] for made in layers],
        running_sum=merge == "sum" and graph.aggregation == "dense",
    )
    weights = sum(c.in_channels * c.out_channels * c.kernel**2 for c in convolutions)
    return Costs(
        parameters=weights + sum(2 * c.in_channels for c in convolutions),
        macs=weights * pixels,
        traffic=sum(c.in_channels + c.out_channels for c in convolutions) * pixels,
        kept=(sum(2 * c.in_channels for c in convolutions) - shared) * pixels,
        live=live * pixels,
    )


def _pixels(size: tuple[int, int]) -> int:
    if not isinstance(size, Sequence) or len(size) != 2:
        raise ValueError(f"size must be height and width, got {size!r}")
    return math.prod(integer("each of size", side, minimum=1) for side in size)


def live_in_stage(
    graph: StageGraph,
    outputs: Sequence[int],
    merged: Sequence[int],
    convolutions: Sequence[Iterable[tuple[int, int]]],
    running_sum: bool,
) -> int:
    """Return the most that a stage of layers BN-ReLU-convolution holds at once in inference.

    Args:
        graph: which outputs each layer reads.
        outputs: sizes of output 0 ... N.
        merged: sizes of what layer 1 ... N + 1 receives.
        convolutions: for layer 1 ... N, sizes of the input and output of its convolutions.
        running_sum: the outputs are added to one sum, which alone is held.
    """
    if running_sum:
        held = after = [outputs[-1]] * (graph.num_layers + 1)
    else:
        held = graph.waiting(outputs)
        read = [last is not None for last in graph.last_uses()]
        after = [total - made * wanted for total, made, wanted in zip(held[1:], outputs[1:], read[1:])]
    most = held[-1] + (0 if running_sum else merged[-1])
    for index, layer in enumerate(convolutions):
        running = max(entering + leaving for entering, leaving in layer)
        most = max(most, held[index] + merged[index], after[index] + running)
    return most


def fractal_graph(columns: int) -> StageGraph:
    """Return who reads whom in FractalNet's block f_C (Larsson et al., arXiv 1605.07648, section 2).

    Its 2**C - 1 convolutions are the layers, numbered by the row in which they end, then by column.
    A layer reads the outputs that meet in the join before it; the longest way is 2**(C - 1) layers.

    Args:
        columns: C, from 1.
    """
    columns = integer("columns", columns, minimum=1)
    rows = 2 ** (columns - 1)
    ending: dict[int, list[int]] = {0: [0]}
    starts = [0]
    for row, column in _fractal_layers(columns):
        starts.append(row - rows // 2**column)
        ending.setdefault(row, []).append(len(starts) - 1)
    starts.append(rows)
    return StageGraph(2**columns - 1, lambda layer: ending[starts[layer]])


def fractal_figures(columns: int) -> GraphFigures:
    """Return what the graph of FractalNet's block f_C tells: joins are kept, one waits for each column."""
    return graph_figures(fractal_graph(columns), running_sum=True)._replace(live_outputs=columns)


def fractal_costs(columns: int, width: int, size: tuple[int, int] = (32, 32)) -> Costs:
    """Return what the block f_C of conv3x3-BN-ReLU layers costs whose input has its width too.

    Args:
        columns: C, from 1.
        width: channels of every map.
        size: height and width of the maps in pixels.

    Raises:
        TypeError: a number is not an integer.
        ValueError: a number is below 1, or ``size`` is no pair.
    """
    layers = 2 ** integer("columns", columns, minimum=1) - 1
    width, pixels = integer("width", width, minimum=1), _pixels(size)
    # Kept: the block's input, every layer's map before and after its batch norm, every mean read again.
    means = sum(row % 2 == 0 for row in range(1, 2 ** (columns - 1)))
    return Costs(
        parameters=layers * (9 * width**2 + 2 * width),
        macs=layers * 9 * width**2 * pixels,
        traffic=layers * 2 * width * pixels,
        kept=(1 + 2 * layers + means) * width * pixels,
        live=live_in_fractal(columns, width * pixels, width * pixels),
    )


def live_in_fractal(columns: int, entering: int, width: int) -> int:
    """Return the most that a fractal block holds at once in inference, row by row.

    Args:
        columns: C.
        entering: size of the block's input.
        width: size of what each of its convolutions makes.
    """
    rows = 2 ** (columns - 1)
    read_from = [0] * columns  # the row whose join each column goes on with
    sizes = {0: entering}
    most = 0
    for row in range(1, rows + 1):
        ending = [column for column in range(columns) if row * 2**column % rows == 0]
        made = 0
        for column in ending:
            most = max(most, sum(sizes[start] for start in {*read_from}) + made + width)
            made += width
            read_from[column] = row
            sizes[row] = 0  # not joined yet: counted in ``made``
        most = max(
            most, sum(sizes[start] for start in {*read_from}) + made + (width if len(ending) > 1 else 0)
        )
        sizes[row] = width
    return most


def _fractal_layers(columns: int) -> Iterator[tuple[int, int]]:
    """Yield the row in which each convolution of f_C ends, and its column, in the order of rows."""
    rows = 2 ** (columns - 1)
    for row in range(1, rows + 1):
        for column in range(columns):
            if row * 2**column % rows == 0:
                yield row, column


class Growth(NamedTuple):
    """A fit ``value = c N**exponent (log2 N)**log_power``.

    ``residual`` is the root mean square of the relative errors.
    """

    factor: float
    exponent: float
    log_power: int
    residual: float


def fit_growth(depths: Sequence[int], values: Sequence[float], log_power: int) -> Growth:
    """Fit a power of N, times a given power of log2 N, by least squares of the logarithms.

    Args:
        depths: N, each from 2, at least two different ones.
        values: the positive values to fit.
        log_power: the power of log2 N: 0 or 1 in the laws here.

    Raises:
        ValueError: there are too few points, or one that has no logarithm.
    """
    if len(depths) != len(values) or len(set(depths)) < 2 or min(depths) < 2 or min(values) <= 0:
        raise ValueError(f"a fit needs two depths from 2 and positive values, got {depths!r} and {values!r}")
    x = [math.log(depth) for depth in depths]
    y = [math.log(value / math.log2(depth) ** log_power) for depth, value in zip(depths, values)]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y)) / sum((a - mean_x) ** 2 for a in x)
    errors = [math.expm1(b - mean_y - slope * (a - mean_x)) for a, b in zip(x, y)]
    residual = math.sqrt(sum(error**2 for error in errors) / len(errors))
    return Growth(math.exp(mean_y - slope * mean_x), slope, log_power, residual)


@dataclass(frozen=True)
class GrowthCurve:
    """How a quantity of a family grows with N, and the law that is fitted to it."""

    family: str
    quantity: str
    law: str
    depths: tuple[int, ...]
    values: tuple[float, ...]
    fit: Growth

    def row(self) -> dict[str, str | float]:
        """Return the family, the quantity, the law and its fit by name."""
        fitted = self.fit
        return {
            "family": self.family,
            "quantity": self.quantity,
            "law": self.law,
            "exponent": fitted.exponent,
            "log_power": fitted.log_power,
            "residual": fitted.residual,
        }


GROWTH_DEPTHS = tuple(2**exponent for exponent in range(4, 13))
"""N = 16 ... 4096."""


def growth_curves(depths: Sequence[int] = GROWTH_DEPTHS, width: int = 12) -> list[GrowthCurve]:
    """Return links, parameters and gradient path of the families against N, each with its fit.

    SparseNet and DenseNet have plain layers of k = ``width`` channels, ResNet and FractalNet two
    convolutions, or one, of that width; a stage's input has ``width`` channels. FractalNet's N is the
    2**C - 1 layers of the block whose longest way, 2**(C - 1) layers, is the depth asked or the next below.
    """
    sparse = [StageGraph(depth, "sparse") for depth in depths]
    dense = [StageGraph(depth, "dense") for depth in depths]
    paths = [graph_figures(graph) for graph in sparse]
    columns = [depth.bit_length() for depth in depths]
    fractal = [fractal_figures(count) for count in columns]
    fractal_depths = [figures.layers for figures in fractal]

    def parameters(graphs: list[StageGraph], merge: str, layer: str = "plain") -> list[float]:
        return [stage_costs(graph, merge, width, layer=layer).parameters for graph in graphs]

    def curve(
        family: str, quantity: str, law: str, values: Sequence[float], at: Sequence[int] = tuple(depths)
    ) -> GrowthCurve:
        fit = fit_growth(at, values, log_power=int("log" in law))
        return GrowthCurve(family, quantity, law, tuple(at), tuple(values), fit)

    return [
        curve("SparseNet", "links", "N log N", [graph.link_count() for graph in sparse]),
        curve("DenseNet", "links", "N^2", [graph.link_count() for graph in dense]),
        curve("ResNet", "links", "N", list(depths)),
        curve("FractalNet", "links", "N", [figures.links for figures in fractal], fractal_depths),
        curve("SparseNet [concat]", "parameters", "N log N", parameters(sparse, "concat")),
        curve("SparseNet [sum]", "parameters", "N", parameters(sparse, "sum")),
        curve("DenseNet", "parameters", "N^2", parameters(dense, "concat")),
        curve("ResNet", "parameters", "N", parameters(dense, "sum", "residual")),
        curve(
            "FractalNet",
            "parameters",
            "N",
            [fractal_costs(count, width).parameters for count in columns],
            fractal_depths,
        ),
        curve("SparseNet", "path, mean", "log N", [figures.path_mean for figures in paths]),
        curve("SparseNet", "path, largest", "log N", [figures.path_max for figures in paths]),
        curve("DenseNet, ResNet", "path, largest", "1", [graph.longest_path() for graph in dense]),
        curve("ResNet's running sum", "path, largest", "N", list(depths)),
        curve("FractalNet", "path, largest", "log N", [f.path_max for f in fractal], fractal_depths),
    ]
