"""A net's training passes as CUDA graphs, for GPUs that would wait for Python to launch each kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..common.messages import one_line
from .compiling import same_buffers


class _Whole(nn.Module):
    """A net inside of a module of its own, as torch replaces the forward pass of the module it captures."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)


def captured(model: nn.Module, shape: tuple[int, int, int, int], precision: str) -> Any:
    """Return the net for batches of one shape, its forward and its backward pass each one launch.

    The graphs read the weights as they are at each call, and keep the memory of a step as long as they live.

    Args:
        model: the net on its GPU, in train mode: ``(B, C, H, W) -> (B, classes)``.
        shape: of the batches, ``(B, C, H, W)``.
        precision: of the forward pass, "float32" or "bfloat16".

    Raises:
        ValueError: the net cannot be captured, for instance as a parameter gets no gradient, or as its
            memory is too large.
    """
    images = torch.randn(shape, device=next(model.parameters()).device)
    # Autocast's cache would keep the weights as they are now: without it each step converts them anew.
    in_bfloat16 = torch.autocast("cuda", torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False)
    with same_buffers(model), in_bfloat16:
        try:
            return torch.cuda.make_graphed_callables(
                _Whole(model), (images.to(memory_format=torch.channels_last),)
            )
        except RuntimeError as error:
            size = "x".join(map(str, shape[2:]))
            reason = one_line(str(error), 300)
            raise ValueError(
                f"the net cannot be captured as a CUDA graph for images of {size}: {reason}"
            ) from error
