"""`sparsenet benchmark`: nets and engines side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..common.arguments import positive_integers
from ..common.files import atomic_write
from .messages import say
from .nets import device_option, precision_option
from .paths import FilePath
from .progress import progress


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--against", multiple=True, metavar="LIBRARY:NAME...", help="Nets of other libraries.")
@click.option("--engines", default="eager,compile,optimize", show_default=True, help="With commas between.")
@click.option("--batch", default="1,64", show_default=True, help="Images in a batch, with commas between.")
@click.option("--train", is_flag=True, help="Time training steps in place of forward passes.")
@click.option("--size", type=click.IntRange(min=1), help="Side of the images, default the first net's.")
@click.option("--depths", help="In place of the depth in NAME, with commas between.")
@precision_option("--dtype")
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True)
@device_option
@click.option("--csv", "csv_file", type=FilePath(), help="A file to write too.")
@click.option("--json", "form", flag_value="json", help="Print JSON in place of the table.")
@click.option("--markdown", "form", flag_value="markdown", help="Print a table for a page.")
def benchmark(
    names: tuple[str, ...],
    against: tuple[str, ...],
    engines: str,
    batch: str,
    size: int | None,
    depths: str | None,
    precision: str,
    rounds: int,
    csv_file: Path | None,
    form: str | None,
    **options: Any,
) -> None:
    """Time nets and engines side by side; nothing else should run meanwhile.

    NAME is a net of this library. LIBRARY:NAME is timm:NAME, torchvision:NAME, pytorchcv:NAME or
    original:PATH, a clone of Lyken17/SparseNet. The engines are eager, channels_last, compile (the whole
    net), optimize, checkpointing and cuda_graphs (in training, the latter on an NVIDIA GPU), onnxruntime and
    openvino.
    """
    batches = positive_integers("batch", batch)
    chosen_depths = positive_integers("depths", depths) if depths else []
    if csv_file is not None and not csv_file.parent.is_dir():
        raise FileNotFoundError(f"folder not found: {csv_file.parent}")

    from ..benchmark.engines import parse_engines
    from ..benchmark.nets import parse_nets
    from ..benchmark.run import benchmark as run
    from ..benchmark.table import as_csv, as_json, as_markdown, as_text

    chosen = parse_engines(engines)
    # Of `A --against B:C D:E`, D:E is among the names.
    ours, others = ([name for name in names if (":" in name) == other] for other in (False, True))
    nets = parse_nets([*ours, *against, *others], chosen_depths)
    steps = len(batches) * (len(nets) * len(chosen) + rounds)
    with progress("measuring", steps) as bar:
        result = run(nets, chosen, batches, side=size, dtype=precision, rounds=rounds, on_step=bar, **options)
    write = {"json": as_json, "markdown": as_markdown, None: as_text}[form]
    try:
        say(*write(result).splitlines())
    finally:  # either may fail, and minutes of measuring should not be lost
        if csv_file is not None:
            with atomic_write(csv_file) as (draft,):
                draft.write_text(as_csv(result), encoding="utf-8")
