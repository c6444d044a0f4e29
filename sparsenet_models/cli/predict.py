"""`sparsenet predict`: the classes of pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..common.messages import printable
from .messages import error_line, note, say
from .nets import checkpoint_option, device_option, load_model, precision_option

BAR_WIDTH = 30


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE|FOLDER...")
@click.option(
    "--model",
    metavar="NAME.TAG|PATH",
    help="PATH: a run, a saved model, or a weight file written by `train`. "
    "Default: the best SparseNet for CIFAR-10.",
)
@checkpoint_option
@click.option("--top-k", type=int, default=5, show_default=True, help="How many classes to print.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@device_option
@precision_option()
@click.pass_context
def predict(
    context: click.Context,
    images: tuple[str, ...],
    model: str | None,
    top_k: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Classify each IMAGE, and every picture in each FOLDER.

    Folders are read at every depth; hidden files and folders are skipped.
    """
    from ..common.arguments import integer

    integer("top_k", top_k, minimum=1)
    paths, failed = _picture_files(images)
    if not any(Path(path).exists() for path in paths):  # before torch is imported
        for path in paths:
            error_line(f"image not found: {path}")
        if as_json:
            click.echo("[]")
        context.exit(1)

    from ..data.predict import predict as predictions
    from ..models.pretrained_cfg import pretrained_cfg_of
    from ..optimization.inference import fold

    net = load_model(model, **options).eval()
    fold(net)
    cfg = pretrained_cfg_of(net)
    names = f", {cfg.label_names[0]} to {cfg.label_names[-1]}" if cfg.label_names else ""
    note(f"predicting with {cfg.name}: {net.num_classes} classes{names}")
    answers = []
    for prediction in predictions(net, paths, top_k):
        if prediction.error is not None:
            error_line(prediction.error)
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
            _print_classes(prediction.image, prediction.labels)
    if as_json:
        click.echo(json.dumps(answers, indent=2, allow_nan=False))
    context.exit(1 if failed else 0)


def _picture_files(images: Sequence[str]) -> tuple[list[str], bool]:
    """Return the files to read, those of folders too, and whether a folder failed, which is told here."""
    from ..common.files import local_path
    from ..data.class_folders import pictures_in

    paths: list[str] = []
    failed = False
    for image in images:
        try:
            path = local_path(image)
            file = str(path) if image.startswith("~") else image  # told as it was given
            paths += pictures_in(path) if path.is_dir() else [file]
        except (ValueError, OSError) as error:
            error_line(error)
            failed = True
    return paths, failed


def _print_classes(image: str, labels: Sequence[tuple[str, float]]) -> None:
    """Print the classes of an image: bars on a terminal, otherwise one line."""
    if not (sys.stdout and sys.stdout.isatty()):
        classes = "  ".join(f"{label} {probability:.1%}" for label, probability in labels)
        say(f"{image}: {classes}")
        return
    say(image)
    labels = [(printable(label), probability) for label, probability in labels]
    width = max(len(label) for label, _ in labels)
    for label, probability in labels:
        bar = "█" * round(probability * BAR_WIDTH)
        say(f"  {label:{width}}  {probability:6.1%}  {bar}")
