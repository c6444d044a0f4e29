"""Progress of a training run: a bar on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def say(message: str) -> None:
    """Print one line of a run's story at once."""
    print(message, flush=True)


def tracked(steps: Iterable[Item], total: int, batch_size: int, description: str) -> Iterator[Item]:
    """Yield ``steps``; on a terminal, where rich is installed, under a bar with images/s and ETA."""
    if not sys.stdout.isatty():
        yield from steps
        return
    try:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        yield from steps
        return
    columns = (
        TextColumn(description),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%"),
        TextColumn("{task.speed:,.0f} images/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task(description, total=total * batch_size)
        for step in steps:
            yield step
            progress.advance(task, batch_size)
