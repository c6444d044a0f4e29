"""The number format of training steps, and a measurement of the fastest one on this machine."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from ..optimization.compiling import time_step

SECONDS_TO_WARM_UP = 5.0
"""A first step may take this much longer than the next ones."""


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return the context in which a training step computes in ``precision``."""
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def fastest_precision(model: nn.Module, images: torch.Tensor) -> tuple[str, dict[str, float]]:
    """Time a few training steps without torch.compile in float32 and bfloat16.

    Processors without instructions for bfloat16 emulate it, many times slower than float32. It is not timed
    again after a first step that is so slow.

    Args:
        model: the net, which stays as it is.
        images: a batch ``(N, C, H, W)`` on the net's device.

    Returns:
        The name of the faster one, and the seconds of a step in each.
    """
    seconds = {"float32": time_step(model, images)}
    too_slow = 2 * seconds["float32"] + SECONDS_TO_WARM_UP
    try:
        with autocast(images.device, "bfloat16"):
            seconds["bfloat16"] = time_step(model, images, too_slow=too_slow)
    except RuntimeError:  # this torch has no such autocast for the device
        seconds["bfloat16"] = float("inf")
    return min(seconds, key=lambda precision: seconds[precision]), seconds
