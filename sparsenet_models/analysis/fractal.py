"""Graph, figures and costs of FractalNet's block f_C (Larsson et al., arXiv 1605.07648, section 2).

Column i of C has ``2**i`` convolutions, so the block has ``2**C - 1``. Its rows are the ``2**(C - 1)`` steps
of the deepest column. A convolution of column i takes ``2**(C - 1 - i)`` rows, and the columns whose
convolutions end in one row meet there in a join. This module imports no torch.
"""

from __future__ import annotations

from ..aggregation import StageGraph
from ..common.arguments import integer
from .costs import Costs, pixel_count
from .graphs import GraphFigures, graph_figures


def fractal_graph(columns: int) -> StageGraph:
    """Return the graph of the block's convolutions.

    The ``2**C - 1`` convolutions are the layers, numbered by the row in which they end, then by column.
    A layer reads the outputs that meet in the join before it; the longest way is ``2**(C - 1)`` layers.

    Args:
        columns: C, from 1.
    """
    columns = integer("columns", columns, minimum=1)
    rows = 2 ** (columns - 1)
    starts = [0]  # by layer, the row of the join that it reads
    joins: dict[int, list[int]] = {0: [0]}  # by row, the layers that end there
    for row in range(1, rows + 1):
        for column in _columns_ending_at(row, columns):
            starts.append(row - rows // 2**column)
            joins.setdefault(row, []).append(len(starts) - 1)
    starts.append(rows)
    return StageGraph(2**columns - 1, lambda layer: joins[starts[layer]])


def fractal_figures(columns: int) -> GraphFigures:
    """Return the figures of the block's graph. Joins are kept, so one output waits for each column."""
    return graph_figures(fractal_graph(columns), running_sum=True)._replace(live_outputs=columns)


def fractal_costs(columns: int, width: int, size: tuple[int, int] = (32, 32)) -> Costs:
    """Return what the block costs with conv3x3-BN-ReLU layers and an input of the block's own width.

    Args:
        columns: C, from 1.
        width: channels of every map.
        size: height and width of the maps in pixels.

    Raises:
        TypeError: a number is not an integer.
        ValueError: a number is below 1, or ``size`` is not a pair.
    """
    layers = 2 ** integer("columns", columns, minimum=1) - 1
    width, pixels = integer("width", width, minimum=1), pixel_count(size)
    # Kept: the block's input, every layer's map before and after its batch norm, and each mean that a
    # convolution reads.
    means = sum(row % 2 == 0 for row in range(1, 2 ** (columns - 1)))
    return Costs(
        parameters=layers * (9 * width**2 + 2 * width),
        macs=layers * 9 * width**2 * pixels,
        traffic=layers * 2 * width * pixels,
        kept=(1 + 2 * layers + means) * width * pixels,
        live=live_in_fractal(columns, width * pixels, width * pixels),
    )


def live_in_fractal(columns: int, entering: int, width: int) -> int:
    """Return the most that a block holds at once in inference, row by row.

    Args:
        columns: C.
        entering: size of the block's input.
        width: size of the output of each of its convolutions.
    """
    read_from = [0] * columns  # by column, the row of the join that its next convolution reads
    sizes = {0: entering}
    most = 0
    for row in range(1, 2 ** (columns - 1) + 1):
        ending = _columns_ending_at(row, columns)
        unjoined = 0
        for column in ending:
            most = max(most, sum(sizes[start] for start in {*read_from}) + unjoined + width)
            unjoined += width
            read_from[column] = row
            sizes[row] = 0  # not joined yet: counted in ``unjoined``
        mean = width if len(ending) > 1 else 0
        most = max(most, sum(sizes[start] for start in {*read_from}) + unjoined + mean)
        sizes[row] = width
    return most


def _columns_ending_at(row: int, columns: int) -> list[int]:
    """Return the columns of which a convolution ends in ``row`` (from 1)."""
    return [column for column in range(columns) if row * 2**column % 2 ** (columns - 1) == 0]
