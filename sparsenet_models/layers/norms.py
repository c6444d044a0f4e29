"""Normalisation layers by name, and a frozen batch norm."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..common.arguments import one_of, takes

NormLayer = Callable[[int], nn.Module]

MOST_GROUPS = 32

START_BIAS = 1.0
"""Where the biases of the norms start in a net that leaves out links; see ``start_near_linear``."""


class FrozenBatchNorm2d(nn.Module):
    """Batch norm whose statistics, scale and shift never change: ``(N, C, H, W)`` to the same.

    Its state dict has the names of ``nn.BatchNorm2d``, so each loads the other's weights.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_features, self.eps = num_features, eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def reset_parameters(self) -> None:
        """Begin anew, as the constructor does."""
        # A norm with affine=False that was frozen has neither weight nor bias.
        for ones in (self.weight, self.running_var):
            if ones is not None:
                nn.init.ones_(ones)
        for zeros in (self.bias, self.running_mean, self.num_batches_tracked):
            if zeros is not None:
                nn.init.zeros_(zeros)

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}"


def group_norm(num_features: int) -> nn.GroupNorm:
    """Return a GroupNorm with the largest number of groups, up to 32, that divides the channels.

    GroupNorm is from Wu and He, ECCV 2018 (arXiv 1803.08494), whose default is 32 groups.
    """
    groups = next(count for count in range(MOST_GROUPS, 0, -1) if num_features % count == 0)
    return nn.GroupNorm(groups, num_features)


def start_near_linear(net: nn.Module) -> None:
    """Set the biases of the batch and group norms in ``net`` to ``START_BIAS`` instead of 0.

    One standard deviation above 0, a ReLU passes five sixths of a normal distribution unchanged. With biases
    of 0 each layer amplifies small differences of its input, and gradients grow from layer to layer; close
    to the linear regime they hardly do (Yang et al., ICLR 2019, arXiv 1902.08129).
    """
    norms = (nn.BatchNorm2d, nn.SyncBatchNorm, FrozenBatchNorm2d, nn.GroupNorm)
    for module in net.modules():
        if isinstance(module, norms) and module.bias is not None:
            nn.init.constant_(module.bias, START_BIAS)


NORM_LAYERS: dict[str, NormLayer] = {
    "batchnorm2d": nn.BatchNorm2d,
    "frozenbatchnorm2d": FrozenBatchNorm2d,
    "groupnorm": group_norm,
    "syncbatchnorm": nn.SyncBatchNorm,
}
"""By timm's name, where timm has one."""


def get_norm_layer(norm_layer: str | NormLayer) -> NormLayer:
    """Return the function from channels to a layer that a name stands for; return a function unchanged.

    Raises:
        TypeError: ``norm_layer`` is a layer, or a function that needs more than the channels.
        ValueError: the name is unknown; the message suggests the nearest.
    """
    if callable(norm_layer):
        if isinstance(norm_layer, nn.Module) or not takes(norm_layer, 1):
            raise TypeError(
                "norm_layer must be a function from channels to a layer, such as nn.BatchNorm2d, or one of "
                f"{tuple(NORM_LAYERS)}, got {norm_layer!r}"
            )
        return norm_layer
    return NORM_LAYERS[one_of("norm_layer", norm_layer, NORM_LAYERS)]
