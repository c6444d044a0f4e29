"""The picture of efficiency: error against speed, and what a training step costs by depth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..benchmark_files import DepthCurve, SpeedPoint, depth_curves, speed_points
from .drawing import DARK, FAMILY_STYLES, new_figure, style_axes, write_figure
from .labels import place_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OTHERS = (DARK, "P")
"""Colour and marker of what is of no family."""


def plot_efficiency(speed: str | Path, depth: str | Path, png: str | Path) -> None:
    """Draw error against images/s, and memory and time of a training step against depth.

    Args:
        speed: a CSV file by `sparsenet benchmark NAME.cifar10... --csv`.
        depth: a CSV file by `sparsenet benchmark NAME... --train --depths ... --csv`.
        png: the picture to write.

    Raises:
        ValueError: a file has other rows.
        ImportError: matplotlib is missing.
        OSError: a file cannot be read or written.
    """
    points, curves = speed_points(speed), depth_curves(depth)
    figure = new_figure(18, 6.4)
    from matplotlib.ticker import LogLocator, NullLocator

    by_speed, by_memory, by_time = figure.subplots(1, 3)
    _draw_points(by_speed, points)
    depths = sorted({depth for curve in curves for depth in curve.depths})
    for axes, title, values in (
        (by_memory, "memory of a training step, MiB", "memory_mib"),
        (by_time, "seconds of a training step, an image", "seconds"),
    ):
        for curve in curves:
            _draw_curve(axes, curve, getattr(curve, values))
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(depths, [f"{depth:,}" for depth in depths])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:,g}")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
        axes.set_xlabel("depth", fontsize=14)
        axes.set_title(title, fontsize=14, loc="left")
        style_axes(axes)
    by_memory.legend(fontsize=12, frameon=False)
    names = [(by_speed, p.images_per_second, p.error, p.name.partition(".")[0]) for p in points]
    place_labels(figure, names)
    write_figure(figure, png)


def _draw_points(axes: Axes, points: list[SpeedPoint]) -> None:
    for point in points:
        colour, marker = FAMILY_STYLES.get(point.family, OTHERS)
        axes.scatter(point.images_per_second, point.error, color=colour, marker=marker, s=110)
    axes.set_xscale("log")
    axes.margins(x=0.3)
    axes.set_ylim(bottom=0, top=1.25 * max(point.error for point in points))
    axes.set_xlabel(f"images/s in batches of {points[0].batch}", fontsize=14)
    axes.set_title("top-1 test error, %, by speed", fontsize=14, loc="left")
    style_axes(axes)


def _draw_curve(axes: Axes, curve: DepthCurve, values: tuple[float, ...]) -> None:
    colour, marker = FAMILY_STYLES.get(curve.family, OTHERS)
    is_plain = curve.engine == "eager"
    line: dict[str, Any] = dict(color=colour, marker=marker, linewidth=2, markersize=8)
    line |= dict(linestyle="-" if is_plain else "--", fillstyle="full" if is_plain else "none")
    axes.plot(curve.depths, values, label=curve.family + ("" if is_plain else f", {curve.engine}"), **line)
