"""Nets inside the wrappers of torch."""

from __future__ import annotations

from torch import nn
from torch.optim.swa_utils import AveragedModel


def unwrap_model(model: nn.Module) -> nn.Module:
    """Return the net inside torch.compile, DataParallel, DistributedDataParallel and AveragedModel."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model
