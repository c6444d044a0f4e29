"""The multiply-adds and activations of any net, counted in a forward pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils.flop_counter import FlopCounterMode


def count_multiply_adds(net: nn.Module, size: tuple[int, int, int]) -> int:
    """Return the multiply-adds of a forward pass of one image, as torch counts them.

    Args:
        net: in the mode to count in, on any device; on the meta device nothing is computed.
        size: channels, height and width of the image.

    Raises:
        RuntimeError: the net reads the numbers of its images, and is on the meta device.
    """
    with FlopCounterMode(display=False) as counter:
        _forward(net, size)
    return counter.get_total_flops() // 2  # a multiply-add is two operations


def count_activations(net: nn.Module, size: tuple[int, int, int]) -> int:
    """Return the numbers that convolutions and linear layers write for one image.

    These are the activations of "Designing Network Design Spaces" (arXiv 2003.13678, section 3.1), which
    timm's benchmark counts too. Arguments and errors are those of ``count_multiply_adds``.
    """
    written: list[int] = []

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        written.append(output.numel())

    counted = [module for module in net.modules() if isinstance(module, (_ConvNd, nn.Linear))]
    handles = [module.register_forward_hook(count) for module in counted]
    try:
        _forward(net, size)
    finally:
        for handle in handles:
            handle.remove()
    return sum(written)


def _forward(net: nn.Module, size: tuple[int, int, int]) -> None:
    like = next(net.parameters())
    with torch.no_grad():  # in inference mode torch 2.4 counts nothing
        net(torch.zeros(1, *size, device=like.device, dtype=like.dtype))
