"""The picture of accuracy: error against parameters and multiply-adds, our weights beside published nets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..accuracy import DATA_SETS, accuracy_points
from .drawing import BLUE, FAMILY_STYLES, ORANGE, SKY, new_figure, style_axes, write_figure
from .labels import Label, place_labels

STYLES: dict[str, dict[str, Any]] = {
    **{
        f"this library, {family}": dict(color=colour, marker=marker, s=110, zorder=4)
        for family, (colour, marker) in FAMILY_STYLES.items()
    },
    "SparseNet paper": dict(facecolors="none", edgecolors=BLUE, marker="o", s=110, linewidths=2),
    "DenseNet paper": dict(facecolors="none", edgecolors=ORANGE, marker="^", s=110, linewidths=2),
    # Drawn above ours, which would cover one of them.
    "course project, SparseNet": dict(color=SKY, marker="x", s=100, linewidths=2.8, zorder=5),
    "course project, DenseNet": dict(color=ORANGE, marker="+", s=140, linewidths=2.8, zorder=5),
}
"""By source of the error, in the order of the legend."""


def plot_accuracy(png: str | Path) -> None:
    """Draw error against parameters and multiply-adds: our weights, the papers' and the course project's.

    Args:
        png: the picture to write.

    Raises:
        ImportError: matplotlib is missing.
        OSError: the file cannot be written.
    """
    figure = new_figure(14, 12)
    points = accuracy_points()
    grid = figure.subplots(2, 2, sharex="col", sharey="row")
    labels: list[Label] = []
    handles: dict[str, Any] = {}
    for row, data in zip(grid, DATA_SETS.values()):
        for axes, cost, title in zip(
            row, ("parameters", "macs"), ("parameters", "multiply-adds, 32x32 image")
        ):
            for source, style in STYLES.items():
                drawn = [point for point in points if (point.source, point.data) == (source, data)]
                if drawn:
                    x, y = [getattr(point, cost) for point in drawn], [point.error for point in drawn]
                    handles[source] = axes.scatter(x, y, **style)
                    labels += [(axes, *place, point.net) for *place, point in zip(x, y, drawn)]
            axes.set_xscale("log")
            axes.margins(x=0.12)
            axes.set_title(f"{data}: error by {title}", fontsize=14, loc="left")
            axes.set_ylim(bottom=0)
            style_axes(axes)
            if data == "CIFAR-100":
                axes.set_xlabel(title, fontsize=14)
        row[0].set_ylabel("top-1 test error, %", fontsize=14)
    sources = [source for source in STYLES if source in handles]
    figure.legend(
        [handles[source] for source in sources],
        sources,
        loc="outside lower center",
        ncols=3,
        fontsize=13,
        frameon=False,
    )
    place_labels(figure, labels)
    write_figure(figure, png)
