"""Gradient checkpointing that leaves batch norm's running statistics alone when it computes anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint


def checkpointed(function: Callable[..., Any], modules: nn.Module, *inputs: Any) -> Any:
    """Return ``function(*inputs)``, whose inner activations are computed anew in the backward pass.

    Outputs, gradients and buffers are those of a plain call. (torch's checkpoint alone updates the
    running statistics a second time.)

    Args:
        function: what to compute.
        modules: holds every module that ``function`` calls.
        *inputs: tensors that are kept.
    """
    contexts = partial(_contexts, modules)
    return checkpoint(function, *inputs, use_reentrant=False, context_fn=contexts)


def _contexts(modules: nn.Module) -> tuple[Any, Any]:
    return nullcontext(), _statistics_kept(modules)


@contextmanager
def _statistics_kept(modules: nn.Module) -> Iterator[None]:
    before = []
    for norm in modules.modules():
        if isinstance(norm, _NormBase) and norm.training and norm.num_batches_tracked is not None:
            before.append((norm, norm.momentum, norm.num_batches_tracked, norm.num_batches_tracked.clone()))
            norm.momentum = 0.0  # the running statistics then take nothing of the batch
    try:
        yield
    finally:
        for norm, momentum, counter, count in before:
            norm.momentum = momentum
            counter.copy_(count)
