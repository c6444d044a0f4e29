"""The blocks of a stage: drop path, the layer of SparseNet and DenseNet, the transition between stages.

Convolutions have no bias; batch norm and ReLU precede their convolution (He et al. 2016, arXiv
1603.05027).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..common.arguments import fraction
from .activations import ActivatedLayer, ActLayer
from .chain import Chain
from .norms import NormLayer
from .widths import BOTTLENECK_WIDTH


class DropPath(nn.Module):
    """Zero whole samples in training, scale up the others (arXiv 1603.09382): ``(N, C, H, W)`` to the same.

    Args:
        rate: share of the samples dropped, in [0, 1).
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if self.rate == 0.0 or not self.training:
            return x
        # Like x rather than of len(x), which torch.fx cannot trace.
        kept = torch.rand_like(x[:, :1, :1, :1], dtype=torch.float32) >= self.rate
        return x * (kept.to(x.dtype) / (1 - self.rate))

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


def set_drop_path(net: nn.Module, drop_path_rate: float) -> None:
    """Set the rates of a net's ``DropPath`` layers: 0 for the first, rising linearly to that of the last.

    Raises:
        TypeError: ``drop_path_rate`` is not a number.
        ValueError: it is not in [0, 1).
    """
    last_rate = fraction("drop_path_rate", drop_path_rate)
    drop_paths = [module for module in net.modules() if isinstance(module, DropPath)]
    for index, drop_path in enumerate(drop_paths):
        drop_path.rate = last_rate * index / max(1, len(drop_paths) - 1)


class PreActivationLayer(ActivatedLayer, Chain):
    """BN-ReLU-conv3x3, or with a bottleneck BN-ReLU-conv1x1-BN-ReLU-conv3x3.

    ``(N, in_channels, H, W) -> (N, growth_rate, H, W)``. Its ``drop_path`` has rate 0 until
    ``set_drop_path`` changes that.

    Args:
        in_channels: channels that the layer receives.
        growth_rate: channels that it makes (k in the paper).
        bottleneck: put a 1x1 convolution to ``4 * growth_rate`` channels before the 3x3 one.
        proj_drop_rate: share of the new features dropped in training, in [0, 1).
        norm_layer: called with the channels, makes a normalisation; default batch norm.
        act_layer: makes an activation; default ReLU.
    """

    def __init__(
        self,
        in_channels: int,
        growth_rate: int,
        bottleneck: bool,
        proj_drop_rate: float = 0.0,
        norm_layer: NormLayer = nn.BatchNorm2d,
        act_layer: ActLayer = nn.ReLU,
    ) -> None:
        super().__init__()
        self.bottleneck = bottleneck
        self.norm1 = norm_layer(in_channels)
        self.act1 = act_layer()
        if bottleneck:
            width = BOTTLENECK_WIDTH * growth_rate
            self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
            self.norm2 = norm_layer(width)
            self.act2 = act_layer()
            self.conv2 = nn.Conv2d(width, growth_rate, kernel_size=3, padding=1, bias=False)
        else:
            self.conv1 = nn.Conv2d(in_channels, growth_rate, kernel_size=3, padding=1, bias=False)
        self.drop = nn.Dropout(fraction("proj_drop_rate", proj_drop_rate))
        self.drop_path = DropPath()

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(self.act1(self.norm1(x)))
        if self.bottleneck:
            x = self.conv2(self.act2(self.norm2(x)))
        return self.drop_path(self.drop(x))

    def chain(self) -> list[nn.Module]:
        first = [self.norm1, self.act1, self.conv1]
        return [*first, self.norm2, self.act2, self.conv2] if self.bottleneck else first


class Transition(nn.Module, Chain):
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
        self.pool = nn.AvgPool2d(kernel_size=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(self.act(self.norm(x))))

    def chain(self) -> list[nn.Module]:
        return [self.norm, self.act, self.conv, self.pool]
