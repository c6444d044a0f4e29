"""The sizes of images at which a training run compiles its net: those whose steps are faster so."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..optimization.compiling import allow_shapes, time_step
from .distributed import Processes, from_first
from .precision import autocast
from .progress import say
from .step import resized

LEAST_SECONDS = 1800.0
"""For a size at which a run computes for less, nothing is compiled: that alone may take three minutes.

A step that is a quarter faster, as on processors with AVX-512 BF16, wins back more than twice as much.
"""


def sides_to_compile(
    model: nn.Module, images: Tensor, parts: Mapping[int, int], precision: str, processes: Processes
) -> tuple[int, ...]:
    """Time training steps without and with torch.compile, say so, and return the sides where it is faster.

    Args:
        model: the net, which stays as it is.
        images: those of a part of a step, ``(B, C, H, W)``, on the net's device.
        parts: of steps that the run computes, by the side in pixels of their images.
        precision: of the forward pass, "float32" or "bfloat16".
        processes: of the run; all take what the first one finds.
    """
    allow_shapes(len(parts))
    compiled = torch.compile(model, dynamic=False)
    chosen = []
    for side, count in sorted(parts.items()):
        batch = resized(images, side)
        with autocast(images.device, precision):
            plain = from_first(time_step(model, batch), processes)
            if count * plain < LEAST_SECONDS:
                continue
            say(f"timing steps at {side} pixels with torch.compile, which may take minutes to begin")
            fast = from_first(time_step(model, batch, compiled), processes)
        say(
            f"torch.compile at {side} pixels: {'yes' if fast < plain else 'no'} "
            f"(a step takes {fast:.2f} s with it, {plain:.2f} s without)"
        )
        if fast < plain:
            chosen.append(side)
    return tuple(chosen)
