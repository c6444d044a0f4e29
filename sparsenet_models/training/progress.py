"""Progress of a training run: a bar on a terminal, elsewhere a line for each epoch."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

import torch.distributed as dist

from ..common.messages import printable

Item = TypeVar("Item")


def say(message: str) -> None:
    """Print a line about the run without delay; of several processes the first one prints.

    A run goes on where nobody reads its output any more.
    """
    if not _prints():
        return
    line = printable(message)
    try:
        try:
            print(line, flush=True)
        except UnicodeEncodeError:  # the output's encoding lacks a letter
            print(line.encode("ascii", "backslashreplace").decode(), flush=True)
    except OSError:
        with suppress(OSError, ValueError):  # an output without a descriptor
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _prints() -> bool:
    return not dist.is_available() or not dist.is_initialized() or dist.get_rank() == 0


def tracked(
    steps: Iterable[Item], total: int, done: int, batch_size: int, description: str
) -> Iterator[Item]:
    """Yield ``steps``; on a terminal, where rich is installed, under a bar with images/s and ETA.

    Args:
        steps: the remaining ones.
        total: the number of all steps.
        done: the number of those before ``steps``.
        batch_size: images in a step.
        description: the text before the bar.
    """
    if not (sys.stdout and sys.stdout.isatty() and _prints()):
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
        TextColumn("{task.fields[speed]:,.0f} images/s"),
        TimeRemainingColumn(),
    )
    start = time.perf_counter()
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task(
            description, total=total * batch_size, completed=done * batch_size, speed=0.0
        )
        for number, step in enumerate(steps, 1):
            yield step
            seen = number * batch_size
            speed = seen / (time.perf_counter() - start)
            progress.update(task, advance=batch_size, speed=speed)
