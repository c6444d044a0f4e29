"""Nets on the meta device, which have names and shapes but no memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def build_on_meta(build: Callable[..., nn.Module], **arguments: Any) -> nn.Module:
    """Return ``build(**arguments)``, built on the meta device."""
    with torch.device("meta"), _NoRandomInitialisation():
        return build(**arguments)


class _NoRandomInitialisation(TorchFunctionMode):
    """Skips random initialisation, which on the meta device imports torch._dynamo and takes seconds."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        return function(*args, **(kwargs or {}))
