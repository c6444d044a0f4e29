"""`sparsenet export`: a file that runs without this library."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from .images import images_for
from .messages import say
from .nets import checkpoint_option, load_model
from .progress import progress


@click.command()
@click.argument("model", metavar="NAME.TAG|PATH")
@click.option("--format", "file_format", required=True, type=click.Choice(("onnx", "pt2")))
@click.option("--out", required=True, type=click.Path(dir_okay=False), help="The file to write.")
@click.option("--size", type=int, help="Side in pixels of the images to compare on, default the model's.")
@click.option(
    "--quantize", metavar="DATA", help="Write int8 (onnx only), with ranges taken from such images."
)
@checkpoint_option
def export(
    model: str,
    file_format: str,
    out: str,
    size: int | None,
    quantize: str | None,
    checkpoint: str | None,
) -> None:
    """Write a net as a file that runs without this library.

    Its logits are compared with those of the net first. PATH is a run, a saved model, or a weight file by
    `train`.

    With --quantize, ranges are taken from 256 training images of DATA, and the int8 file is compared with
    the net on up to 1,000 test images; where there are none, on other training images.
    """
    from ..data.sources import data_source

    if quantize is not None:
        if file_format != "onnx" or size is not None:
            raise click.UsageError("--quantize is for --format onnx at the model's own size")
        data_source(quantize)  # before torch is imported

    from ..integrations.export import STEPS, ExportFailed, export_model

    if quantize is not None:
        _export_int8(model, checkpoint, out, quantize)
        return
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


def _export_int8(model: str, checkpoint: str | None, out: str, data: str) -> None:
    import torch

    from ..data.datasets import has_split
    from ..integrations.export import ExportFailed
    from ..integrations.quantize import CALIBRATION_IMAGES, STEPS, export_int8

    try:
        with progress("export", 1 + len(STEPS)) as advance:
            net = load_model(model, checkpoint)
            on_step = None if advance is None else partial(advance, 1)
            images = images_for(net, model, data, "train")
            random = torch.Generator().manual_seed(0)
            calibration, held_out = torch.randperm(len(images), generator=random).tensor_split(
                [min(CALIBRATION_IMAGES, len(images) // 2)]
            )
            others = images.part(held_out)
            if has_split(data, "test"):
                others = images_for(net, model, data, "test")
                others = others.part(torch.randperm(len(others), generator=random))
            score = export_int8(net, out, images.part(calibration), others, on_step)
    except ExportFailed as error:
        raise click.ClickException(str(error)) from error
    say(
        f"{out}: {Path(out).stat().st_size:,} bytes; top-1 of {score.images:,} images {score.top1:.1f}%, "
        f"{score.net_top1:.1f}% by {model}, the same class for {score.agreement:.1f}%"
    )
