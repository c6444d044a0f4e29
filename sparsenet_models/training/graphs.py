"""Training steps as CUDA graphs, for GPUs that would wait for Python to launch each kernel."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from ..optimization.compiling import same_buffers
from .config import TrainConfig
from .distributed import Processes


class _Whole(nn.Module):
    """A net inside of a module of its own, as torch replaces the forward pass of the module it captures."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)


def captured(
    model: nn.Module, shape: tuple[int, int], own_side: int, precision: str
) -> Callable[[int | None], Callable[[Tensor], Tensor]]:
    """Return a function from the side of images to the net as a CUDA graph for batches of such images.

    A graph is captured when a side is first asked for. It holds the forward and the backward pass, and reads
    the weights as they are at each call.

    Args:
        model: the net on its GPU, in train mode.
        shape: images in a batch and their channels.
        own_side: in pixels, of images of which no other size is asked for.
        precision: of the forward pass, "float32" or "bfloat16".
    """

    @cache
    def at(side: int) -> Callable[[Tensor], Tensor]:
        device = next(model.parameters()).device
        images = torch.randn(*shape, side, side, device=device).to(memory_format=torch.channels_last)
        # A capture takes no weights from autocast's cache: the graph converts them anew in each step.
        in_bfloat16 = torch.autocast(
            "cuda", torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False
        )
        with same_buffers(model), in_bfloat16:
            graph: Any = torch.cuda.make_graphed_callables(_Whole(model), (images,))
        return graph

    return lambda side: at(side or own_side)


def check_graphs(config: TrainConfig, model: nn.Module, processes: Processes, device: torch.device) -> None:
    """Raise unless the steps of a run can be captured.

    Raises:
        ValueError: the run is on another device than one GPU, or its steps differ from each other.
    """
    if device.type != "cuda":
        raise ValueError(f"cuda_graphs needs an NVIDIA GPU, the device is {device.type}: leave it out")
    if processes.count > 1:
        raise ValueError(f"cuda_graphs needs one process, there are {processes.count}: leave it out")
    if config.accumulate > 1:
        raise ValueError(f"cuda_graphs needs accumulate=1, got {config.accumulate}")
    if config.drop_path_rate or getattr(model, "skips_layers", False):
        raise ValueError(
            f"a CUDA graph drops the same layers in each step, got drop_path_rate={config.drop_path_rate}: "
            "leave cuda_graphs out"
        )
