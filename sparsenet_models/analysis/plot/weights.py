"""The picture of a net's weights: how strongly each layer weighs each output that it reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from ..link_weights import SourceWeights, weight_maps
from .drawing import new_figure, tick_step, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_weights(nets: Mapping[str, nn.Module], png: str | Path) -> None:
    """Draw the mean absolute weight from each source to each layer, a row of stages for each net.

    Figure 5 of Huang et al. (arXiv 1608.06993), as Zhu et al. (arXiv 1801.05895) draw it. A cell is the mean
    over the channels of one source in a layer's first convolution. A stage's last row, "out", is its
    transition, or the classifier. Every row is relative to its largest value.

    Args:
        nets: trained nets that merge by concat, by title.
        png: the picture to write.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: there is no net, or one has no stages that merge by concat.
        OSError: the file cannot be written.
    """
    if not nets:
        raise ValueError(f"nets must have at least one, got {nets!r}")
    maps = {
        title: [[_relative(reader) for reader in stage] for stage in weight_maps(net)]
        for title, net in nets.items()
    }
    values = [
        value for stages in maps.values() for stage in stages for reader in stage for value in reader.values()
    ]
    lowest = math.floor(10 * min(values, default=0.0)) / 10
    columns = max(len(stages) for stages in maps.values())
    figure = new_figure(4.4 * columns + 1.2, 4.7 * len(maps))
    grid = figure.subplots(len(maps), columns, squeeze=False)
    image: Any = None
    for row, (title, stages) in zip(grid, maps.items()):
        for index, (axes, stage) in enumerate(zip(row, stages)):
            image = _draw_stage(axes, stage, lowest)
            # A long title extends over the stages to its right.
            heading = f"{title}\nstage {index + 1}" if index == 0 else f"stage {index + 1}"
            axes.set_title(heading, fontsize=14, loc="left")
        for axes in row[len(stages) :]:
            axes.axis("off")
        row[0].set_ylabel("layer that reads", fontsize=14)
    for axes in grid[-1]:
        axes.set_xlabel("output that is read", fontsize=14)
    bar = figure.colorbar(image, ax=grid.ravel().tolist(), shrink=0.8, pad=0.015)
    bar.set_label("mean |weight|, relative to the row's largest", fontsize=14)
    bar.ax.tick_params(labelsize=13)
    write_figure(figure, png)


def _relative(reader: SourceWeights) -> SourceWeights:
    """Return the weights divided by the largest one; all zero if that is zero."""
    largest = max(reader.values(), default=0.0)
    return {source: value / largest if largest else 0.0 for source, value in reader.items()}


def _draw_stage(axes: Axes, readers: Sequence[SourceWeights], lowest: float) -> Any:
    layers = len(readers) - 1
    values = [[reader.get(source, math.nan) for source in range(len(readers))] for reader in readers]
    image = axes.imshow(values, cmap="viridis_r", vmin=lowest, vmax=1, interpolation="nearest", aspect="auto")
    # Hatched where there is no link, so that a missing link does not look like a weight near zero.
    axes.patch.set(facecolor="white", hatch="////", edgecolor="#c8c8c8", linewidth=0)
    step = tick_step(layers)
    axes.set_xticks(range(0, layers + 1, step))
    numbered = [layer for layer in range(step, layers + 1, step) if step == 1 or layer < layers]
    axes.set_yticks([*(layer - 1 for layer in numbered), layers], [*map(str, numbered), "out"])
    axes.tick_params(labelsize=13)
    return image
