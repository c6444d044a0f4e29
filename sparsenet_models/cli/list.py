"""`sparsenet list`: the models of the registry."""

from __future__ import annotations

import sys

import click

from .messages import say


@click.command("list")
@click.argument("pattern", default="", metavar="[PATTERN]")
@click.option("--pretrained", is_flag=True, help="Only models with weights, with their size and accuracy.")
def list_(pattern: str, pretrained: bool) -> None:
    """List the models whose name matches PATTERN.

    PATTERN may have * and ?. On a terminal, the tags of weights are shown too.
    """
    from ..common.messages import did_you_mean
    from ..models.listing import list_models, list_pretrained
    from ..models.registry import tags_with_weights

    names = list_models(pattern, pretrained=pretrained)
    if not names:
        choices = list_models(pretrained=pretrained)
        hint = did_you_mean(pattern.strip("*"), choices) or f"; there are {len(choices)} without a pattern"
        raise click.ClickException(f"no model matches {pattern!r}{hint}")
    if not pretrained:
        for name in names:
            tags = [full.partition(".")[2] for full in tags_with_weights(name)]
            marked = sys.stdout.isatty() and tags
            say(f"{name:28} weights: {', '.join(tags)}" if marked else name)
        return
    for row in list_pretrained(pattern, as_table=True):
        millions, macs = row["num_params"] / 1e6, row["macs"] / 1e6
        say(
            f"{row['name']:36} {millions:6.3f}M parameters {macs:7.1f}M multiply-adds  "
            f"{row['data']:8}  top-1 {row['top1']:.2f}%  (error {100 - row['top1']:.2f}%)"
        )
