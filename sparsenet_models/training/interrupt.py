"""Ctrl-C and SIGTERM stop a run: at once where no step would be lost, or after its step, and it is saved."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any


class StopRequest:
    """Whether a signal has come (``made``), and whether it raises KeyboardInterrupt (``at_once``)."""

    def __init__(self) -> None:
        self.made = False
        self.at_once = True


@contextmanager
def stop_on_signal(tells: bool) -> Iterator[StopRequest]:
    """Yield the request that the first Ctrl-C or SIGTERM makes; a second one has its usual effect.

    Args:
        tells: print a line where the request has to wait.
    """
    stop = StopRequest()
    before: dict[signal.Signals, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(number: int, frame: FrameType | None) -> None:
        restore()
        stop.made = True
        if stop.at_once:
            raise KeyboardInterrupt
        if tells:
            with suppress(OSError):  # print may be what the signal has interrupted
                os.write(1, b"interrupted: stopping after this step; once more stops now and loses it\n")

    # Python allows signal handlers in the main thread only.
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, handle)
    try:
        yield stop
    finally:
        restore()
