"""The picture of accuracy: error against parameters and multiply-adds, our weights beside published nets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..accuracy import DATA_SETS, accuracy_points
from .drawing import BLUE, GREEN, ORANGE, PINK, SKY, new_figure, style_axes, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES: dict[str, dict[str, Any]] = {
    "this library, SparseNet": dict(color=BLUE, marker="o", s=120, zorder=4),
    "this library, DenseNet": dict(color=ORANGE, marker="^", s=110, zorder=4),
    "this library, ResNet": dict(color=GREEN, marker="D", s=100, zorder=4),
    "this library, sparse ResNet": dict(color=GREEN, marker="s", s=110, zorder=4),
    "this library, FractalNet": dict(color=PINK, marker="v", s=120, zorder=4),
    "SparseNet paper": dict(facecolors="none", edgecolors=BLUE, marker="o", s=110, linewidths=2),
    "DenseNet paper": dict(facecolors="none", edgecolors=ORANGE, marker="^", s=110, linewidths=2),
    # Drawn above ours, which would cover one of them.
    "course project, SparseNet": dict(color=SKY, marker="x", s=100, linewidths=2.8, zorder=5),
    "course project, DenseNet": dict(color=ORANGE, marker="+", s=140, linewidths=2.8, zorder=5),
}
"""By source of the error, in the order of the legend."""

Label = tuple["Axes", float, float, str]
"""A text beside the point (x, y) of some axes."""


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
    _place_labels(figure, labels)
    write_figure(figure, png)


def _place_labels(figure: Figure, labels: Sequence[Label]) -> None:
    """Write each text beside its point, on the side where it covers least of what is drawn already."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()  # which gives the axes their final place
    near, point = 9, figure.dpi / 72
    sides = [
        *((near, 0, "left", "center"), (-near, 0, "right", "center")),
        *((0, near, "center", "bottom"), (0, -near, "center", "top")),
        *((near, near, "left", "bottom"), (near, -near, "left", "top")),
        *((-near, near, "right", "bottom"), (-near, -near, "right", "top")),
        *((0, 2 * near, "center", "bottom"), (0, -2 * near, "center", "top")),
    ]
    taken: list[Bbox] = []
    for axes, x, y, _ in labels:
        middle = axes.transData.transform((x, y))
        taken.append(Bbox([middle - 6 * point, middle + 6 * point]))

    def covered_area(box: Bbox, axes: Axes) -> float:
        """Return the area that a box shares with others, and that it has outside its axes."""
        shared = [Bbox.intersection(box, other) for other in taken]
        inside = Bbox.intersection(box, axes.bbox)
        return (
            sum(part.width * part.height for part in shared if part is not None)
            + box.width * box.height
            - (inside.width * inside.height if inside is not None else 0.0)
        )

    for axes, x, y, text in labels:
        candidates: list[tuple[float, int, Any, Bbox]] = []
        for right, up, horizontal, vertical in sides:
            label = axes.annotate(
                text,
                (x, y),
                (right, up),
                textcoords="offset points",
                ha=horizontal,
                va=vertical,
                fontsize=9.5,
            )
            label.set_in_layout(False)
            box = label.get_window_extent()
            candidates.append((covered_area(box, axes), len(candidates), label, box))
        *_, best, box = min(candidates)
        taken.append(box)
        for *_, label, _ in candidates:
            if label is not best:
                label.remove()
