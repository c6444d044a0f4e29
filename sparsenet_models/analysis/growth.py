"""How links, parameters and paths of the families grow with depth, and the laws fitted to them.

This module imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..aggregation import StageGraph
from .costs import stage_costs
from .fractal import fractal_costs, fractal_figures
from .graphs import graph_figures

GROWTH_DEPTHS = tuple(2**exponent for exponent in range(4, 13))
"""N = 16 ... 4096."""


class Growth(NamedTuple):
    """A fit ``value = factor N**exponent (log2 N)**log_power``.

    ``residual`` is the root mean square of the relative errors.
    """

    factor: float
    exponent: float
    log_power: int
    residual: float


@dataclass(frozen=True)
class GrowthCurve:
    """A quantity of a family at several N, and the law that is fitted to it."""

    family: str
    quantity: str
    law: str
    depths: tuple[int, ...]
    values: tuple[float, ...]
    fit: Growth

    def row(self) -> dict[str, str | float]:
        """Return the family, the quantity, the law and its fit by name."""
        return {
            "family": self.family,
            "quantity": self.quantity,
            "law": self.law,
            "exponent": self.fit.exponent,
            "log_power": self.fit.log_power,
            "residual": self.fit.residual,
        }


def growth_curves(depths: Sequence[int] = GROWTH_DEPTHS, width: int = 12) -> list[GrowthCurve]:
    """Return links, parameters and gradient path of the families against N, each with its fit.

    SparseNet and DenseNet have plain layers of k = ``width`` channels, ResNet two convolutions of that
    width, FractalNet one; a stage's input has ``width`` channels. FractalNet's N is the ``2**C - 1`` layers
    of the block whose longest way, ``2**(C - 1)`` layers, is the depth, or the largest such number below it.
    """
    sparse = [StageGraph(depth, "sparse") for depth in depths]
    dense = [StageGraph(depth, "dense") for depth in depths]
    paths = [graph_figures(graph) for graph in sparse]
    columns = [depth.bit_length() for depth in depths]
    fractal = [fractal_figures(count) for count in columns]
    fractal_depths = [figures.layers for figures in fractal]
    fractal_parameters = [fractal_costs(count, width).parameters for count in columns]

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
        curve("FractalNet", "parameters", "N", fractal_parameters, fractal_depths),
        curve("SparseNet", "path, mean", "log N", [figures.path_mean for figures in paths]),
        curve("SparseNet", "path, largest", "log N", [figures.path_max for figures in paths]),
        curve("DenseNet, ResNet", "path, largest", "1", [graph.longest_path() for graph in dense]),
        curve("ResNet's running sum", "path, largest", "N", list(depths)),
        curve("FractalNet", "path, largest", "log N", [f.path_max for f in fractal], fractal_depths),
    ]


def fit_growth(depths: Sequence[int], values: Sequence[float], log_power: int) -> Growth:
    """Fit a power of N, times a fixed power of log2 N, by least squares of the logarithms.

    Args:
        depths: N, each from 2, at least two different ones.
        values: the positive values to fit.
        log_power: the power of log2 N: 0 or 1 in the laws here.

    Raises:
        ValueError: there are fewer than two different depths, or a depth or value is out of range.
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
