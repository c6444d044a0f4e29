"""An optimizer's parameter groups, with learning rates that fall from the head to the stem."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..common.wrappers import unwrap_model
from .classifier_net import ClassifierNet
from .feature_net import FeatureNet


def param_groups_layer_decay(
    model: nn.Module, weight_decay: float = 0.05, layer_decay: float = 0.75
) -> list[dict[str, Any]]:
    """Return an optimizer's groups, each with its ``weight_decay`` and the ``lr_scale`` of its learning rate.

    Weights of convolutions and linear layers decay; norms, biases and the parameters in ``no_weight_decay()``
    do not. The scale falls by the factor ``layer_decay`` from the head to the part before it, and so on to
    the stem; the parts are those of ``model.parts()``. Frozen parameters are in no group.

    timm's function of this name returns the same keys, and its schedulers apply ``lr_scale``. It takes a step
    for each layer of ``group_matcher()``, not for each part. An optimizer of torch ignores ``lr_scale``:

    Examples:
        >>> groups = param_groups_layer_decay(model, layer_decay=0.8)
        >>> optimizer = torch.optim.AdamW([group | {"lr": 1e-3 * group["lr_scale"]} for group in groups])

    Args:
        model: a net of any family, its ``FeatureNet``, or with ``layer_decay=1`` any module; torch's wrappers
            around it are looked through.
        weight_decay: of the weights.
        layer_decay: in (0, 1].

    Raises:
        ValueError: ``layer_decay`` is out of range, or below 1 for a net of another library, whose parts are
            unknown.
    """
    if not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay must be in (0, 1], got {layer_decay!r}")
    model = unwrap_model(model)
    net = model.net if isinstance(model, FeatureNet) else model
    parts = [""]
    if layer_decay < 1:
        if not isinstance(net, ClassifierNet):
            raise ValueError(
                f"layer_decay={layer_decay} needs a net of this library's families, got a "
                f"{type(net).__name__}"
            )
        parts = [part for part in net.parts() if any(True for _ in net.get_submodule(part).parameters())]
    free = net.no_weight_decay() if isinstance(net, ClassifierNet) else set()
    groups = []
    for distance, part in enumerate(reversed(parts)):
        named = list(net.get_submodule(part).named_parameters(prefix=part))
        for kind, decay in ((True, weight_decay), (False, 0.0)):
            members = [
                parameter
                for name, parameter in named
                if parameter.requires_grad and (parameter.ndim > 1 and name not in free) == kind
            ]
            if members:
                groups.append({"params": members, "weight_decay": decay, "lr_scale": layer_decay**distance})
    return groups
