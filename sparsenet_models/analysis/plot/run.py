"""The pictures of a training run: its curves by epoch, and what the trained net confuses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from ..metrics import read_metrics
from .drawing import BLUE, GREEN, ORANGE, new_figure, style_axes, write_figure

if TYPE_CHECKING:
    from torch import Tensor


def plot_curves(metrics_csv: str | Path, png: str | Path) -> None:
    """Draw a training run by epoch: loss, learning rate and, if it was measured, test error.

    Args:
        metrics_csv: the run's ``metrics.csv``: columns epoch, loss, lr and top1 (may be empty).
        png: the picture to write.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: the file is not such a table, or has no row.
        OSError: a file cannot be read or written.
    """
    rows = read_metrics(Path(metrics_csv))
    errors = [(row.epoch, 100 - row.top1) for row in rows if row.top1 is not None]
    curves: dict[str, tuple[list[tuple[int, float]], str]] = {
        "training loss": ([(row.epoch, row.loss) for row in rows], BLUE),
        **({"top-1 test error, %": (errors, ORANGE)} if errors else {}),
        "learning rate": ([(row.epoch, row.lr) for row in rows], GREEN),
    }
    figure = new_figure(9, 1.2 + 3 * len(curves))
    all_axes = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (label, (points, colour)) in zip(all_axes, curves.items()):
        epoch, value = points[-1]
        size = 7 if len(points) < 60 else 3
        style = dict(color=colour, linewidth=2.2, marker="o", markersize=size, clip_on=False, zorder=3)
        axes.plot(*zip(*points), **style)
        axes.set_title(f"{label}: {value:.4g} after epoch {epoch}", fontsize=14, loc="left")
        axes.set_ylim(bottom=0)
        style_axes(axes)
    all_axes[-1].set_xlabel("epoch", fontsize=14)
    all_axes[-1].xaxis.get_major_locator().set_params(integer=True)
    write_figure(figure, png)


def plot_confusion(confusion: Tensor, class_names: Sequence[str], png: str | Path) -> None:
    """Draw the predictions (columns) for the images of each class (rows), in percent of the row.

    Args:
        confusion: ``(classes, classes)`` counts.
        class_names: the classes. Up to 30 are named on the axes; up to 20 have numbers in their cells.
        png: the picture to write.

    Raises:
        ImportError: matplotlib is missing.
        OSError: the file cannot be written.
    """
    percent = (100 * confusion / confusion.sum(dim=1, keepdim=True).clamp(min=1)).tolist()
    classes = len(class_names)
    inches = 2.2 + 0.42 * min(classes, 30)
    figure = new_figure(inches + 0.8, inches)
    axes = figure.add_subplot()
    image = axes.imshow(percent, cmap="Greys", vmin=0, vmax=100)
    figure.colorbar(image, label="% of the class", shrink=0.8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if classes <= 30:
        axes.set_xticks(range(classes), class_names, rotation=90, parse_math=False)
        axes.set_yticks(range(classes), class_names, parse_math=False)
    if classes <= 20:
        for row, column in product(range(classes), repeat=2):
            share = percent[row][column]
            shade = "white" if share > 50 else "black"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", color=shade, fontsize=8)
    write_figure(figure, png)
