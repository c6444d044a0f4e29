"""`sparsenet export`: a file that runs without this library."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from .images import images_for
from .messages import say
from .nets import checkpoint_option, load_model
from .paths import FilePath
from .progress import progress


@click.command()
@click.argument("model", metavar="NAME.TAG|PATH")
@click.option("--format", "file_format", required=True, type=click.Choice(("onnx", "pt2")))
@click.option("--out", required=True, type=FilePath(), help="The file to write.")
@click.option(
    "--size", type=int, help="Side of the images to compare on, which the metadata name; default the model's."
)
@click.option(
    "--quantize", metavar="DATA", help="Write int8 (onnx only), with ranges taken from such images."
)
@checkpoint_option
def export(
    model: str,
    file_format: str,
    out: Path,
    size: int | None,
    quantize: str | None,
    checkpoint: str | None,
) -> None:
    """Write a net as a file that runs without this library.

    Its logits are compared with those of the net first. PATH is a run, a saved model, or a weight file
    written by `train`.

    With --quantize, ranges are taken from 256 training images of DATA, and the int8 file is compared with
    the net on up to 1,000 test images; where there are none, on other training images.
    """
    from ..data.sources import data_source

    if quantize is not None:
        if file_format != "onnx" or size is not None:
            raise click.UsageError("--quantize is for --format onnx at the model's own size")
        data_source(quantize)  # before torch is imported

    from ..integrations.export import STEPS, ExportFailed
    from ..integrations.quantize import STEPS as INT8_STEPS

    steps = STEPS if quantize is None else INT8_STEPS
    try:
        with progress("export", 1 + len(steps)) as advance:
            net = load_model(model, checkpoint)
            on_step = None if advance is None else partial(advance, 1)
            if quantize is None:
                compared = _export(net, model, out, file_format, size, on_step)
            else:
                compared = _export_int8(net, model, out, quantize, on_step)
    except ExportFailed as error:
        raise click.ClickException(str(error)) from error
    say(f"{out}: {out.stat().st_size:,} bytes; {compared}")


def _export(net: Any, model: str, out: Path, file_format: str, size: int | None, on_step: Any) -> str:
    """Write the file; return how it compares with ``net``, which is called ``model``."""
    from ..integrations.export import export_model

    sides = None if size is None else (size, size)
    difference = export_model(net, out, file_format, sides, on_step)
    return f"on four batches no logit differs from those of {model} by more than {difference:.1e}"


def _export_int8(net: Any, model: str, out: Path, data: str, on_step: Any) -> str:
    """Write the int8 file; return how it compares with ``net``, which is called ``model``."""
    import torch

    from ..data.datasets import split_for
    from ..integrations.quantize import CALIBRATION_IMAGES, export_int8

    images = images_for(net, model, data, "train")
    if len(images) < 2:
        raise click.ClickException(f"--quantize needs at least two images, {data} has {len(images)}")
    random = torch.Generator().manual_seed(0)
    calibration, held_out = torch.randperm(len(images), generator=random).tensor_split(
        [min(CALIBRATION_IMAGES, len(images) // 2)]
    )
    others = images.part(held_out)
    if split_for(data, "test"):
        others = images_for(net, model, data, "test")
        others = others.part(torch.randperm(len(others), generator=random))
    score = export_int8(net, out, images.part(calibration), others, on_step)
    return (
        f"top-1 of {score.images:,} images {score.top1:.1f}%, {score.net_top1:.1f}% by {model}, the same "
        f"class for {score.agreement:.1f}%"
    )
