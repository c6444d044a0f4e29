"""Nets with the module names and the arithmetic of other code bases, built from torch.nn alone.

``OriginalNet`` has the module names of the PyTorch code of Zhu et al. (ECCV 2018); with ``norm="batch_norm"``
and ``last_norm="batch_norm_last_layer"``, those of a course project that is based on it.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn


def _every_output(outputs: list) -> list:
    return outputs


def _at_powers_of_two(outputs: list) -> list:
    fetched, offset = [], 1
    while offset <= len(outputs):
        fetched.append(outputs[-offset])
        offset *= 2
    return fetched


class _Stage(nn.Module):
    def __init__(self, blocks: int, channels: int, growth: int, bottleneck: bool, norm: str, fetch) -> None:
        super().__init__()
        self.fetch = fetch
        widths = [channels]
        for block in range(1, blocks + 1):
            channels = sum(fetch(widths))
            layers: list[tuple[str, nn.Module]] = [
                (f"{norm}1", nn.BatchNorm2d(channels)),
                ("relu1", nn.ReLU()),
            ]
            if bottleneck:
                layers += [
                    ("conv1", nn.Conv2d(channels, 4 * growth, 1, bias=False)),
                    (f"{norm}2", nn.BatchNorm2d(4 * growth)),
                    ("relu2", nn.ReLU()),
                    ("conv2", nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)),
                ]
            else:
                layers += [("conv1", nn.Conv2d(channels, growth, 3, padding=1, bias=False))]
            self.add_module(f"block-{block}", nn.Sequential(OrderedDict(layers)))
            widths.append(growth)
        self.out_channels = sum(fetch(widths))

    def forward(self, x: Tensor) -> Tensor:
        outputs = [x]
        for block in self.children():
            outputs.append(block(torch.cat(self.fetch(outputs), 1)))
        return torch.cat(self.fetch(outputs), 1)


class OriginalNet(nn.Module):
    """The net for 32x32 images; ``dense`` for its dense twin, ``stem`` for the stem's channels."""

    def __init__(
        self,
        depth: int,
        growth: tuple[int, int, int],
        bottleneck: bool,
        dense: bool,
        stem: int,
        num_classes: int = 10,
        norm: str = "bn",
        last_norm: str = "norm_last",
    ) -> None:
        super().__init__()
        blocks = (depth - 4) // 3 // (2 if bottleneck else 1)
        fetch = _every_output if dense else _at_powers_of_two
        self.features = nn.Sequential(OrderedDict(conv0=nn.Conv2d(3, stem, 3, padding=1, bias=False)))
        channels = stem
        for index, rate in enumerate(growth):
            stage = _Stage(blocks, channels, rate, bottleneck, norm, fetch)
            self.features.add_module(f"dense-stage-{index}", stage)
            channels = stage.out_channels
            if index < len(growth) - 1:
                kept = math.floor(channels * (0.5 if bottleneck else 1))
                layers = OrderedDict(
                    [
                        (f"{norm}1", nn.BatchNorm2d(channels)),
                        ("relu1", nn.ReLU()),
                        ("conv1", nn.Conv2d(channels, kept, 1, bias=False)),
                        ("avgpool", nn.AvgPool2d(2)),
                    ]
                )
                self.features.add_module(f"transition-{index}", nn.Sequential(layers))
                channels = kept
        self.features.add_module(last_norm, nn.BatchNorm2d(channels))
        self.features.add_module("relu_last", nn.ReLU())
        self.classifier = nn.Sequential(
            OrderedDict(
                avgpool=nn.AvgPool2d(8), flattern=nn.Flatten(), linear=nn.Linear(channels, num_classes)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


def lived_in(net: nn.Module, seed: int = 0) -> nn.Module:
    """Draw all weights and statistics at random, so that a test notices tensors that were swapped."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        if parameter.ndim > 1:
            fan_in = parameter[0].numel()
            parameter.data = torch.randn(parameter.shape, generator=generator) * (2 / fan_in) ** 0.5
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                tensor.data = torch.rand(tensor.shape, generator=generator) + 0.5
            for tensor in (module.bias, module.running_mean):
                tensor.data = torch.randn(tensor.shape, generator=generator) / 4
            module.num_batches_tracked.fill_(1000)
    return net.eval()
