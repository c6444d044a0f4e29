"""Chains of modules as steps: norms are folded into the convolutions around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..layers.chain import Chain
from ..models.resnet import ProjectedBranch
from .folding import at_least_float32, clamp_of, is_convolution, is_foldable, is_relu, scale_and_shift
from .steps import ClampStep, ConvolutionStep, ScaledReLUStep

Step = Callable[[Any], Tensor]
Folded = Callable[[list[Tensor]], Any]

NUMBERS_AT_ONCE = 4 * 2**20
"""On a CPU, steps run on so few images at a time that their input has at most so many numbers (16 MiB).

Larger tensors leave the cache, and above 32 MiB the C library maps their memory anew each time.
"""


def has_chain(module: nn.Module) -> bool:
    """Return whether ``module`` is a ``Chain``, and not of a subclass with a forward pass of another kind."""
    if not isinstance(module, Chain):
        return False
    of_forward, of_chain = (
        next(kind for kind in type(module).__mro__ if name in vars(kind)) for name in ("forward", "chain")
    )
    return of_forward in (of_chain, ProjectedBranch)


def folded_forward(module: Any, dtype: torch.dtype) -> Folded:
    """Return a function that computes in eval mode what ``module`` does, with folded norms.

    It takes the module's input in parts along channels.

    Args:
        module: a ``Chain``.
        dtype: in which the function computes.
    """
    chain = module.chain()
    if not isinstance(module, ProjectedBranch):
        return _run_steps(fold_chain(chain, dtype))
    activate = _run_steps(fold_chain(chain[:2], dtype))
    project = _run_steps(fold_chain([module.projection], dtype))
    convolve = _run_steps(fold_chain(chain[2:], dtype))

    def project_and_convolve(parts: list[Tensor]) -> tuple[Tensor, Tensor]:
        x = activate(parts)
        return project([x]), convolve([x])

    return project_and_convolve


def _run_steps(steps: Sequence[Step]) -> Folded:
    uses_the_batch = any(isinstance(step, _BatchNorm) and not is_foldable(step) for step in steps)

    def run_at_once(parts: list[Tensor]) -> Tensor:
        for step in steps:
            if isinstance(step, (ClampStep, ScaledReLUStep)):
                parts = [step(parts)]
            else:
                parts = [step(torch.cat(parts, dim=1) if len(parts) > 1 else parts[0])]
        return parts[0]

    def run(parts: list[Tensor]) -> Tensor:
        images = len(parts[0]) if uses_the_batch else _images_at_once(parts)
        if images >= len(parts[0]):
            return run_at_once(parts)
        return torch.cat([run_at_once(list(few)) for few in zip(*(part.split(images) for part in parts))])

    return run


def _images_at_once(parts: list[Tensor]) -> int:
    """Return on how many images of a batch steps run at a time."""
    images = len(parts[0])
    numbers = sum(part.numel() for part in parts)
    if parts[0].device.type != "cpu" or numbers <= NUMBERS_AT_ONCE:
        return images
    return max(1, images * NUMBERS_AT_ONCE // numbers)


def fold_chain(chain: Sequence[nn.Module], dtype: torch.dtype) -> list[Step]:
    """Return steps that compute in eval mode what the modules of ``chain`` do one after another.

    A ``ClampStep`` or ``ScaledReLUStep`` takes a list of tensors, to be joined along channels. Modules that
    cannot be folded are steps themselves.
    """
    steps: list[Step] = []
    rest = list(chain)
    while rest:
        if is_convolution(rest[0]):
            steps.append(_folded_convolution(rest, None, None, dtype))
        elif len(rest) > 1 and is_foldable(rest[0]) and is_relu(rest[1]):
            scale, shift = scale_and_shift(rest[0])
            del rest[:2]
            # float16 is too narrow for the bounds of a clamp.
            if rest and _is_pointwise(rest[0]) and dtype != torch.float16:
                clamp = clamp_of(scale, shift)
                steps += [ClampStep(clamp, dtype), _folded_convolution(rest, scale, clamp.offset, dtype)]
            else:
                steps.append(ScaledReLUStep(scale, shift, dtype))
        else:
            steps.append(rest.pop(0))
    return steps


def _is_pointwise(module: nn.Module) -> bool:
    """Return whether ``module`` is a 1x1 convolution without padding."""
    return is_convolution(module) and module.kernel_size == (1, 1) and module.padding == (0, 0)


def _folded_convolution(
    rest: list[nn.Module], scale: Tensor | None, offset: Tensor | None, dtype: torch.dtype
) -> ConvolutionStep:
    """Take the convolution at the start of ``rest``, and the norm and ReLU after it, into one step.

    Args:
        rest: modules, of which those taken are removed.
        scale: by which the convolution's input is to be multiplied, ``(C,)``, or None.
        offset: which is to be added to its input after that, ``(C,)``, or None.
        dtype: in which the step computes.
    """
    conv = rest.pop(0)
    assert isinstance(conv, nn.Conv2d)
    weight = at_least_float32(conv.weight)
    bias = None if conv.bias is None else at_least_float32(conv.bias)
    if scale is not None and offset is not None:
        constant = weight.flatten(1) @ offset
        bias = constant if bias is None else bias + constant
        weight = weight * scale.view(1, -1, 1, 1)
    relu = False
    if rest and is_foldable(rest[0]):
        scale, shift = scale_and_shift(rest.pop(0))
        weight = weight * scale.view(-1, 1, 1, 1)
        bias = shift if bias is None else bias * scale + shift
        relu = bool(rest) and is_relu(rest[0])
        if relu:
            rest.pop(0)
    return ConvolutionStep(conv, weight, bias, relu, dtype)
