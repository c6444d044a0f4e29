"""Gradient checkpointing that leaves batch norm's running statistics alone when it computes anew."""

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
"""Whether torch.compile's own checkpoint leaves running statistics alone; in 2.6 and 2.8 it does not."""


def checkpointed(function: Callable[..., Any], modules: nn.Module, *inputs: Any) -> Any:
    """Return ``function(*inputs)``, whose inner activations are computed anew in the backward pass.

    Outputs, gradients and buffers are those of a plain call. (torch's checkpoint alone updates the
    running statistics a second time.) Under torch.compile of torch before 2.10 the graph breaks here.

    Args:
        function: what to compute.
        modules: holds every module that ``function`` calls.
        *inputs: tensors that are kept.
    """
    if torch.compiler.is_compiling() and COMPILED_KEEPS_STATISTICS:
        # A compiled net writes its buffers once, after the forward pass, and takes no contexts but its own.
        return checkpoint(function, *inputs, use_reentrant=False)
    return _checkpointed_in_eager_mode(function, modules, *inputs)


@torch.compiler.disable
def _checkpointed_in_eager_mode(function: Callable[..., Any], modules: nn.Module, *inputs: Any) -> Any:
    return checkpoint(function, *inputs, use_reentrant=False, context_fn=partial(_contexts, modules))


def _contexts(modules: nn.Module) -> tuple[Any, Any]:
    return nullcontext(), _StatisticsKept(modules)


class _StatisticsKept:
    """Leaves running statistics as they are; entered once for each backward pass through the graph."""

    def __init__(self, modules: nn.Module) -> None:
        self.modules = modules
        self.before: list[tuple[_NormBase, float | None, Tensor, Tensor]] = []

    def __enter__(self) -> None:
        for norm in self.modules.modules():
            if isinstance(norm, _NormBase) and norm.training and norm.num_batches_tracked is not None:
                counter = norm.num_batches_tracked
                self.before.append((norm, norm.momentum, counter, counter.clone()))
                norm.momentum = 0.0  # the running statistics then take nothing of the batch

    def __exit__(self, *error: object) -> None:
        for norm, momentum, counter, count in self.before:
            norm.momentum = momentum
            counter.copy_(count)
        self.before.clear()
