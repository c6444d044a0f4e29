"""The `sparsenet` command: one thin function per verb. `sparsenet --help` imports no torch."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import click

from ._version import __version__
from .common.messages import printable

INFERENCE_PRECISIONS = ("float32", "bfloat16")
BAR_WIDTH = 30
MAX_VALUE_CHARS = 90


class OneLineErrors(click.Group):
    """Print the library's errors about bad input as one line on stderr, and exit with code 1."""

    def invoke(self, context: click.Context) -> Any:
        # A name that the terminal's encoding lacks must not end the command.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(context)
        except BrokenPipeError:
            raise  # click exits quietly when the reader of a pipe has gone
        except (ValueError, OSError, ImportError) as error:
            raise click.ClickException(printable(str(error))) from error


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="sparsenet-models", prog_name="sparsenet")
def main() -> None:
    """Sparsely aggregated convolutional networks: predict, train, validate."""


@main.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "--model",
    metavar="NAME.TAG|PATH",
    help="PATH: a run, a saved model, or a weight file by `train`. Default: the best SparseNet for CIFAR-10.",
)
@click.option("--checkpoint", help="A weight file of another origin, for the --model that it fits.")
@click.option("--top-k", type=int, default=5, show_default=True, help="How many classes to print.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--precision", type=click.Choice(INFERENCE_PRECISIONS), default="float32", show_default=True)
@click.pass_context
def predict(
    context: click.Context,
    images: tuple[str, ...],
    model: str | None,
    top_k: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Classify each IMAGE."""
    from .common.arguments import integer

    integer("top_k", top_k, minimum=1)
    if not any(Path(image).exists() for image in images):  # before torch is imported
        for image in images:
            click.echo(f"sparsenet: image not found: {printable(image)}", err=True)
        context.exit(1)

    from .data.predict import predict as predictions
    from .models.pretrained_cfg import pretrained_cfg_of

    net = _load_model(model, **options)
    cfg = pretrained_cfg_of(net)
    names = f", {cfg.label_names[0]} to {cfg.label_names[-1]}" if cfg.label_names else ""
    used = f"predicting with {cfg.name}: {net.num_classes} classes{names}"
    click.echo(f"sparsenet: {printable(used)}", err=True)
    answers, failed = [], False
    for prediction in predictions(net, images, top_k):
        if prediction.error is not None:
            click.echo(f"sparsenet: {printable(prediction.error)}", err=True)
            failed = True
            continue
        answers.append(
            {
                "image": prediction.image,
                "model": cfg.name,
                "predictions": [{"label": label, "probability": p} for label, p in prediction.labels],
            }
        )
        if not as_json:
            labels = [(printable(label), probability) for label, probability in prediction.labels]
            _print_classes(printable(prediction.image), labels)
    if as_json:
        click.echo(json.dumps(answers, indent=2, allow_nan=False))
    context.exit(1 if failed else 0)


@main.command("list")
@click.argument("pattern", default="", metavar="[PATTERN]")
@click.option("--pretrained", is_flag=True, help="Only models with weights, with their size and accuracy.")
def list_(pattern: str, pretrained: bool) -> None:
    """List the models whose name matches PATTERN (with * and ?); on a terminal, with the tags of weights."""
    from .common.messages import did_you_mean
    from .models.listing import list_models, list_pretrained
    from .models.registry import tags_with_weights

    names = list_models(pattern, pretrained=pretrained)
    if not names:
        choices = list_models(pretrained=pretrained)
        hint = did_you_mean(pattern.strip("*"), choices) or f"; there are {len(choices)} without a pattern"
        raise click.ClickException(f"no model matches {pattern!r}{hint}")
    if not pretrained:
        for name in names:
            tags = [full.partition(".")[2] for full in tags_with_weights(name)]
            marked = sys.stdout.isatty() and tags
            click.echo(f"{name:28} weights: {', '.join(tags)}" if marked else name)
        return
    for row in list_pretrained(pattern, as_table=True):
        millions, macs = row["num_params"] / 1e6, row["macs"] / 1e6
        click.echo(
            f"{row['name']:36} {millions:6.3f}M parameters {macs:7.1f}M multiply-adds  "
            f"{row['data']:8}  top-1 {row['top1']:.2f}%  (error {100 - row['top1']:.2f}%)"
        )


@main.command()
@click.argument("model", metavar="MODEL")
def info(model: str) -> None:
    """Print the configuration of MODEL: size, input, weights, metrics.

    MODEL is a name, NAME.TAG, the folder of a run or of a saved model, or a weight file by `train`.
    """
    from .factory import create_model
    from .models.registry import is_model, tags_with_weights
    from .pretrained.source import find_model, path_as_name

    name = path_as_name(model)
    cfg = find_model(name).cfg
    net = create_model(name, device="meta")
    weights = ", ".join(tags_with_weights(name)) if is_model(name) else model
    click.echo(f"name         {cfg.name}")
    click.echo(f"parameters   {sum(p.numel() for p in net.parameters()):,}")
    click.echo(f"pretrained   {weights or 'no weights under any tag'}")
    for key, value in cfg.to_dict().items():
        if value is not None and key not in ("architecture", "tag", "num_params"):
            click.echo(f"{key:12} {_value_text(value)}")


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--cache-dir", help="Folder for fetched weights.  [default: the Hub's cache]")
@click.pass_context
def verify(context: click.Context, names: tuple[str, ...], cache_dir: str | None) -> None:
    """Check the sha256 of the weights of each NAME (default: all); missing weights are fetched."""
    from .factory import create_model
    from .models.listing import list_pretrained
    from .models.pretrained_cfg import pretrained_cfg_of

    failed = False
    for name in names or list_pretrained():
        try:
            net = create_model(name, pretrained=True, cache_dir=cache_dir)
        except (ValueError, OSError) as error:
            click.echo(f"sparsenet: {name}: {error}", err=True)
            failed = True
        else:
            cfg = pretrained_cfg_of(net)
            click.echo(f"{name}  {cfg.sha256 or 'no sha256 is on record'}  {cfg.file}")
    context.exit(1 if failed else 0)


@main.command()
@click.argument("source", metavar="SRC", type=click.Path(path_type=Path))
@click.argument("target", metavar="DEST", type=click.Path(path_type=Path))
@click.option("--model", required=True, metavar="NAME", help="The architecture, or NAME.TAG.")
@click.option("--stem-channels", type=int, help="Width of the stem, where it differs from NAME's.")
def convert(source: Path, target: Path, model: str, stem_channels: int | None) -> None:
    """Convert checkpoint SRC of another code base into DEST: a file NAME.safetensors, or a folder.

    Reads checkpoints of the original SparseNet code, of a course project and of pytorchcv, with or without
    wrappers such as DataParallel. `local-dir:` and the Hub take the folder.
    """
    from .integrations.convert import convert_checkpoint

    net = convert_checkpoint(source, target, model, stem_channels)
    count = sum(parameter.numel() for parameter in net.parameters())
    click.echo(f"{target}: {model}, {count:,} parameters, {net.num_classes} classes")


@main.command()
@click.argument("model", metavar="[NAME.TAG|PATH]", required=False)
@click.option("--data", required=True, help="Folder of images, or cifar10 or cifar100 to download.")
@click.option("--checkpoint", help="A weight file of another origin, for the NAME.TAG that it fits.")
@click.option("--tta", is_flag=True, help="Also average the logits with those of the mirror image.")
@click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--precision", type=click.Choice(INFERENCE_PRECISIONS), default="float32", show_default=True)
def validate(model: str | None, data: str, tta: bool, batch_size: int, **options: Any) -> None:
    """Measure a net on the test images of a data set: top-1, top-5, loss, images/s.

    PATH is a run, a saved model, or a weight file by `train`. A folder of class folders is measured whole.
    """
    from .data.sources import data_source

    if model is None and options["checkpoint"] is None:
        raise click.UsageError("name a model, or give a weight file with --checkpoint")
    data_source(data)  # before torch is imported

    from .data.datasets import has_split, load_image_set
    from .data.evaluate import evaluate, with_classes
    from .data.transforms import resolve_data_config

    net = _load_model(model, **options)
    model = model or options["checkpoint"]
    data_config = resolve_data_config(net)
    split = "test" if has_split(data, "test") else "train"
    if split == "train":
        note = f"{data} has neither test/ nor val/: all its images are measured, also those trained on"
        click.echo(f"sparsenet: {printable(note)}", err=True)
    image_set = load_image_set(data, split, data_config)
    class_names = net.pretrained_cfg["label_names"]
    if class_names is not None:
        image_set = with_classes(image_set, class_names)
    elif len(image_set.class_names) != net.num_classes:
        raise click.ClickException(
            f"{image_set.name} has {len(image_set.class_names)} classes, {model} has {net.num_classes}"
        )
    settings = {"mean": data_config["mean"], "std": data_config["std"], "batch_size": batch_size}
    score = evaluate(net, image_set, **settings)
    click.echo(printable(f"{model} on {score.count:,} images of {image_set.name}"))
    click.echo(f"top-1  {score.top1:.2f}%  (error {100 - score.top1:.2f}%)")
    click.echo(f"top-5  {score.top5:.2f}%")
    click.echo(f"loss   {score.loss:.4f}")
    click.echo(f"speed  {score.images_per_second:,.0f} images/s")
    if tta:
        flipped = evaluate(net, image_set, flip=True, **settings)
        click.echo(f"top-1 with flips  {flipped.top1:.2f}%  (error {100 - flipped.top1:.2f}%)")


class TrainCommand(click.Command):
    """A command with an option for every field of ``TrainConfig``; `sparsenet --help` does not read them."""

    def get_params(self, context: click.Context) -> list[click.Parameter]:
        return [*super().get_params(context), *_train_options()]


@cache
def _train_options() -> list[click.Parameter]:
    from .training.config import TrainConfig

    options: list[click.Parameter] = []
    for field in fields(TrainConfig):
        if "help" not in field.metadata:
            continue  # model, data and out, which have no defaults
        name = field.name.replace("_", "-")
        is_flag = isinstance(field.default, bool)
        value_type = str if field.name == "resolution" else type(field.default)
        default = "" if field.default in ("", ()) else f"  [default: {field.default}]"
        # The default is None, so that an option that was not given leaves the recipe's value.
        options.append(
            click.Option(
                [f"--{name}/--no-{name}" if is_flag else f"--{name}", field.name],
                type=None if is_flag else value_type,
                default=None,
                help=field.metadata["help"] + default,
            )
        )
    return options


@main.command(cls=TrainCommand)
@click.argument("model", metavar="MODEL")
@click.option("--data", required=True, help="Folder of images, or cifar10 or cifar100 to download.")
@click.option("--out", type=click.Path(file_okay=False), help="Folder of the run, default runs/MODEL-DATA.")
@click.option("--recipe", help="A set of options, which options given here replace; see `sparsenet recipes`.")
@click.option("--resume", is_flag=True, help="Continue from the last checkpoint in the folder of the run.")
def train(recipe: str | None, resume: bool, **options: Any) -> None:
    """Train MODEL (a name, or name.tag) and write its weights, metrics and checkpoints."""
    from .common.files import local_path
    from .data.sources import data_source
    from .training.config import TrainConfig, parse_resolution
    from .training.recipes import recipe_options

    if options["out"] is None:
        options["out"] = Path("runs", f"{options['model']}-{Path(options['data']).resolve().name}")
    options |= {key: str(local_path(options[key])) for key in ("data", "out")}
    given = {key: value for key, value in options.items() if value is not None}
    defaults = recipe_options(recipe) if recipe else {}
    if "resolution" in given:
        given["resolution"] = parse_resolution(given["resolution"])
        defaults.pop("epochs", None)
    config = TrainConfig.from_options(defaults | given)
    data_source(config.data)  # before torch is imported

    from .training.loop import TrainingStopped
    from .training.loop import train as train_model

    try:
        train_model(config, resume=resume)
    except TrainingStopped as error:
        raise click.ClickException(str(error)) from error


@main.command()
def recipes() -> None:
    """List the recipes that `train --recipe` takes."""
    from .training.recipes import recipe_summaries

    for name, summary in recipe_summaries().items():
        click.echo(f"{name:12} {summary}")


@main.command()
@click.argument("model", metavar="NAME.TAG|PATH")
@click.option("--format", "file_format", required=True, type=click.Choice(("onnx", "pt2")))
@click.option("--out", required=True, type=click.Path(dir_okay=False), help="The file to write.")
@click.option("--size", type=int, help="Side in pixels of the images to compare on, default the model's.")
@click.option("--checkpoint", help="A weight file of another origin, for the NAME.TAG that it fits.")
def export(model: str, file_format: str, out: str, size: int | None, checkpoint: str | None) -> None:
    """Write a net as a file that runs without this library, and compare its logits first.

    PATH is a run, a saved model, or a weight file by `train`.
    """
    from .integrations.export import ExportFailed, export_model

    net = _load_model(model, checkpoint)
    try:
        difference = export_model(net, out, file_format, None if size is None else (size, size))
    except ExportFailed as error:
        raise click.ClickException(str(error)) from error
    click.echo(
        f"{out}: {Path(out).stat().st_size:,} bytes; on four batches no logit differs from those of {model} "
        f"by more than {difference:.1e}"
    )


@main.command()
@click.argument("names", nargs=-1, metavar="RULE-or-MODEL...")
@click.option("--depths", help="Layers of the stage, for a rule.  [default: 16,128,1024]")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.option("--growth", is_flag=True, help="Print instead the growth fitted over N = 16 ... 4096 layers.")
def analyze(names: tuple[str, ...], depths: str | None, as_csv: bool, as_json: bool, growth: bool) -> None:
    """Count links, path lengths, parameters and multiply-adds of rules (sparse, dense, resnet) and models."""
    from .analysis import growth_curves
    from .analysis.table import analyze as analyses
    from .analysis.table import parse_depths

    if growth == bool(names):
        raise click.ClickException("give rules or models to analyse, or --growth alone")
    if growth and depths:
        raise click.ClickException(f"--growth is fitted over N = 16 ... 4096: leave out --depths {depths}")
    if as_csv and as_json:
        raise click.ClickException("give one of --csv and --json, not both")
    if growth:
        rows: list[dict[str, Any]] = [curve.row() for curve in growth_curves()]
    else:
        parsed = parse_depths("16,128,1024" if depths is None else depths)
        rows = [analysis.row() for name in names for analysis in analyses(name, parsed)]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif as_csv:
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        click.echo(text.getvalue(), nl=False)
    else:
        click.echo(_table(rows))


@main.group()
def plot() -> None:
    """Draw a picture; needs the extra "docs"."""


def _out(default: str) -> Any:
    path = click.Path(dir_okay=False, path_type=Path)
    return click.option("--out", type=path, default=default, show_default=True, help="The picture to write.")


@plot.command()
@click.argument("rules", nargs=-1, required=True, metavar="RULE...")
@click.option("--depth", type=click.IntRange(min=1), default=16, show_default=True, help="Layers.")
@click.option("--base", type=click.IntRange(min=2), default=2, show_default=True, help="Offset base.")
@_out("pattern.png")
def pattern(rules: tuple[str, ...], depth: int, base: int, out: Path) -> None:
    """Draw which outputs each layer reads under RULE (sparse, dense, resnet), as arcs and as a matrix."""
    from .aggregation import StageGraph
    from .analysis.plot import plot_pattern
    from .analysis.rules import RULES
    from .common.messages import did_you_mean

    for rule in rules:
        if rule not in RULES:
            raise click.ClickException(
                f"RULE must be one of {RULES}, got {rule!r}{did_you_mean(rule, RULES)}"
            )
    titles = {"resnet": "resnet, unrolled"}
    graphs = {"resnet": "dense"}  # each layer reads the sum of all earlier outputs
    plot_pattern(
        {titles.get(rule, rule): StageGraph(depth, graphs.get(rule, rule), base) for rule in rules}, out
    )
    click.echo(out)


@plot.command()
@_out("growth.png")
def growth(out: Path) -> None:
    """Draw how links, parameters and gradient paths grow with depth; `analyze --growth` prints the fits."""
    from .analysis.plot import plot_growth

    plot_growth(out)
    click.echo(out)


@plot.command()
@_out("accuracy.png")
def accuracy(out: Path) -> None:
    """Draw error against parameters and multiply-adds, of our weights and of published results."""
    from .analysis.plot import plot_accuracy

    plot_accuracy(out)
    click.echo(out)


@plot.command()
@click.argument("metrics", metavar="METRICS.CSV", type=click.Path(dir_okay=False, path_type=Path))
@_out("curves.png")
def curves(metrics: Path, out: Path) -> None:
    """Draw the loss, the learning rate and the error of a training run."""
    from .analysis.metrics import read_scoring
    from .analysis.plot import plot_curves

    plot_curves(metrics, out, read_scoring(metrics.with_name("run.json")))
    click.echo(out)


@plot.command()
@click.argument("models", nargs=-1, required=True, metavar="NAME.TAG-or-PATH...")
@_out("weights.png")
def weights(models: tuple[str, ...], out: Path) -> None:
    """Draw how strongly the layers of trained nets weight each source; PATH is a run or a weight file."""
    from .analysis.plot import plot_weights

    plot_weights(dict(map(_titled_model, models)), out)
    click.echo(out)


def _titled_model(model: str) -> tuple[str, Any]:
    """Return the title in a picture and the net of a name or a path."""
    from .models.pretrained_cfg import pretrained_cfg_of

    net = _load_model(model)
    name = pretrained_cfg_of(net).name
    return (name if model == name else f"{name}\n({model})"), net


def _table(rows: list[dict[str, Any]]) -> str:
    """Return rows with the same keys as columns of text; numbers are aligned right."""
    cells = [[_cell(value) for value in row.values()] for row in rows]
    heads = [key.replace("_", " ") for key in rows[0]]
    widths = [max(map(len, column)) for column in zip(heads, *cells)]
    right = [not isinstance(value, str) for value in rows[0].values()]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right)
        ).rstrip()
        for line in (heads, *cells)
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _load_model(
    model: str | None, checkpoint: str | None = None, device: str = "cpu", precision: str = "float32"
) -> Any:
    """Return MODEL with its weights, or with those of a weight file.

    MODEL is a name, the folder of a run or of a saved model, or a weight file that names its net.
    """
    import torch

    from .common.devices import select_device
    from .factory import create_model
    from .models.listing import best_cifar10_model
    from .pretrained.source import path_as_name

    factory_kwargs = {"device": select_device(device), "dtype": getattr(torch, precision)}
    if model is None and checkpoint is not None:
        model, checkpoint = f"local-dir:{checkpoint}", None
    name = best_cifar10_model() if model is None else path_as_name(model)
    if checkpoint is None:
        return create_model(name, pretrained=True, **factory_kwargs)
    return create_model(name, checkpoint_path=checkpoint, **factory_kwargs)


def _print_classes(image: str, labels: Sequence[tuple[str, float]]) -> None:
    """Print the classes of an image: bars on a terminal, otherwise one line."""
    if not (sys.stdout and sys.stdout.isatty()):
        classes = "  ".join(f"{label} {probability:.1%}" for label, probability in labels)
        click.echo(f"{image}: {classes}")
        return
    click.echo(image)
    width = max(len(label) for label, _ in labels)
    for label, probability in labels:
        bar = "█" * round(probability * BAR_WIDTH)
        click.echo(f"  {label:{width}}  {probability:6.1%}  {bar}")


def _value_text(value: Any) -> str:
    text = printable(", ".join(map(str, value)) if isinstance(value, tuple) else str(value))
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[: MAX_VALUE_CHARS - 3]}..."
