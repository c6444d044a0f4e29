"""`sparsenet plot`: pictures of rules, models and runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .messages import say
from .nets import load_model
from .paths import FilePath


@click.group()
def plot() -> None:
    """Draw a picture; needs the extra "plots"."""


def _out(default: str) -> Any:
    text = "The picture to write."
    return click.option("--out", type=FilePath(), default=default, show_default=True, help=text)


@plot.command()
@click.argument("rules", nargs=-1, required=True, metavar="RULE...")
@click.option("--depth", type=click.IntRange(min=1), default=16, show_default=True, help="Layers.")
@click.option("--base", type=click.IntRange(min=2), default=2, show_default=True, help="Offset base.")
@_out("pattern.png")
def pattern(rules: tuple[str, ...], depth: int, base: int, out: Path) -> None:
    """Draw which outputs each layer reads under RULE.

    RULE is sparse, dense or resnet. The picture has arcs and a matrix.
    """
    from ..aggregation import StageGraph
    from ..analysis.plot import plot_pattern
    from ..analysis.rules import RULES
    from ..common.arguments import one_of

    for rule in rules:
        one_of("RULE", rule, RULES)
    titles = {"resnet": "resnet, unrolled"}
    graphs = {"resnet": "dense"}  # each layer reads the sum of all earlier outputs
    plot_pattern(
        {titles.get(rule, rule): StageGraph(depth, graphs.get(rule, rule), base) for rule in rules}, out
    )
    say(out)


@plot.command()
@_out("growth.png")
def growth(out: Path) -> None:
    """Draw how links, parameters and gradient paths grow.

    `analyze --growth` prints the fits.
    """
    from ..analysis.plot import plot_growth

    plot_growth(out)
    say(out)


@plot.command()
@_out("accuracy.png")
def accuracy(out: Path) -> None:
    """Draw error against parameters and multiply-adds.

    The results are those of our weights and published ones.
    """
    from ..analysis.plot import plot_accuracy

    plot_accuracy(out)
    say(out)


@plot.command()
@click.argument("speed", metavar="SPEED.CSV", type=FilePath())
@click.argument("depth", metavar="DEPTH.CSV", type=FilePath())
@_out("efficiency.png")
def efficiency(speed: Path, depth: Path, out: Path) -> None:
    """Draw error by speed, and memory and time by depth.

    SPEED.CSV is written by `sparsenet benchmark NAME.TAG... --csv`, DEPTH.CSV with `--train --depths` too.
    """
    from ..analysis.plot import plot_efficiency

    plot_efficiency(speed, depth, out)
    say(out)


@plot.command()
@click.argument("metrics", metavar="METRICS.CSV", type=FilePath())
@_out("curves.png")
def curves(metrics: Path, out: Path) -> None:
    """Draw loss, learning rate and error of a run."""
    from ..analysis.metrics import read_scoring
    from ..analysis.plot import plot_curves

    plot_curves(metrics, out, read_scoring(metrics.with_name("run.json")))
    say(out)


@plot.command()
@click.argument("models", nargs=-1, required=True, metavar="NAME.TAG-or-PATH...")
@_out("weights.png")
def weights(models: tuple[str, ...], out: Path) -> None:
    """Draw how strongly trained nets weight each source.

    PATH is a run, a saved model, or a weight file written by `train`.
    """
    from ..analysis.plot import plot_weights

    plot_weights(dict(map(_titled_model, models)), out)
    say(out)


def _titled_model(model: str) -> tuple[str, Any]:
    """Return the title in a picture and the net of a name or a path."""
    from ..models.pretrained_cfg import pretrained_cfg_of

    net = load_model(model)
    name = pretrained_cfg_of(net).name
    return (name if model == name else f"{name}\n({model})"), net
