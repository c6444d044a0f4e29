"""`sparsenet analyze`: what rules and models cost."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import click

from ..common.arguments import positive_integers
from ..common.messages import printable
from .messages import say


@click.command()
@click.argument("names", nargs=-1, metavar="RULE-or-MODEL...")
@click.option("--depths", help="Layers of the stage, for a rule.  [default: 16,128,1024]")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.option("--growth", is_flag=True, help="Print instead the growth fitted over N = 16 ... 4096 layers.")
def analyze(names: tuple[str, ...], depths: str | None, as_csv: bool, as_json: bool, growth: bool) -> None:
    """Count links, parameters and multiply-adds of rules and models.

    A RULE is sparse, dense or resnet. Lengths of paths and the floats of a training step are counted too.
    """
    from ..analysis import growth_curves
    from ..analysis.table import analyze as analyses

    if growth == bool(names):
        raise click.ClickException("give rules or models to analyse, or --growth alone")
    if growth and depths:
        raise click.ClickException(f"--growth is fitted over N = 16 ... 4096: leave out --depths {depths}")
    if as_csv and as_json:
        raise click.ClickException("give one of --csv and --json, not both")
    if growth:
        rows: list[dict[str, Any]] = [curve.row() for curve in growth_curves()]
    else:
        parsed = positive_integers("depths", "16,128,1024" if depths is None else depths)
        rows = [analysis.row() for name in names for analysis in analyses(name, parsed)]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif as_csv:
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        say(*text.getvalue().splitlines())
    else:
        say(*_table(rows))


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """Return the lines of a table of rows with the same keys; numbers are aligned right."""
    cells = [[_cell(value) for value in row.values()] for row in rows]
    heads = [key.replace("_", " ") for key in rows[0]]
    widths = [max(map(len, column)) for column in zip(heads, *cells)]
    right = [not isinstance(value, str) for value in rows[0].values()]
    return [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right)
        ).rstrip()
        for line in (heads, *cells)
    ]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else printable(str(value))
