"""Freeze the first layers of a net, batch norm's statistics with them."""

from __future__ import annotations

from typing import cast

from torch import nn

from .models.classifier_net import ClassifierNet
from .norms import FrozenBatchNorm2d
from .suggest import did_you_mean


def freeze(model: ClassifierNet, up_to: str) -> None:
    """Stop the layers from the input up to and including ``up_to`` from learning.

    Their parameters need no gradient any more, and their batch norms become ``FrozenBatchNorm2d``,
    which keep their statistics in train mode too. The state dict keeps its names.

    >>> freeze(model, up_to="stages.1")

    Args:
        model: a net of any family.
        up_to: one of ``model.parts()``.

    Raises:
        ValueError: the net has no such part; the message names them.
    """
    for name in _parts_up_to(model, up_to):
        part = model.get_submodule(name)
        for parameter in part.parameters():
            parameter.requires_grad_(False)
        _replace_norms(model, name, nn.BatchNorm2d)


def unfreeze(model: ClassifierNet, up_to: str = "head") -> None:
    """Let the layers up to ``up_to`` learn again: what ``freeze`` did is undone.

    Raises:
        ValueError: the net has no such part.
    """
    for name in _parts_up_to(model, up_to):
        _replace_norms(model, name, FrozenBatchNorm2d)
        for parameter in model.get_submodule(name).parameters():
            parameter.requires_grad_(True)


def _parts_up_to(model: ClassifierNet, up_to: str) -> list[str]:
    parts = model.parts()
    if up_to not in parts:
        raise ValueError(f"unknown part {up_to!r}{did_you_mean(up_to, parts)}; the parts: {', '.join(parts)}")
    return parts[: parts.index(up_to) + 1]


def _replace_norms(model: nn.Module, part: str, old: type[nn.Module]) -> None:
    """Put the other kind of batch norm, with the same state, in place of each ``old`` one in ``part``."""
    root = model.get_submodule(part)
    found = [(name, module) for name, module in root.named_modules(prefix=part) if type(module) is old]
    for name, module in found:
        known = cast(nn.BatchNorm2d, module)
        new: nn.Module = (FrozenBatchNorm2d if old is nn.BatchNorm2d else nn.BatchNorm2d)(
            known.num_features, eps=known.eps
        )
        new.to(known.weight.device, known.weight.dtype).load_state_dict(module.state_dict())
        new.train(module.training)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, new)
