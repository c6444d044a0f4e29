"""The steps of a folded chain: clamp, scale-shift-ReLU, convolution; all in channels-last layout."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .folding import Clamp

FEW_PIXELS = 2048
"""Up to so many pixels in a batch, starting a kernel of oneDNN takes longer than a plain matrix product."""

FEW_NUMBERS = 20_480
"""Up to so many numbers in a batch, torch itself prefers its own convolution to oneDNN's."""


class ClampStep:
    """Clamp each channel: ``(N, C, H, W)`` in parts along C, to one tensor.

    Args:
        clamp: its bounds.
        dtype: of the tensors.
    """

    def __init__(self, clamp: Clamp, dtype: torch.dtype) -> None:
        self.bounds = _per_channel(clamp.low, dtype), _per_channel(clamp.high, dtype)

    def __call__(self, parts: list[Tensor]) -> Tensor:
        return _over_parts(torch.clamp, parts, *self.bounds)


class ScaledReLUStep:
    """``relu(scale * x + shift)``: ``(N, C, H, W)`` in parts along C, to one tensor.

    Args:
        scale: ``(C,)``.
        shift: ``(C,)``.
        dtype: of the tensors.
    """

    def __init__(self, scale: Tensor, shift: Tensor, dtype: torch.dtype) -> None:
        self.constants = _per_channel(shift, dtype), _per_channel(scale, dtype)

    def __call__(self, parts: list[Tensor]) -> Tensor:
        return _over_parts(_scaled, parts, *self.constants).relu_()


class ConvolutionStep:
    """A convolution with bias and, if asked for, ReLU: ``(N, C, H, W) -> (N, K, H', W')``.

    Args:
        conv: for its stride, padding and dilation.
        weight: ``(K, C, h, w)``.
        bias: ``(K,)`` or None.
        relu: whether ReLU follows.
        dtype: of the tensors; the input is converted.
    """

    def __init__(
        self, conv: nn.Conv2d, weight: Tensor, bias: Tensor | None, relu: bool, dtype: torch.dtype
    ) -> None:
        self.weight = weight.to(dtype, memory_format=torch.channels_last)
        self.bias = None if bias is None else bias.to(dtype)
        self.relu, self.dtype = relu, dtype
        assert not isinstance(conv.padding, str)
        self.geometry = list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups
        self.is_product = conv.kernel_size == (1, 1) and self.geometry == ([0, 0], [1, 1], [1, 1], 1)
        self.uses_onednn = _onednn_takes(weight, dtype)

    @cached_property
    def packed(self) -> Tensor:
        """The weight in oneDNN's layout."""
        return torch._C._nn.mkldnn_reorder_conv2d_weight(self.weight.to_mkldnn(), *self.geometry)

    @cached_property
    def matrix(self) -> Tensor:
        """The weight of a 1x1 convolution, ``(K, C)``."""
        return self.weight.flatten(1)

    def __call__(self, x: Tensor) -> Tensor:
        x = x.to(self.dtype).contiguous(memory_format=torch.channels_last)
        if self.is_product and x.numel() <= FEW_PIXELS * x.shape[1]:
            y = F.linear(x.permute(0, 2, 3, 1), self.matrix, self.bias).permute(0, 3, 1, 2)
        elif self.uses_onednn and x.numel() > FEW_NUMBERS:
            after = "relu" if self.relu else "none"
            return torch.ops.mkldnn._convolution_pointwise(
                x, self.packed, self.bias, *self.geometry, after, [], ""
            )
        else:
            padding, stride, dilation, groups = self.geometry
            y = F.conv2d(x, self.weight, self.bias, stride, padding, dilation, groups)
        return y.relu_() if self.relu else y


def _onednn_takes(weight: Tensor, dtype: torch.dtype) -> bool:
    """Return whether torch has oneDNN's convolution with ReLU for weights of this device and dtype."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype == torch.float32


def _per_channel(constants: Tensor, dtype: torch.dtype) -> Tensor:
    return constants.to(dtype).view(1, -1, 1, 1)


def _scaled(x: Tensor, shift: Tensor, scale: Tensor, out: Tensor | None = None) -> Tensor:
    return torch.addcmul(shift, x, scale, out=out)


def _over_parts(function: Callable[..., Tensor], parts: list[Tensor], *constants: Tensor) -> Tensor:
    """Return ``function`` of the parts joined along channels, without joining them first where that pays."""
    if len(parts) == 1:
        return function(parts[0], *constants)
    first = parts[0]
    if first.numel() // first.shape[1] <= FEW_PIXELS:
        joined = torch.cat(parts, dim=1)
        return function(joined, *constants, out=joined)
    channels = [part.shape[1] for part in parts]
    shape = (first.shape[0], sum(channels), *first.shape[2:])
    joined = torch.empty(shape, dtype=first.dtype, device=first.device, memory_format=torch.channels_last)
    pieces: Any = zip(parts, joined.split(channels, dim=1), *(c.split(channels, dim=1) for c in constants))
    for part, out, *own in pieces:
        function(part, *own, out=out)
    return joined
