"""`sparsenet convert`: a checkpoint of another code base becomes a file or folder of this library."""

from __future__ import annotations

from pathlib import Path

import click

from .messages import say


@click.command()
@click.argument("source", metavar="SRC", type=click.Path(path_type=Path))
@click.argument("target", metavar="DEST", type=click.Path(path_type=Path))
@click.option("--model", required=True, metavar="NAME", help="The architecture, or NAME.TAG.")
@click.option("--stem-channels", type=int, help="Width of the stem, where it differs from NAME's.")
def convert(source: Path, target: Path, model: str, stem_channels: int | None) -> None:
    """Convert checkpoint SRC of another code base into DEST.

    DEST is a file NAME.safetensors, or a folder, which `local-dir:` and the Hub take. SRC is by the original
    SparseNet code, by a course project or by pytorchcv, with or without wrappers such as DataParallel.
    """
    from ..integrations.convert import convert_checkpoint

    net = convert_checkpoint(source, target, model, stem_channels)
    count = sum(parameter.numel() for parameter in net.parameters())
    say(f"{target}: {model}, {count:,} parameters, {net.num_classes} classes")
