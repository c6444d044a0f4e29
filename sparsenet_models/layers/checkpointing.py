"""Gradient checkpointing whose second forward pass leaves batch norm's running statistics unchanged."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.torch_version import TorchVersion
from torch.utils.checkpoint import checkpoint

COMPILED_KEEPS_STATISTICS = TorchVersion(torch.__version__) >= TorchVersion("2.10")
"""Whether torch.compile's own checkpoint updates running statistics once; in 2.6 and 2.8 it does so twice."""


class Checkpointable(nn.Module):
    """A module that can recompute its inner activations in the backward pass instead of keeping them."""

    grad_checkpointing = False

    def run(self, layer: nn.Module, x: Tensor) -> Tensor:
        """Return ``layer(x)``, checkpointed if ``grad_checkpointing`` is on and gradients are asked for.

        ``x`` has any shape that the layer takes.
        """
        return checkpointed(layer, layer, x) if self.recomputes else layer(x)

    @property
    def recomputes(self) -> bool:
        """Whether a pass now would keep less and compute it again: gradients are asked for."""
        return self.grad_checkpointing and torch.is_grad_enabled()


def set_checkpointing(net: nn.Module, enable: bool) -> None:
    """Switch ``grad_checkpointing`` of every part of ``net`` that has it."""
    for module in net.modules():
        if isinstance(module, Checkpointable):
            module.grad_checkpointing = enable


def checkpointed(function: Callable[..., Any], modules: nn.Module, *inputs: Any) -> Any:
    """Return ``function(*inputs)`` and recompute its inner activations in the backward pass.

    Outputs, gradients and buffers equal those of a plain call. (torch's checkpoint by itself updates the
    running statistics twice.) Before torch 2.10, torch.compile breaks the graph here.

    Args:
        function: returns a tensor or a tuple of tensors.
        modules: contains every module that ``function`` calls.
        *inputs: tensors, which are kept until the backward pass.
    """
    if torch.compiler.is_compiling() and COMPILED_KEEPS_STATISTICS:
        # A compiled net writes its buffers once, after the forward pass, and refuses a context_fn.
        return checkpoint(function, *inputs, use_reentrant=False)
    return _checkpointed_in_eager_mode(function, modules, *inputs)


def _checkpointed_in_eager_mode(function: Callable[..., Any], modules: nn.Module, *inputs: Any) -> Any:
    return checkpoint(function, *inputs, use_reentrant=False, context_fn=partial(_contexts, modules))


if not COMPILED_KEEPS_STATISTICS:
    # Only here, as the decorator imports torch._dynamo, which takes as long as torch itself.
    _checkpointed_in_eager_mode = torch.compiler.disable(_checkpointed_in_eager_mode)


def _contexts(modules: nn.Module) -> tuple[Any, Any]:
    return nullcontext(), _FixedStatistics(modules)


class _FixedStatistics:
    """Keeps running statistics unchanged inside the context, which each backward pass enters once."""

    def __init__(self, modules: nn.Module) -> None:
        self.modules = modules
        self.saved: list[tuple[_NormBase, float | None, Tensor, Tensor]] = []

    def __enter__(self) -> None:
        for norm in self.modules.modules():
            if isinstance(norm, _NormBase) and norm.training and norm.num_batches_tracked is not None:
                counter = norm.num_batches_tracked
                self.saved.append((norm, norm.momentum, counter, counter.clone()))
                norm.momentum = 0.0  # the batch then changes no running statistic

    def __exit__(self, *error: object) -> None:
        for norm, momentum, counter, count in self.saved:
            norm.momentum = momentum
            counter.copy_(count)
        self.saved.clear()
