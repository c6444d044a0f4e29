"""The pictures of a training run: its curves by epoch, and what the trained net confuses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from ..metrics import UNKNOWN_SCORING, Scoring, read_metrics
from .drawing import BLUE, DARK, GREEN, ORANGE, new_figure, style_axes, write_figure

if TYPE_CHECKING:
    from torch import Tensor


def plot_curves(metrics_csv: str | Path, png: str | Path, scoring: Scoring = UNKNOWN_SCORING) -> None:
    """Draw a training run by epoch: loss, learning rate and, if it was measured, top-1 error.

    Args:
        metrics_csv: the run's ``metrics.csv``: columns epoch, loss, lr and top1 (may be empty).
        png: the picture to write.
        scoring: the images of the error, for its title, and the epoch that was kept, which is marked.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: the file is not such a table, or has no row.
        OSError: a file cannot be read or written.
    """
    rows = read_metrics(Path(metrics_csv))
    errors = [(row.epoch, 100 - row.top1) for row in rows if row.top1 is not None]
    error = f"top-1 error on {scoring.images}, %" if scoring.images else "top-1 error, %"
    curves: dict[str, tuple[list[tuple[int, float]], str]] = {
        "training loss": ([(row.epoch, row.loss) for row in rows], BLUE),
        **({error: (errors, ORANGE)} if errors else {}),
        "learning rate": ([(row.epoch, row.lr) for row in rows], GREEN),
    }
    figure = new_figure(9, 1.2 + 3 * len(curves))
    all_axes = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (label, (points, colour)) in zip(all_axes, curves.items()):
        epoch, value = points[-1]
        size = 7 if len(points) < 60 else 3
        style = dict(color=colour, linewidth=2.2, marker="o", markersize=size, clip_on=False, zorder=3)
        axes.plot(*zip(*points), **style)
        title = f"{label}: {value:.4g} after epoch {epoch}"
        kept = dict(points).get(scoring.kept_epoch or 0)
        if kept is not None:
            axes.axvline(scoring.kept_epoch, color=DARK, linestyle=":")
            if points is errors:
                title = f"{label}: {kept:.4g} after epoch {scoring.kept_epoch}, which was kept"
        axes.set_title(title, fontsize=14, loc="left")
        axes.set_ylim(bottom=0)
        style_axes(axes)
    all_axes[-1].set_xlabel("epoch", fontsize=14)
    all_axes[-1].xaxis.get_major_locator().set_params(integer=True)
    write_figure(figure, png)


def plot_confusion(
    confusion: Tensor, class_names: Sequence[str], png: str | Path, images: str = "images"
) -> None:
    """Draw the predictions (columns) for the images of each class (rows), shaded in percent of the row.

    Args:
        confusion: ``(classes, classes)`` counts.
        class_names: the classes. Up to 30 are named on the axes, with the number of their images; up to 20
            have counts in their cells.
        png: the picture to write.
        images: what they are, for the title: "test images".

    Raises:
        ImportError: matplotlib is missing.
        OSError: the file cannot be written.
    """
    in_class = confusion.sum(dim=1)
    percent = (100 * confusion / in_class[:, None].clamp(min=1)).tolist()
    count, right = int(in_class.sum()), int(confusion.trace())
    classes = len(class_names)
    inches = 2.2 + 0.42 * min(classes, 30)
    figure = new_figure(inches + 0.8, inches)
    axes = figure.add_subplot()
    image = axes.imshow(percent, cmap="Greys", vmin=0, vmax=100)
    figure.colorbar(image, label="% of the class", shrink=0.8)
    axes.set_title(
        f"{count:,} {images}:\n{right:,} right ({100 * right / max(1, count):.2f}%)", fontsize=10, wrap=True
    )
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if classes <= 30:
        axes.set_xticks(range(classes), class_names, rotation=90, parse_math=False)
        rows = [f"{name} ({number:,})" for name, number in zip(class_names, in_class.tolist())]
        axes.set_yticks(range(classes), rows, parse_math=False)
    if classes <= 20:
        for row, column in product(range(classes), repeat=2):
            shade = "white" if percent[row][column] > 50 else "black"
            number = f"{confusion[row, column]:,}"
            axes.text(column, row, number, ha="center", va="center", color=shade, fontsize=8)
    write_figure(figure, png)
