"""`sparsenet verify`: the sha256 of weights."""

from __future__ import annotations

import click

from .messages import error_line, say


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--cache-dir", help="Folder for fetched weights.  [default: the Hub's cache]")
@click.pass_context
def verify(context: click.Context, names: tuple[str, ...], cache_dir: str | None) -> None:
    """Check the sha256 of the weights of each NAME, by default of all.

    NAME may be a path too. Missing weights are fetched.
    """
    from ..factory import create_model
    from ..models.listing import list_pretrained
    from ..models.pretrained_cfg import pretrained_cfg_of
    from ..pretrained.source import path_as_name

    failed = False
    for name in names or list_pretrained():
        try:
            net = create_model(path_as_name(name), pretrained=True, cache_dir=cache_dir)
        except (ValueError, OSError) as error:
            error_line(f"{name}: {error}")
            failed = True
        else:
            cfg = pretrained_cfg_of(net)
            say(f"{name}  {cfg.sha256 or 'no sha256 is on record'}  {cfg.file}")
    context.exit(1 if failed else 0)
