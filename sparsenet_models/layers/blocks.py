"""The building blocks: pre-activation layer, transition, stems, head.

Every block takes and returns tensors of shape ``(N, C, H, W)`` unless it says otherwise. Convolutions
have no bias; batch norm precedes its convolution (He et al. 2016, arXiv 1603.05027).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..common.arguments import integer
from .norms import ActLayer, NormLayer

BOTTLENECK_WIDTH = 4
"""A bottleneck's 1x1 convolution makes this many times the growth rate (arXiv 1608.06993, section 3)."""


class DropPath(nn.Module):
    """Drop the whole tensor of some samples in training, scale up the others (arXiv 1603.09382).

    Args:
        rate: share of the samples dropped.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if self.rate == 0.0 or not self.training:
            return x
        kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.rate
        return x * (kept.to(x.dtype) / (1 - self.rate))

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


class PreActivationLayer(nn.Module):
    """BN-ReLU-conv3x3, or with a bottleneck BN-ReLU-conv1x1-BN-ReLU-conv3x3.

    ``(N, in_channels, H, W) -> (N, growth_rate, H, W)``.

    Args:
        in_channels: channels that the layer receives.
        growth_rate: channels that it makes (k in the paper).
        bottleneck: put a 1x1 convolution to ``4 * growth_rate`` channels before the 3x3 one.
        proj_drop_rate: share of the new features dropped in training.
        drop_path_rate: share of the samples whose new features are dropped, all of them, in training.
        norm_layer: from channels to the normalisation, in place of batch norm.
        act_layer: makes the activation, in place of ReLU.
    """

    def __init__(
        self,
        in_channels: int,
        growth_rate: int,
        bottleneck: bool,
        proj_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        norm_layer: NormLayer = nn.BatchNorm2d,
        act_layer: ActLayer = nn.ReLU,
    ) -> None:
        super().__init__()
        self.bottleneck = bottleneck
        self.norm1 = norm_layer(in_channels)
        self.act = act_layer()
        if bottleneck:
            width = BOTTLENECK_WIDTH * growth_rate
            self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
            self.norm2 = norm_layer(width)
            self.conv2 = nn.Conv2d(width, growth_rate, kernel_size=3, padding=1, bias=False)
        else:
            self.conv1 = nn.Conv2d(in_channels, growth_rate, kernel_size=3, padding=1, bias=False)
        self.drop = nn.Dropout(proj_drop_rate)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(self.act(self.norm1(x)))
        if self.bottleneck:
            x = self.conv2(self.act(self.norm2(x)))
        return self.drop_path(self.drop(x))


class Transition(nn.Module):
    """BN-ReLU-conv1x1-average pool 2: ``(N, in_channels, H, W) -> (N, out_channels, H // 2, W // 2)``."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm_layer: NormLayer = nn.BatchNorm2d,
        act_layer: ActLayer = nn.ReLU,
    ) -> None:
        super().__init__()
        self.norm = norm_layer(in_channels)
        self.act = act_layer()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.conv(self.act(self.norm(x))), kernel_size=2)


class CifarStem(nn.Module):
    """One 3x3 convolution: ``(N, in_chans, H, W) -> (N, out_channels, H, W)``; no norm, no activation."""

    reduction = 1

    def __init__(
        self,
        in_chans: int,
        out_channels: int,
        norm_layer: NormLayer = nn.BatchNorm2d,
        act_layer: ActLayer = nn.ReLU,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, out_channels, kernel_size=3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class ImageNetStem(nn.Module):
    """conv7x7/2-BN-ReLU-max pool 3x3/2: ``(N, in_chans, H, W) -> (N, out_channels, H / 4, W / 4)``."""

    reduction = 4

    def __init__(
        self,
        in_chans: int,
        out_channels: int,
        norm_layer: NormLayer = nn.BatchNorm2d,
        act_layer: ActLayer = nn.ReLU,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, out_channels, 7, stride=2, padding=3, bias=False)
        self.norm = norm_layer(out_channels)
        self.act = act_layer()

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(self.act(self.norm(self.conv(x))), kernel_size=3, stride=2, padding=1)


POOL_TYPES = ("avg", "max", "avgmax", "catavgmax", "")
"""timm's pooling words: mean, maximum, the mean of both, both side by side, none."""


def global_pool_2d(x: Tensor, pool_type: str) -> Tensor:
    """Pool ``(N, C, H, W)`` to ``(N, C)``, ``(N, 2C)`` for "catavgmax"; "" leaves it as it is."""
    if pool_type == "":
        return x
    if pool_type == "avg":
        return x.mean((2, 3))
    if pool_type == "max":
        return x.amax((2, 3))
    average, maximum = x.mean((2, 3)), x.amax((2, 3))
    if pool_type == "avgmax":
        return 0.5 * (average + maximum)
    return torch.cat((average, maximum), dim=1)


class ClassifierHead(nn.Module):
    """Global pool, dropout, linear: ``(N, in_features, H, W) -> (N, num_classes)``.

    With ``num_classes=0`` there is no linear layer: the pooled features come out, or with
    ``global_pool=""`` the feature map itself.

    Args:
        in_features: channels that the head receives.
        num_classes: number of classes, 0 for none.
        global_pool: one of ``POOL_TYPES``.
        drop_rate: share of the pooled features dropped in training.

    Raises:
        TypeError: ``num_classes`` is not an integer.
        ValueError: ``num_classes`` is negative, ``global_pool`` unknown, or it is "" while there
            are classes to tell.
    """

    def __init__(
        self, in_features: int, num_classes: int, global_pool: str = "avg", drop_rate: float = 0.0
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.drop = nn.Dropout(drop_rate)
        self.global_pool = global_pool
        self.reset(num_classes)

    @property
    def hidden_size(self) -> int:
        """Width of the pooled features."""
        return self.in_features * (2 if self.global_pool == "catavgmax" else 1)

    def reset(
        self,
        num_classes: int,
        global_pool: str | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Put a new linear layer in place; arguments as those of the class, None keeps the pooling."""
        classes = integer("num_classes", num_classes, minimum=0)
        pool = self.global_pool if global_pool is None else global_pool
        if pool not in POOL_TYPES:
            raise ValueError(f"global_pool must be one of {POOL_TYPES}, got {pool!r}")
        if pool == "" and classes > 0:
            raise ValueError(f"global_pool='' needs num_classes=0, got num_classes={classes}")
        self.num_classes, self.global_pool = classes, pool
        self.fc: nn.Module = nn.Identity()
        if classes > 0:
            self.fc = nn.Linear(self.hidden_size, classes, device=device, dtype=dtype)
            nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.drop(global_pool_2d(x, self.global_pool))
        return x if pre_logits else self.fc(x)
