"""The pictures: patterns, growth, accuracy, a run's curves and confusions, a net's weights.

They need the extra ``docs``.

Colours are those of Okabe and Ito, which colour-blind readers tell apart; line styles and markers tell
the same apart in black and white. Every function writes one file, whole or not at all.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..aggregation import StageGraph
from ..common.files import atomic_write
from .rules import growth_curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from ..layers.blocks import PreActivationLayer
    from ..layers.stage import Stage

DARK, PALE = "#1a1a1a", "#b9c4cf"
BLUE, ORANGE, GREEN, PINK, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9"
DPI = 130

DEEPEST_PATTERN = 128
"""Layers, above which a pattern is a blot."""


def plot_pattern(graphs: Mapping[str, StageGraph], png: str | Path) -> None:
    """Draw who reads whom: arcs above a line of outputs, and the matrix of layers and sources.

    The last layer's own links stand out. A rule of any kind will do, of up to 128 layers.

    Args:
        graphs: the graph under each title, side by side.
        png: the picture to write; another ending chooses another format.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: there is no graph, or one has more layers.
        OSError: the file cannot be written.
    """
    if not graphs:
        raise ValueError(f"graphs must have at least one, got {graphs!r}")
    for title, graph in graphs.items():
        if graph.num_layers > DEEPEST_PATTERN:
            raise ValueError(
                f"a pattern can be drawn of at most {DEEPEST_PATTERN} layers, "
                f"got {graph.num_layers:,} for {title!r}"
            )
    figure = _figure(6.2 * len(graphs), 8.4)
    axes = figure.subplots(2, len(graphs), squeeze=False, height_ratios=(0.42, 1))
    for column, (title, graph) in enumerate(graphs.items()):
        _draw_arcs(axes[0][column], graph, title)
        _draw_matrix(axes[1][column], graph)
    _write(figure, png)


def _draw_arcs(axes: Axes, graph: StageGraph, title: str) -> None:
    from matplotlib.patches import Arc

    last = graph.num_layers
    for source, layer in graph.links():
        own = layer == last
        axes.add_patch(
            Arc(
                ((source + layer) / 2, 0),
                layer - source,
                (layer - source) * 0.62,
                theta1=0,
                theta2=180,
                color=BLUE if own else PALE,
                linewidth=2.4 if own else 1.1,
                zorder=2 if own else 1,
            )
        )
    axes.scatter(range(last + 1), [0] * (last + 1), s=min(40, 700 / last), color=DARK, zorder=3)
    for output in _labelled(graph):
        axes.text(output, -0.035 * last, str(output), ha="center", va="top", fontsize=12, color=DARK)
    links, layers = _counted(graph.link_count(), "link"), _counted(last, "layer")
    axes.set_title(
        f"{title}: {links} over {layers}\n(dark blue: read by layer {last})", fontsize=14, loc="left"
    )
    axes.set_xlim(-0.7, last + 0.7)
    axes.set_ylim(-0.12 * last, 0.33 * last)
    axes.set_aspect("equal")
    axes.axis("off")


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def _labelled(graph: StageGraph) -> list[int]:
    """Return the outputs to number: the first, the last, and those that it reads as far as there is room."""
    last = graph.num_layers
    apart = last * (len(str(last)) + 1) / 50  # with its margin a digit takes a 50th of the line
    shown = [0]
    for output in sorted(graph.inputs(last)):
        if output - shown[-1] >= apart and last - output >= apart:
            shown.append(output)
    # A row of all numbers says no more than its ends and its middle.
    return [*shown, last] if len(shown) < 11 else [0, last // 2, last]


def _draw_matrix(axes: Axes, graph: StageGraph) -> None:
    last = graph.num_layers
    edge = DARK if last <= 40 else "none"  # of smaller cells one would see the edges alone
    for source, layer in graph.links():
        axes.add_patch(_cell(source, layer, BLUE if layer == last else PALE, edge))
    axes.set_xlim(-0.5, last + 0.5)
    axes.set_ylim(last + 0.5, 0.5)
    axes.set_aspect("equal")
    axes.set_xlabel("output that is read (0: the stage's input)", fontsize=13)
    axes.set_ylabel("layer", fontsize=13)
    axes.tick_params(labelsize=12)
    step = max(1, 2 ** round(math.log2(max(1, last / 8))))
    axes.set_xticks(range(0, last + 1, step))
    axes.set_yticks([1, *range(step, last + 1, step)] if step > 1 else range(1, last + 1))


def _cell(source: int, layer: int, colour: str, edge: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((source - 0.5, layer - 0.5), 1, 1, facecolor=colour, edgecolor=edge, linewidth=0.6)


FAMILIES = {
    "sparsenet_": "SparseNet",
    "densenet_": "DenseNet",
    "sparse_resnet_": "sparse ResNet",
    "resnet_": "ResNet",
    "fractalnet_": "FractalNet",
}
"""By what their names begin with."""

_GROWTH_STYLES: dict[str, tuple[str, str, str]] = {
    "SparseNet": (BLUE, "o", "-"),
    "SparseNet [concat]": (BLUE, "o", "-"),
    "SparseNet [sum]": (SKY, "s", "--"),
    "DenseNet": (ORANGE, "^", "-."),
    "DenseNet, ResNet": (ORANGE, "^", "-."),
    "ResNet": (GREEN, "D", ":"),
    "ResNet's running sum": (GREEN, "D", ":"),
    "FractalNet": (PINK, "v", (0, (5, 1, 1, 1, 1, 1))),  # type: ignore[dict-item]
}


def plot_growth(png: str | Path) -> None:
    """Draw how links, parameters and the gradient path grow with depth, on logarithmic axes.

    Args:
        png: the picture to write.

    Raises:
        ImportError: matplotlib is missing.
        OSError: the file cannot be written.
    """
    width = 12
    curves = growth_curves(width=width)
    panels = {
        "links": "links, as computed",
        "parameters": f"parameters, width {width}",
        "path, largest": "gradient path in links, largest",
    }
    figure = _figure(15, 7.2)
    for axes, (quantity, label) in zip(figure.subplots(1, 3), panels.items()):
        for curve in curves:
            if curve.quantity != quantity:
                continue
            colour, marker, line = _GROWTH_STYLES[curve.family]
            axes.plot(
                curve.depths,
                curve.values,
                color=colour,
                marker=marker,
                linestyle=line,
                linewidth=2,
                markersize=12 if curve.family == "FractalNet" else 7,
                fillstyle="none" if curve.family == "FractalNet" else "full",  # it lies upon others
                markeredgewidth=1.6,
                label=f"{curve.family}: {curve.law.replace('^2', '²')}",
            )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("layers of one stage, N", fontsize=14)
        axes.set_title(label, fontsize=15, loc="left")
        _finish(axes)
        axes.legend(fontsize=13, loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False)
    _write(figure, png)


def plot_accuracy(png: str | Path) -> None:
    """Draw error against parameters and multiply-adds: our weights, the papers' and the course project's.

    Args:
        png: the picture to write.

    Raises:
        ImportError: matplotlib is missing.
        OSError: the file cannot be written.
    """
    points = _accuracy_points()
    styles = {
        "this library, SparseNet": dict(color=BLUE, marker="o", s=120, zorder=4),
        "this library, DenseNet": dict(color=ORANGE, marker="^", s=110, zorder=4),
        "this library, ResNet": dict(color=GREEN, marker="D", s=100, zorder=4),
        "this library, sparse ResNet": dict(color=GREEN, marker="s", s=110, zorder=4),
        "this library, FractalNet": dict(color=PINK, marker="v", s=120, zorder=4),
        "SparseNet paper": dict(facecolors="none", edgecolors=BLUE, marker="o", s=110, linewidths=2),
        "DenseNet paper": dict(facecolors="none", edgecolors=ORANGE, marker="^", s=110, linewidths=2),
        # Above ours, which one of them lies upon.
        "course project, SparseNet": dict(color=SKY, marker="x", s=100, linewidths=2.8, zorder=5),
        "course project, DenseNet": dict(color=ORANGE, marker="+", s=140, linewidths=2.8, zorder=5),
    }
    figure = _figure(14, 12)
    grid = figure.subplots(2, 2, sharex="col", sharey="row")
    labels: list[tuple[Axes, float, float, str]] = []
    for row, data in zip(grid, ("CIFAR-10", "CIFAR-100")):
        for axes, column, label in zip(
            row, ("parameters", "macs"), ("parameters", "multiply-adds, 32x32 image")
        ):
            for source, style in styles.items():
                own = [point for point in points if point["source"] == source and point["data"] == data]
                if own:
                    x, y = ([point[key] for point in own] for key in (column, "error"))
                    axes.scatter(x, y, label=source, **style)
                    labels += [(axes, *place) for place in zip(x, y, (point["net"] for point in own))]
            axes.set_xscale("log")
            axes.margins(x=0.12)
            axes.set_title(f"{data}: error by {label}", fontsize=14, loc="left")
            axes.set_ylim(bottom=0)
            _finish(axes)
            if data == "CIFAR-100":
                axes.set_xlabel(label, fontsize=14)
        row[0].set_ylabel("top-1 test error, %", fontsize=14)
    shown = [axes.get_legend_handles_labels() for axes in grid.ravel()]
    entries = {label: handle for handles, labels in shown for label, handle in zip(labels, handles)}
    figure.legend(
        [entries[source] for source in styles if source in entries],
        [source for source in styles if source in entries],
        loc="outside lower center",
        ncols=3,
        fontsize=13,
        frameon=False,
    )
    _place_labels(figure, labels)
    _write(figure, png)


def _place_labels(figure: Figure, labels: Sequence[tuple[Axes, float, float, str]]) -> None:
    """Write each text beside its point, on the side where it covers least of what else is there."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()  # until then the axes have no final place
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

    def covered(box: Bbox, axes: Axes) -> float:
        shared = [Bbox.intersection(box, other) for other in taken]
        inside = Bbox.intersection(box, axes.bbox)
        return (
            sum(part.width * part.height for part in shared if part is not None)
            + box.width * box.height
            - (inside.width * inside.height if inside is not None else 0.0)
        )

    for axes, x, y, text in labels:
        found: list[tuple[float, int, Any, Bbox]] = []
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
            found.append((covered(box, axes), len(found), label, box))
        *_, best, box = min(found)
        taken.append(box)
        for *_, label, _ in found:
            if label is not best:
                label.remove()


def _accuracy_points() -> list[dict[str, Any]]:
    """Return source, net, data set, error, parameters and multiply-adds of every net with a known error."""
    from ..factory import create_model
    from ..models.listing import list_pretrained
    from ..models.registry import get_pretrained_cfg
    from .nets import analyze_model
    from .published import PUBLISHED

    found: list[tuple[str, str, dict[str, Any], str, float]] = []
    for name in list_pretrained():
        cfg = get_pretrained_cfg(name)
        data = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}.get(cfg.tag.split("_")[0])
        family = next((family for prefix, family in FAMILIES.items() if name.startswith(prefix)), None)
        if data is not None and cfg.top1 is not None and family is not None:
            found.append((f"this library, {family}", name, {}, data, 100 - cfg.top1))
    for result in PUBLISHED:
        for data, error in (("CIFAR-10", result.cifar10), ("CIFAR-100", result.cifar100)):
            if error is not None:
                tag = data.lower().replace("-", "")
                found.append((result.source, f"{result.model}.{tag}", result.arguments, data, error))
    points = []
    for source, name, arguments, data, error in found:
        costs = analyze_model(create_model(name, device="meta", **arguments)).costs
        assert costs is not None
        points.append(
            {
                "source": source,
                "net": _short_name(name, arguments),
                "data": data,
                "error": error,
                "parameters": costs.parameters,
                "macs": costs.macs,
            }
        )
    return points


def _short_name(name: str, arguments: Mapping[str, Any]) -> str:
    """Return what distinguishes a net within its family: ``bc_100_k16_32_64``, ``20``."""
    architecture = name.partition(".")[0]
    short = architecture.removeprefix(next(prefix for prefix in FAMILIES if name.startswith(prefix)))
    kind, k, rate = short.partition("_k")
    if "depth" in arguments:
        kind = f"{kind.rpartition('_')[0]}_{arguments['depth']}"
    if "growth_rate" in arguments:
        told = arguments["growth_rate"]
        rate = "_".join(map(str, told if isinstance(told, tuple) else (told,)))
    return f"{kind}{k}{rate}"


def plot_curves(metrics_csv: str | Path, png: str | Path) -> None:
    """Draw a training run: loss, learning rate and, where it was measured, test error by epoch.

    Args:
        metrics_csv: the run's ``metrics.csv``: columns epoch, loss, lr and top1 (may be empty).
        png: the picture to write.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: the file is no such table, or has no row.
        OSError: a file cannot be read or written.
    """
    rows = _metrics(Path(metrics_csv))
    epochs = [row["epoch"] for row in rows]
    errors = [(row["epoch"], 100 - row["top1"]) for row in rows if row["top1"] is not None]
    panels: list[tuple[str, Sequence[Any], Sequence[Any], str]] = [
        ("training loss", epochs, [row["loss"] for row in rows], BLUE),
        ("learning rate", epochs, [row["lr"] for row in rows], GREEN),
    ]
    if errors:
        panels.insert(1, ("top-1 test error, %", *zip(*errors), ORANGE))  # type: ignore[arg-type]
    figure = _figure(9, 1.2 + 3 * len(panels))
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (label, x, y, colour) in zip(all_axes, panels):
        size = 7 if len(x) < 60 else 3
        axes.plot(x, y, color=colour, linewidth=2.2, marker="o", markersize=size, clip_on=False, zorder=3)
        axes.set_title(f"{label}: {y[-1]:.4g} after epoch {x[-1]}", fontsize=14, loc="left")
        axes.set_ylim(bottom=0)
        _finish(axes)
    all_axes[-1].set_xlabel("epoch", fontsize=14)
    all_axes[-1].xaxis.get_major_locator().set_params(integer=True)
    _write(figure, png)


def _metrics(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a run's ``metrics.csv``: epoch, loss, lr, and top1 or None."""
    wanted = f"{path} must be a run's metrics.csv with the columns epoch, loss, lr and top1"
    with path.open(encoding="utf-8", newline="") as file:
        try:
            rows = [
                {
                    "epoch": int(row["epoch"]),
                    "loss": float(row["loss"]),
                    "lr": float(row["lr"]),
                    "top1": float(row["top1"]) if row["top1"] else None,
                }
                for row in csv.DictReader(file)
            ]
        except (KeyError, ValueError, TypeError, csv.Error) as error:
            raise ValueError(f"{wanted}; got {type(error).__name__}: {error}") from error
    if not rows:
        raise ValueError(f"{wanted}; it has no row")
    return rows


def plot_confusion(confusion: Tensor, class_names: Sequence[str], png: str | Path) -> None:
    """Draw what a net said (columns) of the images of each class (rows), in percent of the row.

    Args:
        confusion: ``(classes, classes)`` counts.
        class_names: the classes; up to 30 are named, and in the cells of up to 20 are numbers.
        png: the picture to write.

    Raises:
        ImportError: matplotlib is missing.
        OSError: the file cannot be written.
    """
    shares = (100 * confusion / confusion.sum(dim=1, keepdim=True).clamp(min=1)).tolist()
    classes = len(class_names)
    inches = 2.2 + 0.42 * min(classes, 30)
    figure = _figure(inches + 0.8, inches)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Greys", vmin=0, vmax=100)
    figure.colorbar(image, label="% of the class", shrink=0.8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if classes <= 30:
        axes.set_xticks(range(classes), class_names, rotation=90, parse_math=False)
        axes.set_yticks(range(classes), class_names, parse_math=False)
    if classes <= 20:
        for row, column in product(range(classes), repeat=2):
            share = shares[row][column]
            shade = "white" if share > 50 else "black"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", color=shade, fontsize=8)
    _write(figure, png)


def plot_weights(nets: Mapping[str, nn.Module], png: str | Path) -> None:
    """Draw the mean absolute weight from each source to each layer, a row of stages for each net.

    Figure 5 of Huang et al. (arXiv 1608.06993), as Zhu et al. (arXiv 1801.05895) draw it: of the first
    convolution of a layer, over the channels that are from one source; a stage's last row, "out", is what
    its transition, or the classifier, reads. Every row is relative to its largest.

    Args:
        nets: trained nets that merge by concat, under their titles.
        png: the picture to write.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: there is no net, or one has no stages that merge by concat.
        OSError: the file cannot be written.
    """
    if not nets:
        raise ValueError(f"nets must have at least one, got {nets!r}")
    maps = {title: weight_maps(net) for title, net in nets.items()}
    most = max(len(stages) for stages in maps.values())
    figure = _figure(4.4 * most + 1.2, 4.7 * len(maps))
    grid = figure.subplots(len(maps), most, squeeze=False)
    shares = [
        value / max(reader.values())
        for stages in maps.values()
        for readers in stages
        for reader in readers
        for value in reader.values()
        if max(reader.values())
    ]
    lowest = math.floor(10 * min(shares, default=0.0)) / 10
    image: Any = None
    for row, (title, stages) in zip(grid, maps.items()):
        for index, axes in enumerate(row):
            if index >= len(stages):
                axes.axis("off")
                continue
            image = _draw_weights(axes, stages[index], lowest)
            # A long title stands over the stages to its right too.
            named = f"{title}\nstage {index + 1}" if index == 0 else f"stage {index + 1}"
            axes.set_title(named, fontsize=14, loc="left")
        row[0].set_ylabel("layer that reads", fontsize=14)
    for axes in grid[-1]:
        axes.set_xlabel("output that is read", fontsize=14)
    bar = figure.colorbar(image, ax=grid.ravel().tolist(), shrink=0.8, pad=0.015)
    bar.set_label("mean |weight|, relative to the row's largest", fontsize=14)
    bar.ax.tick_params(labelsize=13)
    _write(figure, png)


def weight_maps(net: nn.Module) -> list[list[dict[int, float]]]:
    """Return, for every stage and reader, the mean absolute weight of each source that it reads.

    The readers of a stage are its layers 1 ... N and what reads its output: the transition, or after
    the last stage the classifier. Without a classifier of the stage's width that last reader is empty.

    Args:
        net: a net whose stages merge by concat.

    Raises:
        ValueError: it has no such stages.
    """
    from ..layers.stage import Stage
    from ..models.aggregation_net import AggregationNet

    if not isinstance(net, AggregationNet) or any(
        cast(Stage, stage).merge != "concat" for stage in net.stages
    ):
        raise ValueError(
            f"{type(net).__name__} has no stages merged by concat, where each source has weights of its own"
        )
    readers_of_output = [*(transition.conv for transition in net.transitions), net.head.fc]
    return [
        _weights_read(cast(Stage, stage), cast("nn.Module", after))
        for stage, after in zip(net.stages, readers_of_output)
    ]


def _weights_read(stage: Stage, after: nn.Module) -> list[dict[int, float]]:
    """Return the mean absolute weight of each source for the layers of a stage and for ``after``."""
    layers = [cast("PreActivationLayer", layer) for layer in stage.layers]
    makers = [layer.conv2 if layer.bottleneck else layer.conv1 for layer in layers]
    widths = [layers[0].conv1.in_channels, *(maker.out_channels for maker in makers)]
    weights = [*(layer.conv1.weight for layer in layers), getattr(after, "weight", None)]
    found: list[dict[int, float]] = []
    for weight, sources in zip(weights, stage.sources):
        read = [widths[source] for source in sources]
        if weight is None or weight.shape[1] != sum(read):
            found.append({})
            continue
        pieces = weight.detach().abs().split(read, dim=1)
        found.append({source: piece.mean().item() for source, piece in zip(sources, pieces)})
    return found


def _draw_weights(axes: Axes, readers: Sequence[Mapping[int, float]], lowest: float) -> Any:
    layers = len(readers) - 1
    values = [[math.nan] * len(readers) for _ in readers]
    for row, reader in zip(values, readers):
        largest = max(reader.values(), default=0.0)
        for source, value in reader.items():
            row[source] = value / largest if largest else 0.0
    image = axes.imshow(values, cmap="viridis_r", vmin=lowest, vmax=1, interpolation="nearest", aspect="auto")
    # Hatched where there is no link, so that none is mistaken for a weight near zero.
    axes.patch.set(facecolor="white", hatch="////", edgecolor="#c8c8c8", linewidth=0)
    step = max(1, 2 ** round(math.log2(max(1, layers / 8))))
    axes.set_xticks(range(0, layers + 1, step))
    shown = [layer for layer in range(step, layers + 1, step) if step == 1 or layer < layers]
    axes.set_yticks([*(layer - 1 for layer in shown), layers], [*map(str, shown), "out"])
    axes.tick_params(labelsize=13)
    return image


def _figure(width: float, height: float) -> Figure:
    """Return an empty figure; sizes in inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'sparsenet-models[docs]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def _finish(axes: Axes) -> None:
    axes.grid(True, which="major", color="#d9d9d9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=13)
    axes.spines[["top", "right"]].set_visible(False)


def _write(figure: Figure, png: str | Path) -> None:
    png = Path(png)
    if not png.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(png.parent)!r} to write {png.name!r} into")
    picture = io.BytesIO()
    figure.savefig(picture, dpi=DPI, format=png.suffix.lstrip(".").lower() or "png")
    with atomic_write(png) as (temporary,):
        temporary.write_bytes(picture.getvalue())
