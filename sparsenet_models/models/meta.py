"""Nets on the meta device, which have names and shapes but no memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


@contextmanager
def building_on(device: torch.device | str | None) -> Iterator[None]:
    """Build the nets of the block on a device, None for the default one; quickly on the meta device."""
    with ExitStack() as stack:
        if device is not None:
            stack.enter_context(torch.device(device))
            if torch.device(device).type == "meta":
                stack.enter_context(_NoRandomInitialisation())
        yield


class _NoRandomInitialisation(TorchFunctionMode):
    """Skips random initialisation, which on the meta device imports torch._dynamo and takes seconds."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        return function(*args, **(kwargs or {}))
