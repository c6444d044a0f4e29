"""Pools of a net whose last maps are not made smaller: every value is that of 2x2 pools further apart."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class DilatedAvgPool2d(nn.Module):
    """Mean of four values ``dilation`` apart, ``(N, C, H, W)`` to the same; the last row and column repeat.

    At every ``2 * dilation``-th place it is what a 2x2 pool with stride 2 makes of every ``dilation``-th
    value.
    """

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation

    def forward(self, x: Tensor) -> Tensor:
        apart = self.dilation
        x = F.pad(x, (0, apart, 0, apart), mode="replicate")
        rows = x[:, :, apart:] + x[:, :, :-apart]
        return (rows[:, :, :, apart:] + rows[:, :, :, :-apart]) / 4

    def extra_repr(self) -> str:
        return f"dilation={self.dilation}"


def dilated_max_pool(dilation: int) -> nn.Module:
    """Return a pool like ``DilatedAvgPool2d`` of the maximum of four values, ``(N, C, H, W)`` to the same."""
    return nn.Sequential(
        nn.ReplicationPad2d((0, dilation, 0, dilation)), nn.MaxPool2d(2, stride=1, dilation=dilation)
    )
