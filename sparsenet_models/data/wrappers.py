"""The net inside the wrappers of torch, known by its pretrained configuration."""

from __future__ import annotations

from typing import Any


def configured_net(model: Any) -> Any:
    """Return the net with a ``pretrained_cfg`` that ``model`` is or wraps, ``model`` where there is none.

    DataParallel, DistributedDataParallel and AveragedModel have it as ``module``; a net by torch.compile has
    the attributes of the net itself.
    """
    net = model
    while net is not None and not hasattr(net, "pretrained_cfg"):
        net = getattr(net, "module", None)
    return model if net is None else net
