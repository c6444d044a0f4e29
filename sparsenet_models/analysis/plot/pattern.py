"""The picture of an aggregation pattern: arcs above a line of outputs, and the matrix of links."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...aggregation import StageGraph
from .drawing import BLUE, DARK, PALE, new_figure, tick_step, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_LAYERS = 128
"""With more layers the arcs and cells run into each other."""


def plot_pattern(graphs: Mapping[str, StageGraph], png: str | Path) -> None:
    """Draw which outputs each layer reads: arcs above a line of outputs, and the matrix of links.

    The links of the last layer stand out. Any rule can be drawn, up to 128 layers.

    Args:
        graphs: the graphs by title, drawn side by side.
        png: the picture to write; another suffix chooses another format.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: there is no graph, or one has more than 128 layers.
        OSError: the file cannot be written.
    """
    if not graphs:
        raise ValueError(f"graphs must have at least one, got {graphs!r}")
    for title, graph in graphs.items():
        if graph.num_layers > MAX_LAYERS:
            raise ValueError(
                f"a pattern can be drawn of at most {MAX_LAYERS} layers, "
                f"got {graph.num_layers:,} for {title!r}"
            )
    figure = new_figure(6.2 * len(graphs), 8.4)
    axes = figure.subplots(2, len(graphs), squeeze=False, height_ratios=(0.42, 1))
    for column, (title, graph) in enumerate(graphs.items()):
        _draw_arcs(axes[0][column], graph, title)
        _draw_matrix(axes[1][column], graph)
    write_figure(figure, png)


def _draw_arcs(axes: Axes, graph: StageGraph, title: str) -> None:
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path as Outline
    from matplotlib.transforms import Affine2D

    last = graph.num_layers
    half_circle = Outline.arc(0, 180)
    arcs = [
        Affine2D()
        .scale((layer - source) / 2, 0.31 * (layer - source))
        .translate((source + layer) / 2, 0)
        .transform_path(half_circle)
        for source, layer in graph.links()
    ]
    widths = [2.4 if layer == last else 1.1 for _, layer in graph.links()]
    axes.add_collection(
        PathCollection(arcs, facecolors="none", edgecolors=_colours(graph), linewidths=widths), autolim=False
    )
    axes.scatter(range(last + 1), [0] * (last + 1), s=min(40, 700 / last), color=DARK, zorder=3)
    for output in numbered_outputs(graph):
        axes.text(output, -0.035 * last, str(output), ha="center", va="top", fontsize=12, color=DARK)
    links, layers = _plural(graph.link_count(), "link"), _plural(last, "layer")
    axes.set_title(
        f"{title}: {links} over {layers}\n(dark blue: read by layer {last})", fontsize=14, loc="left"
    )
    axes.set_xlim(-0.7, last + 0.7)
    axes.set_ylim(-0.12 * last, 0.33 * last)
    axes.set_aspect("equal")
    axes.axis("off")


def _colours(graph: StageGraph) -> list[str]:
    """Return the colour of each link. Those of the last layer come last, so they are drawn on top."""
    return [BLUE if layer == graph.num_layers else PALE for _, layer in graph.links()]


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def numbered_outputs(graph: StageGraph) -> list[int]:
    """Return the outputs to number: first, last, and those that the last layer reads, if they have room."""
    last = graph.num_layers
    room = last * (len(str(last)) + 1) / 50  # a digit with its margin is a 50th of the line wide
    numbered = [0]
    for output in sorted(graph.inputs(last)):
        if output - numbered[-1] >= room and last - output >= room:
            numbered.append(output)
    # Of many numbers in a row, the ends and the middle say as much.
    return [*numbered, last] if len(numbered) < 11 else [0, last // 2, last]


def _draw_matrix(axes: Axes, graph: StageGraph) -> None:
    from matplotlib.collections import PolyCollection

    last = graph.num_layers
    edge = DARK if last <= 40 else "none"  # smaller cells would be all edge
    corners = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
    cells = [[(source + right, layer + down) for right, down in corners] for source, layer in graph.links()]
    axes.add_collection(
        PolyCollection(cells, facecolors=_colours(graph), edgecolors=edge, linewidths=0.6), autolim=False
    )
    axes.set_xlim(-0.5, last + 0.5)
    axes.set_ylim(last + 0.5, 0.5)
    axes.set_aspect("equal")
    axes.set_xlabel("output that is read (0: the stage's input)", fontsize=13)
    axes.set_ylabel("layer", fontsize=13)
    axes.tick_params(labelsize=12)
    step = tick_step(last)
    axes.set_xticks(range(0, last + 1, step))
    axes.set_yticks([1, *range(step, last + 1, step)] if step > 1 else range(1, last + 1))
