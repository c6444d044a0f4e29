"""Freeze the first layers of a net, including their batch-norm statistics."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from ..common.messages import did_you_mean
from ..common.wrappers import unwrap_model
from ..layers.norms import FrozenBatchNorm2d
from .classifier_net import ClassifierNet
from .feature_net import FeatureNet


def freeze(model: nn.Module, up_to: str) -> None:
    """Freeze the layers from the input up to and including ``up_to``.

    Their parameters no longer require gradients, and their batch norms change their class to
    ``FrozenBatchNorm2d``, whose statistics stay fixed in train mode too. Modules, parameters and the names
    in the state dict stay the same, so an optimizer may be built before or after.

    Examples:
        >>> freeze(model, up_to="stages.1")

    Args:
        model: a net of any family, or its ``FeatureNet``; torch's wrappers around it are looked through.
        up_to: one of ``model.parts()``, for a ``FeatureNet`` one of ``model.net.parts()``.

    Raises:
        TypeError: ``model`` is no such net.
        ValueError: the net has no such part (the message lists the parts), or a frozen part has a norm with
            running statistics other than torch's ``BatchNorm2d`` and ``SyncBatchNorm``.
    """
    frozen = _parts_up_to(model, up_to)
    norms = [module for part in frozen for module in part.modules() if _keeps_statistics(module)]
    for norm in norms:
        if type(norm) not in (nn.BatchNorm2d, nn.SyncBatchNorm):
            raise ValueError(f"freeze needs BatchNorm2d or SyncBatchNorm, up_to={up_to!r} holds {norm}")
    for norm in norms:
        norm.learnt_as = type(norm)  # type: ignore[assignment]
        norm.__class__ = FrozenBatchNorm2d
    for part in frozen:
        part.requires_grad_(False)


def unfreeze(model: nn.Module, up_to: str = "head") -> None:
    """Make the layers from the input up to and including ``up_to`` trainable again, undoing ``freeze``.

    Norms that the net was built with as "frozenbatchnorm2d" stay frozen.

    Raises:
        TypeError: ``model`` is no such net.
        ValueError: the net has no such part.
    """
    for part in _parts_up_to(model, up_to):
        part.requires_grad_(True)
        for module in part.modules():
            if "learnt_as" in vars(module):
                module.__class__ = vars(module).pop("learnt_as")


def _parts_up_to(model: nn.Module, up_to: str) -> list[nn.Module]:
    model = unwrap_model(model)
    net = model.net if isinstance(model, FeatureNet) else model
    if not isinstance(net, ClassifierNet):
        raise TypeError(f"model must be a net of this library's families, got {type(model).__name__}")
    parts = net.parts()
    if up_to not in parts:
        raise ValueError(f"unknown part {up_to!r}{did_you_mean(up_to, parts)}; the parts: {', '.join(parts)}")
    return [net.get_submodule(name) for name in parts[: parts.index(up_to) + 1]]


def _keeps_statistics(module: nn.Module) -> bool:
    return isinstance(module, _NormBase) and module.running_mean is not None
