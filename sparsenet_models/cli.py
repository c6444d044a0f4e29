"""The `sparsenet` command: one thin function per verb. `sparsenet --help` imports no torch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from . import __version__

PRECISIONS = ("float32", "bfloat16")
BAR_WIDTH = 30
LONGEST_VALUE = 90


class OneLineErrors(click.Group):
    """Turns the library's errors about bad input into one line on stderr and exit code 1."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except BrokenPipeError:
            raise  # click ends quietly when the reader of a pipe has gone
        except (ValueError, OSError, ImportError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="sparsenet-models", prog_name="sparsenet")
def main() -> None:
    """Sparsely aggregated convolutional networks: predict, train, validate."""


@main.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--model", metavar="NAME.TAG", help="Default: the best bundled CIFAR-10 weight.")
@click.option("--checkpoint", help="A weight file of your own; one by `train` tells its --model.")
@click.option("--top-k", type=int, default=5, show_default=True, help="How many classes to tell.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--precision", type=click.Choice(PRECISIONS), default="float32", show_default=True)
@click.pass_context
def predict(
    context: click.Context,
    images: tuple[str, ...],
    model: str | None,
    top_k: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Tell what is on each IMAGE."""
    from .predict import predict as run

    net = _model_with_weights(model, **options)
    answered, failed = [], False
    for prediction in run(net, images, top_k):
        if prediction.error is not None:
            click.echo(f"sparsenet: {prediction.error}", err=True)
            failed = True
            continue
        answered.append(
            {
                "image": prediction.image,
                "predictions": [{"label": label, "probability": p} for label, p in prediction.labels],
            }
        )
        if not as_json:
            _show(prediction.image, prediction.labels)
    if as_json:
        click.echo(json.dumps(answered, indent=2))
    context.exit(1 if failed else 0)


@main.command("list")
@click.argument("pattern", default="", metavar="[PATTERN]")
@click.option("--pretrained", is_flag=True, help="Only name.tag with weights, and their top-1.")
def list_(pattern: str, pretrained: bool) -> None:
    """List the models whose name matches PATTERN (with * and ?)."""
    from .registry import get_pretrained_cfg, list_models

    for name in list_models(pattern, pretrained=pretrained):
        cfg = get_pretrained_cfg(name)
        click.echo(f"{name}  top-1 {cfg.top1:.2f}% on {cfg.data}" if pretrained else name)


@main.command()
@click.argument("model", metavar="MODEL")
def info(model: str) -> None:
    """Print what is known of MODEL (a name, or name.tag): size, input, weights and their evidence."""
    from .factory import create_model
    from .registry import get_pretrained_cfg, tags_with_weights

    cfg = get_pretrained_cfg(model)
    net = create_model(model, device="meta")
    click.echo(f"name         {cfg.name}")
    click.echo(f"parameters   {sum(p.numel() for p in net.parameters()):,}")
    click.echo(f"pretrained   {', '.join(tags_with_weights(model)) or 'no weights under any tag'}")
    for key, value in cfg.to_dict().items():
        if value is not None and key not in ("architecture", "tag", "num_params"):
            click.echo(f"{key:12} {_shortened(value)}")


@main.command()
@click.argument("model", metavar="NAME.TAG")
@click.option("--data", required=True, help="Folder of images, or cifar10 or cifar100 to download.")
@click.option("--checkpoint", help="A weight file of your own for NAME.TAG.")
@click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--precision", type=click.Choice(PRECISIONS), default="float32", show_default=True)
def validate(model: str, data: str, batch_size: int, **options: Any) -> None:
    """Measure NAME.TAG on the test images of a set: top-1, top-5, loss, images/s."""
    from .data import load_image_set
    from .evaluate import evaluate, with_classes
    from .transforms import resolve_data_config

    net = _model_with_weights(model, **options)
    config = resolve_data_config(net)
    image_set = load_image_set(data, "test", config)
    names = net.pretrained_cfg["label_names"]
    if names is not None:
        image_set = with_classes(image_set, names)
    elif len(image_set.class_names) != net.num_classes:
        raise click.ClickException(
            f"{image_set.name} has {len(image_set.class_names)} classes, {model} has {net.num_classes}"
        )
    score = evaluate(net, image_set, mean=config["mean"], std=config["std"], batch_size=batch_size)
    click.echo(f"{model} on {score.count:,} images of {image_set.name}")
    click.echo(f"top-1  {score.top1:.2f}%  (error {100 - score.top1:.2f}%)")
    click.echo(f"top-5  {score.top5:.2f}%")
    click.echo(f"loss   {score.loss:.4f}")
    click.echo(f"speed  {score.images_per_second:,.0f} images/s")


@main.command()
@click.argument("model", metavar="MODEL")
@click.option("--data", required=True, help="Folder of images, or cifar10 or cifar100 to download.")
@click.option("--out", required=True, type=click.Path(file_okay=False), help="Folder of the run.")
@click.option("--epochs", type=int, help="Default 40, or what --resolution tells.")
@click.option("--batch-size", type=int, default=128, show_default=True)
@click.option("--lr", type=float, default=0.3, show_default=True, help="Highest learning rate.")
@click.option("--warmup", type=float, default=0.1, show_default=True, help="Share of the steps.")
@click.option("--momentum", type=float, default=0.9, show_default=True)
@click.option("--weight-decay", type=float, default=1e-4, show_default=True)
@click.option("--label-smoothing", type=float, default=0.0, show_default=True)
@click.option("--resolution", default="", help="Epochs at each side in pixels: 16:18,24:7,32:4.")
@click.option("--ema-decay", type=float, default=0.0, show_default=True, help="0: no averaging.")
@click.option("--ema-start", type=float, default=0.5, show_default=True, help="Share of the steps.")
@click.option("--eval-every", type=int, default=1, show_default=True, help="0: at the end only.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--precision", default="auto", show_default=True, help="auto, float32 or bfloat16.")
@click.option("--compile/--no-compile", "compile", default=True, show_default=True)
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in --out.")
def train(resume: bool, resolution: str, epochs: int | None, **options: Any) -> None:
    """Train MODEL (a name, or name.tag) and write its weights, metrics and checkpoints."""
    from .training.config import TrainConfig, parse_resolution
    from .training.loop import TrainingStopped
    from .training.loop import train as run

    sides = parse_resolution(resolution)
    if epochs is None:
        epochs = sum(count for _, count in sides) or 40
    try:
        run(TrainConfig(**options, epochs=epochs, resolution=sides), resume=resume)
    except TrainingStopped as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        raise click.ClickException(f"interrupted; go on with: --resume --out {options['out']}") from None


def _model_with_weights(model: str | None, checkpoint: str | None, device: str, precision: str) -> Any:
    """Return MODEL with the tag's weights, or with those of a file and the classes that it names."""
    import torch

    from .devices import select_device
    from .factory import create_model
    from .predict import best_cifar10_model
    from .weight_file import described_in

    where = {"device": select_device(device), "dtype": getattr(torch, precision)}
    if checkpoint is None:
        return create_model(model or best_cifar10_model(), pretrained=True, **where)
    told, class_names = described_in(Path(checkpoint))
    name = model or told
    if name is None:
        raise click.ClickException(f"{checkpoint} does not say of which net it is: name it with --model")
    overlay = {"num_classes": len(class_names), "label_names": class_names} if class_names else None
    return create_model(name, checkpoint_path=checkpoint, pretrained_cfg_overlay=overlay, **where)


def _show(image: str, labels: tuple[tuple[str, float], ...]) -> None:
    """Print the classes of an image: bars on a terminal, one line elsewhere."""
    if not sys.stdout.isatty():
        told = "  ".join(f"{label} {probability:.1%}" for label, probability in labels)
        click.echo(f"{image}: {told}")
        return
    click.echo(image)
    width = max(len(label) for label, _ in labels)
    for label, probability in labels:
        bar = "█" * round(probability * BAR_WIDTH)
        click.echo(f"  {label:{width}}  {probability:6.1%}  {bar}")


def _shortened(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."
