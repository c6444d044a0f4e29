"""The stems: what a net does with the images before its first stage."""

from __future__ import annotations

from torch import Tensor, nn

from .activations import ActLayer
from .chain import Chain
from .norms import NormLayer


class CifarStem(nn.Module, Chain):
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

    def chain(self) -> list[nn.Module]:
        return [self.conv]


class ImageNetStem(nn.Module, Chain):
    """conv7x7/2-BN-ReLU: ``(N, in_chans, H, W) -> (N, out_channels, H / 2, W / 2)``.

    A max pool 3x3/2 follows it in the net.
    """

    reduction = 2

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
        return self.act(self.norm(self.conv(x)))

    def chain(self) -> list[nn.Module]:
        return [self.conv, self.norm, self.act]


STEMS: dict[str, type[CifarStem | ImageNetStem]] = {"cifar": CifarStem, "imagenet": ImageNetStem}
