"""Nets without memory: for their names and shapes alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def build_on_meta(build: Callable[..., nn.Module], **arguments: Any) -> nn.Module:
    """Return the net that ``build(**arguments)`` makes, on the meta device."""
    with torch.device("meta"), _NothingDrawn():
        return build(**arguments)


class _NothingDrawn(TorchFunctionMode):
    """Leaves random initialisation out: on the meta device it would import torch._dynamo, for seconds."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        return function(*args, **(kwargs or {}))
