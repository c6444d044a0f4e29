"""The `sparsenet` command: one thin function per verb. `sparsenet --help` imports no torch."""

from __future__ import annotations

from typing import Any

import click

from . import __version__


class OneLineErrors(click.Group):
    """Turns the library's errors about bad input into one line on stderr and exit code 1."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (ValueError, TypeError, OSError, ImportError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="sparsenet-models", prog_name="sparsenet")
def main() -> None:
    """Sparsely aggregated convolutional networks: predict, train, validate."""


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
