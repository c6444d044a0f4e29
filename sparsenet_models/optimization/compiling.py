"""torch.compile: whether it works here, for how many shapes, and whether a step is faster with it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

RECOMPILATIONS_OF_A_SHAPE = 8
"""torch's own limit, for what is compiled anew beside the shapes of the batches."""

TIMED_STEPS = 3


def why_not_compile(device: torch.device) -> str:
    """Return why torch.compile cannot be used on ``device``, or "" if it can."""
    compilers = (os.environ.get("CXX", "c++"), "c++", "g++", "clang++", "cl")
    if not any(shutil.which(compiler) for compiler in compilers):
        return "no C++ compiler found"
    try:
        torch.compile(torch.sin)(torch.zeros(8, device=device))
    # Without Python headers or triton, or with a new Python, each version of torch raises another error.
    except Exception as error:
        return f"torch.compile does not work here ({type(error).__name__})"
    return ""


def allow_shapes(shapes: int) -> None:
    """Let torch.compile compile a net anew for so many ``shapes`` of batches."""
    # Past its limit torch runs without compiling, and without a word. Before 2.6 it had another name.
    limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"
    least = RECOMPILATIONS_OF_A_SHAPE + shapes
    setattr(torch._dynamo.config, limit, max(least, getattr(torch._dynamo.config, limit)))


def time_step(
    model: nn.Module,
    images: Tensor,
    forward: Callable[[Tensor], Any] | None = None,
    too_slow: float = float("inf"),
) -> float:
    """Return the seconds of the fastest of a few forward and backward passes.

    Gradients, buffers and random numbers are afterwards as before; forward hooks run.

    Args:
        model: a net in train mode with parameters that learn.
        images: a batch ``(N, C, H, W)`` on its device.
        forward: calls the net in another way, such as the compiled net; default ``model`` itself.
        too_slow: no more passes after one that takes longer, in seconds.
    """
    forward = model if forward is None else forward
    images = images.detach().requires_grad_(images.requires_grad)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    fastest = float("inf")
    with same_buffers(model), torch.random.fork_rng([images.device] if images.is_cuda else []):
        for _ in range(TIMED_STEPS):
            start = time.perf_counter()
            outputs = [output for output in tree_leaves(forward(images)) if isinstance(output, Tensor)]
            loss = torch.stack([output.float().mean() for output in outputs]).sum()
            torch.autograd.grad(loss, learning, allow_unused=True)
            loss.item()  # waits for the device
            fastest = min(fastest, time.perf_counter() - start)
            if fastest > too_slow:
                break
    return fastest


@contextmanager
def same_buffers(model: nn.Module) -> Iterator[None]:
    """Give the buffers of ``model`` their values back at the end of the block."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with ExitStack() as stack:
        # A forward pass whose backward pass is still to come may have saved them.
        for buffer, _ in buffers:
            stack.enter_context(torch.autograd._unsafe_preserve_version_counter(buffer))
        try:
            yield
        finally:
            for buffer, value in buffers:
                buffer.copy_(value)


class CompiledWherePays:
    """The call of a net: in training compiled for the shapes of batches whose steps are faster so.

    A few steps are timed at the first batch of each shape. Calls in eval mode, without gradients, in tracers,
    or with other arguments than one tensor of images run as they are. It does not work inside
    ``torch.utils.checkpoint``; ``set_grad_checkpointing`` does.

    Args:
        model: the net, whose ``_compiled_call_impl`` (which ``nn.Module.compile`` sets) becomes this.
        most_shapes: batches of further shapes are not compiled.

    Attributes:
        is_faster: by shape, type, device and autocast of the batches, whether a compiled step is faster.
    """

    def __init__(self, model: nn.Module, most_shapes: int) -> None:
        allow_shapes(most_shapes)
        self.model, self.most_shapes = model, most_shapes
        self.compiled = torch.compile(model._call_impl, dynamic=False)
        self.is_faster: dict[Any, bool] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        may_compile = not kwargs and len(args) == 1 and self._learns_from(args[0])
        if may_compile and self._pays(args[0]):
            return self.compiled(*args)
        return self.model._call_impl(*args, **kwargs)

    def _learns_from(self, images: Any) -> bool:
        return (
            isinstance(images, Tensor)
            and not images.is_meta
            and self.model.training
            and torch.is_grad_enabled()
            and any(parameter.requires_grad for parameter in self.model.parameters())
            and not (torch.compiler.is_compiling() or torch.jit.is_tracing())
        )

    def _pays(self, images: Tensor) -> bool:
        device = images.device.type
        autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
        kind = (images.shape, images.dtype, images.device, images.requires_grad, autocast)
        if kind not in self.is_faster and len(self.is_faster) < self.most_shapes:
            plain = time_step(self.model, images, self.model._call_impl)
            self.is_faster[kind] = time_step(self.model, images, self.compiled) < plain
        return self.is_faster.get(kind, False)
