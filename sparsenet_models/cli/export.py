"""`sparsenet export`: a file that runs without this library."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from .messages import say
from .nets import checkpoint_option, load_model
from .progress import progress


@click.command()
@click.argument("model", metavar="NAME.TAG|PATH")
@click.option("--format", "file_format", required=True, type=click.Choice(("onnx", "pt2")))
@click.option("--out", required=True, type=click.Path(dir_okay=False), help="The file to write.")
@click.option("--size", type=int, help="Side in pixels of the images to compare on, default the model's.")
@checkpoint_option
def export(model: str, file_format: str, out: str, size: int | None, checkpoint: str | None) -> None:
    """Write a net as a file that runs without this library.

    Its logits are compared with those of the net first. PATH is a run, a saved model, or a weight file by
    `train`.
    """
    from ..integrations.export import STEPS, ExportFailed, export_model

    sides = None if size is None else (size, size)
    try:
        with progress("export", 1 + len(STEPS)) as advance:
            net = load_model(model, checkpoint)
            on_step = None if advance is None else partial(advance, 1)
            difference = export_model(net, out, file_format, sides, on_step)
    except ExportFailed as error:
        raise click.ClickException(str(error)) from error
    say(
        f"{out}: {Path(out).stat().st_size:,} bytes; on four batches no logit differs from those of {model} "
        f"by more than {difference:.1e}"
    )
