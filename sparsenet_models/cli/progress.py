"""Progress of verbs that take minutes: a bar on stderr where it is a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def progress(label: str, length: int) -> Iterator[Callable[..., None] | None]:
    """Yield a function that moves the bar by a number of steps, None where there is no bar.

    Its second argument is what is done next, which the bar shows.

    Args:
        label: the text before the bar.
        length: the number of all steps.
    """
    if not (sys.stderr and sys.stderr.isatty()):
        yield None
        return
    with click.progressbar(
        length=length,
        label=label,
        file=sys.stderr,
        item_show_func=lambda item: item,
        update_min_steps=max(1, length // 200),
    ) as bar:
        yield bar.update
