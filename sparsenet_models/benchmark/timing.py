"""The seconds of a call, to the end of what it starts on its device."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def timed(call: Callable[[], object], device: torch.device, number: int = 1) -> float:
    """Return the mean seconds of ``number`` calls."""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(number):
        call()
    synchronize(device)
    return (time.perf_counter() - start) / number


def synchronize(device: torch.device) -> None:
    """Wait for what was started on ``device``."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
