"""A benchmark as text, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import asdict, fields
from io import StringIO
from itertools import groupby

from .run import Benchmark, Row

COLUMNS: dict[str, Callable[[Row], str]] = {
    "ms/image": lambda row: _digits(row.ms_per_image),
    "min": lambda row: _digits(row.ms_per_image_min),
    "max": lambda row: _digits(row.ms_per_image_max),
    "images/s": lambda row: _digits(row.images_per_second),
    "speedup": lambda row: _formatted(row.speedup, ".2f"),
    "of peak": lambda row: _formatted(row.share_of_peak, ".0%"),
    "first s": lambda row: _formatted(row.first_call_seconds, ".2f"),
    "peak MiB": lambda row: _formatted(row.peak_mib, ",.0f"),
    "base MiB": lambda row: _formatted(row.base_mib, ",.0f"),
    "differs": lambda row: _formatted(row.difference, ".0e"),
}
"""By title, what the tables for readers show; CSV and JSON have every field of a row."""

LEGEND = (
    "speedup: to the first row of the batch size",
    "of peak: operations to those of the matrix product",
    "first: the first call, compilation included",
    "base: before the net was built",
    "differs: from eager in float32, relative to the largest logit; in training, gradients too",
)


def as_text(result: Benchmark) -> str:
    """Return a table for each batch size, 99 columns wide where names and notes allow it."""
    widths = {title: max(len(title), *map(len, map(cell, result.rows))) for title, cell in COLUMNS.items()}
    left = max(len("channels_last"), *(len(row.engine) for row in result.rows))
    titles = "  ".join(title.rjust(width) for title, width in widths.items())
    lines = _heading(result)
    for batch, rows in groupby(result.rows, lambda row: row.batch):
        lines += ["", f"{f'batch {batch}':{left}}  {titles}"]
        for _, of_net in groupby(rows, lambda row: row.net):
            group = list(of_net)
            lines.append(_size(group[0]))
            for row in group:
                cells = "  ".join(cell(row).rjust(widths[title]) for title, cell in COLUMNS.items())
                lines.append(f"{row.engine:{left}}  {row.note or cells}")
    return "\n".join([*lines, "", *LEGEND])


def as_markdown(result: Benchmark) -> str:
    """Return a table with a row for each net, engine and batch size."""
    titles = ("net", "engine", "batch", *COLUMNS)
    lines = [" ".join(_heading(result)), "", f"| {' | '.join(titles)} |", "| --- | --- |" + " ---: |" * 11]
    for row in result.rows:
        cells = [row.note.replace("|", "\\|")] if row.note else [cell(row) for cell in COLUMNS.values()]
        cells += [""] * (len(COLUMNS) - len(cells))
        lines.append(f"| {' | '.join((row.net, row.engine, str(row.batch), *cells))} |")
    return "\n".join(lines)


def as_json(result: Benchmark) -> str:
    """Return an object: the machine, what the rows have in common, and the rows."""
    return json.dumps(asdict(result), indent=2)


def as_csv(result: Benchmark) -> str:
    """Return a line for each row, with what the rows have in common and the machine at its end."""
    common = {key: value for key, value in asdict(result).items() if key not in ("rows", "machine")}
    common |= result.machine
    text = StringIO()
    writer = csv.DictWriter(text, [*(each.name for each in fields(Row)), *common], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**asdict(row), **common} for row in result.rows)
    return text.getvalue()


def _heading(result: Benchmark) -> list[str]:
    on = result.machine
    return [
        f"{on.get('gpu', on['processor'])}, {on['cores']} cores, {on['threads']} threads, "
        f"{on['capability']}, torch {on['torch']};",
        f"{result.mode}, {result.dtype}, {result.side}x{result.side} pixels, median of {result.rounds} "
        f"rounds; matrix product {result.peak_gflops:,.0f} GFLOP/s.",
    ]


def _size(row: Row) -> str:
    if row.parameters is None or row.multiply_adds is None or row.activations is None:
        return row.net
    return (
        f"{row.net}: {row.parameters / 1e6:.2f}M parameters, {row.multiply_adds / 1e6:,.1f}M multiply-adds, "
        f"{row.activations / 1e6:.1f}M activations"
    )


def _formatted(value: float | None, format_: str) -> str:
    return "-" if value is None else format(value, format_)


def _digits(value: float | None) -> str:
    """Return a number with three digits or more."""
    return _formatted(value, ".3g" if value is None or value < 100 else ",.0f")
