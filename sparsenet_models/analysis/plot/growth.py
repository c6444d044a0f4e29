"""The picture of growth: links, parameters and gradient path of the families against depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..growth import growth_curves
from .drawing import FAMILY_STYLES, SKY, new_figure, style_axes, write_figure

WIDTH = 12
"""Channels of every layer."""

STYLES: dict[str, tuple[str, str, Any]] = {
    "SparseNet": (*FAMILY_STYLES["SparseNet"], "-"),
    "SparseNet [concat]": (*FAMILY_STYLES["SparseNet"], "-"),
    "SparseNet [sum]": (SKY, "s", "--"),
    "DenseNet": (*FAMILY_STYLES["DenseNet"], "-."),
    "DenseNet, ResNet": (*FAMILY_STYLES["DenseNet"], "-."),
    "ResNet": (*FAMILY_STYLES["ResNet"], ":"),
    "ResNet's running sum": (*FAMILY_STYLES["ResNet"], ":"),
    "FractalNet": (*FAMILY_STYLES["FractalNet"], (0, (5, 1, 1, 1, 1, 1))),
}
"""Colour, marker and line style by family."""


def plot_growth(png: str | Path) -> None:
    """Draw how links, parameters and the gradient path grow with depth, on logarithmic axes.

    Args:
        png: the picture to write.

    Raises:
        ImportError: matplotlib is missing.
        OSError: the file cannot be written.
    """
    curves = growth_curves(width=WIDTH)
    panels = {
        "links": "links, as computed",
        "parameters": f"parameters, width {WIDTH}",
        "path, largest": "gradient path in links, largest",
    }
    figure = new_figure(15, 7.2)
    for axes, (quantity, title) in zip(figure.subplots(1, 3), panels.items()):
        for curve in curves:
            if curve.quantity != quantity:
                continue
            colour, marker, line = STYLES[curve.family]
            on_top = curve.family == "FractalNet"  # its curve covers others, so its markers are open
            axes.plot(
                curve.depths,
                curve.values,
                color=colour,
                marker=marker,
                linestyle=line,
                linewidth=2,
                markersize=12 if on_top else 7,
                fillstyle="none" if on_top else "full",
                markeredgewidth=1.6,
                label=f"{curve.family}: {curve.law.replace('^2', '²')}",
            )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("layers of one stage, N", fontsize=14)
        axes.set_title(title, fontsize=15, loc="left")
        style_axes(axes)
        axes.legend(fontsize=13, loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False)
    write_figure(figure, png)
