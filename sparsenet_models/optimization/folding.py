"""Norms in eval mode as constants: batch norm, ReLU and the convolutions around them in fewer passes.

In eval mode batch norm is ``scale * x + shift`` for each channel.

- After a convolution it is part of the convolution's weights and bias.
- Before ReLU and a 1x1 convolution, ``relu(scale * x + shift) = scale * clamp(x, low, high) + offset``, so
  that one clamp remains, and scale and offset are part of the convolution.
- Before ReLU and a larger convolution, whose padding is 0 after the ReLU, scale and shift stay.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..layers.norms import FrozenBatchNorm2d


class Clamp(NamedTuple):
    """``relu(scale * x + shift)`` as ``scale * clamp(x, low, high) + offset``, each ``(C,)``."""

    low: Tensor
    high: Tensor
    offset: Tensor


def is_foldable(module: nn.Module) -> bool:
    """Return whether a module is a batch norm that uses its running statistics in eval mode."""
    return (
        _computes_as(module, _BatchNorm, nn.SyncBatchNorm, FrozenBatchNorm2d)
        and module.running_mean is not None
    )


def is_relu(module: nn.Module) -> bool:
    """Return whether a module computes what ``nn.ReLU`` does."""
    return _computes_as(module, nn.ReLU)


def is_convolution(module: nn.Module) -> bool:
    """Return whether a module computes what ``nn.Conv2d`` does, with a border of so many zeros."""
    return (
        isinstance(module, nn.Conv2d)
        and _computes_as(module, nn.Conv2d)
        and type(module)._conv_forward is nn.Conv2d._conv_forward
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


def _computes_as(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Return whether a module has the forward pass of one of ``kinds``: a subclass may have its own."""
    forward = type(module).forward
    return "forward" not in vars(module) and any(forward is kind.forward for kind in kinds)


def scale_and_shift(norm: Any) -> tuple[Tensor, Tensor]:
    """Return the scale and shift ``(C,)`` of a foldable norm in eval mode, in float32 or float64."""
    mean, variance = at_least_float32(norm.running_mean), at_least_float32(norm.running_var)
    scale = torch.rsqrt(variance + norm.eps)
    if norm.weight is not None:
        scale = scale * at_least_float32(norm.weight)
    shift = -mean * scale
    if norm.bias is not None:
        shift = shift + at_least_float32(norm.bias)
    return scale, shift


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return ``tensor`` in float32, in float64 if it is that."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def clamp_of(scale: Tensor, shift: Tensor) -> Clamp:
    """Return the clamp that stands for ``relu(scale * x + shift)``.

    A rising line is cut off below ``-shift / scale``, a falling one above it. Where the scale is so small
    that this is not a finite number, the result is ``relu(shift)`` whatever ``x`` is.
    """
    zero = -shift / scale
    is_flat = ~zero.isfinite()
    zero = zero.where(~is_flat, 0.0)
    low = torch.where((scale < 0) & ~is_flat, -torch.inf, zero)
    high = torch.where((scale > 0) & ~is_flat, torch.inf, zero)
    return Clamp(low, high, torch.where(is_flat, shift.relu(), shift))
