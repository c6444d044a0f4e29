"""The sizes of images at which a training run compiles its net: those whose steps are faster so."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..optimization.compiling import allow_shapes, seconds_per_step, why_not_compile
from .precision import autocast
from .progress import say
from .step import resized

LEAST_SECONDS = 600.0
"""For a size at which a run computes for less, nothing is compiled: that alone takes a minute or two."""


def sides_to_compile(
    model: nn.Module, images: Tensor, parts: Mapping[int, int], precision: str
) -> tuple[int, ...]:
    """Time training steps without and with torch.compile, say so, and return the sides where it is faster.

    Args:
        model: the net, which stays as it is.
        images: those of a part of a step, ``(B, C, H, W)``, on the net's device.
        parts: of steps that the run computes, by the side in pixels of their images.
        precision: of the forward pass, "float32" or "bfloat16".
    """
    reason = why_not_compile(images.device)
    if reason:
        say(f"{reason}: running without torch.compile")
        return ()
    allow_shapes(len(parts))
    compiled = torch.compile(model, dynamic=False)
    chosen = []
    for side, count in sorted(parts.items()):
        batch = resized(images, side)
        with autocast(images.device, precision):
            plain = seconds_per_step(model, batch)
            if count * plain < LEAST_SECONDS:
                continue
            fast = seconds_per_step(model, batch, compiled)
        say(
            f"torch.compile at {side} pixels: {'yes' if fast < plain else 'no'} "
            f"(a step takes {fast:.2f} s with it, {plain:.2f} s without)"
        )
        if fast < plain:
            chosen.append(side)
    return tuple(chosen)
