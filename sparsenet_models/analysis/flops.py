"""The multiply-adds of any net, as torch counts them."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_multiply_adds(net: nn.Module, size: tuple[int, int, int]) -> int:
    """Return the multiply-adds of a forward pass of one image.

    Args:
        net: in the mode to count in, on any device; on the meta device nothing is computed.
        size: channels, height and width of the image.

    Raises:
        RuntimeError: the net reads the numbers of its images, and is on the meta device.
    """
    like = next(net.parameters())
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, *size, device=like.device, dtype=like.dtype))
    return counter.get_total_flops() // 2  # a multiply-add is two operations
