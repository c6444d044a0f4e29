"""``optimize``: one call that makes a net fast on the machine at hand."""

from __future__ import annotations

import warnings
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..layers.chain import Chain
from ..layers.norms import FrozenBatchNorm2d
from ..layers.stage import Stage
from ..models.classifier_net import ClassifierNet
from .compiling import CompiledWherePays, why_not_compile
from .folding import is_convolution
from .inference import can_be_folded, fold, unfold

Model = TypeVar("Model", bound=nn.Module)

MOST_SHAPES = 64
"""For so many shapes of batches a net in train mode may be compiled; further ones run without."""

TAKE_ANY_TYPE = (_BatchNorm, FrozenBatchNorm2d, nn.GroupNorm)
"""Layers that take tensors of another type than their weights."""

INFERENCE_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def optimize(model: Model, *, dtype: torch.dtype | None = None, compile: bool = True) -> Model:
    """Make a net fast on this machine, in place, for the mode that it is in; return it.

    Its modules, parameters, buffers, state dict and methods stay as they are. Another call in the same mode
    replaces what the one before did; one in train mode also takes back that of eval mode.

    **Eval mode**: batch norms are folded into the convolutions around them, layers that read several outputs
    join them in the pass that normalises them, and tensors are in channels-last layout. Nothing is compiled.
    Logits differ from the net's own by rounding, in float32 by about 1e-6 of the largest. When weights or
    statistics change, they are folded anew (changes in place through ``tensor.data`` are not seen). In train
    mode, under autocast, in torch.compile, torch.export and tracers, and where gradients are asked for (with
    a warning), the net runs as before, and so do pruned layers and those with a forward pass of their own.
    Forward hooks on parts of layers do not run. The copies that ``nn.DataParallel`` makes of a net cannot be
    optimized.

    **Train mode**: weights are in channels-last layout, and with ``compile`` the net is compiled by
    torch.compile for the shapes of batches whose steps are faster with it, at most 64 of them. A few steps of
    both kinds are timed, so the first one of each shape takes a minute or more.

    Examples:
        >>> model = optimize(create_model("sparsenet_bc_100_k24", pretrained=True).eval())
        >>> with torch.inference_mode():
        ...     logits = model(images)

    Args:
        model: a net of this library, or a module that contains one.
        dtype: in eval mode, the floating-point type in which the layers compute; default that of the
            parameters, which do not change. Feature maps then come in ``dtype``, logits in that of the
            parameters; where that changes later, call ``optimize`` again. bfloat16 is fast where the
            processor has instructions for it, and slow elsewhere.
        compile: in train mode, use torch.compile where it pays; where it does not work, a warning says so.

    Raises:
        TypeError: ``dtype`` is not a torch.dtype.
        ValueError: ``dtype`` is none of float32, bfloat16 and float16, is given in train mode, or ``model``
            has a layer of another kind with weights, such as PReLU, which would stay in their type; or in
            eval mode ``model`` has no layers of this library.
    """
    if dtype is not None and not isinstance(dtype, torch.dtype):
        raise TypeError(f"dtype must be a torch.dtype such as torch.bfloat16, got {dtype!r}")
    if dtype is not None and dtype not in INFERENCE_DTYPES:
        raise ValueError(f"dtype must be one of {INFERENCE_DTYPES}, got {dtype}")
    if dtype is not None and model.training:
        raise ValueError(f"dtype={dtype} is for eval mode; in train mode call the net inside torch.autocast")
    if dtype is not None:
        _check_layers(model, dtype)
    unfold(model)
    if not model.training:
        if not fold(model, dtype):
            raise ValueError(
                "in eval mode optimize takes a net of this library, or a module that contains one, got a "
                f"{type(model).__name__}"
            )
        return model
    if isinstance(model._compiled_call_impl, CompiledWherePays):
        model._compiled_call_impl = None
    model.to(memory_format=torch.channels_last)
    if compile:
        reason = why_not_compile(next(model.parameters()).device)
        if reason:
            warnings.warn(f"{reason}: the net trains without torch.compile", stacklevel=2)
        else:
            model._compiled_call_impl = CompiledWherePays(model, MOST_SHAPES)
    return model


def _check_layers(model: nn.Module, dtype: torch.dtype) -> None:
    """Raise a ValueError if a layer would get tensors of ``dtype`` that do not go with its weights."""
    nets = [module for module in model.modules() if isinstance(module, ClassifierNet)]
    for net in nets:
        for layer in _layers(net):
            is_hooked = any(module._forward_pre_hooks for module in layer.modules())
            if is_hooked or not can_be_folded(layer):
                raise ValueError(
                    f"dtype={dtype} does not go with a {type(layer).__name__} that cannot be folded, as it "
                    f"{'has hooks' if is_hooked else 'computes in its own way'}: convert the whole net with "
                    "net.to(dtype)"
                )
    in_heads = {module for net in nets for module in net.head.modules()}
    for name, layer in (named for net in nets for named in net.named_modules()):
        of_other_type = any(weight.dtype != dtype for weight in layer.parameters(recurse=False))
        is_converted = is_convolution(layer) or layer in in_heads
        if of_other_type and not is_converted and not isinstance(layer, TAKE_ANY_TYPE):
            raise ValueError(
                f"dtype={dtype} does not go with the {type(layer).__name__} layers of the net, such as "
                f"{name!r}, whose weights keep their type: convert the whole net with net.to(dtype)"
            )


def _layers(net: nn.Module) -> list[nn.Module]:
    """Return the chains and the layers of stages, which may be chains too."""
    chains = [module for module in net.modules() if isinstance(module, Chain)]
    stages = [module for module in net.modules() if isinstance(module, Stage)]
    return [*chains, *(layer for stage in stages for layer in stage.layers)]
