"""Small nets of every family, the rules written out, and assertions that several test files share."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sparsenet_models.models import DenseNet, FractalNet, ResNet, SparseNet
from sparsenet_models.models.classifier_net import ClassifierNet

DATA_CONFIG = {
    "input_size": (3, 64, 64),
    "interpolation": "bilinear",
    "mean": (0.1, 0.2, 0.3),
    "std": (0.4, 0.5, 0.6),
    "crop_pct": 0.9,
    "crop_mode": "center",
}
"""An image configuration that no tag has."""

TINY = {
    "sparsenet": lambda **kw: SparseNet(depth=16, growth_rate=4, bottleneck=True, **kw),
    "sparsenet_sum": lambda **kw: SparseNet(depth=13, growth_rate=4, merge="sum", **kw),
    "sparsenet_imagenet": lambda **kw: SparseNet(
        layers=(2, 3, 2, 2), growth_rate=4, bottleneck=True, stem="imagenet", **kw
    ),
    "densenet": lambda **kw: DenseNet(depth=16, growth_rate=4, bottleneck=True, **kw),
    "resnet": lambda **kw: ResNet(depth=14, widths=(4, 8, 8), **kw),
    "sparse_resnet": lambda **kw: ResNet(depth=20, widths=(4, 8, 8), aggregation="sparse", **kw),
    "bottleneck_resnet": lambda **kw: ResNet(depth=20, widths=(4, 4, 8), bottleneck=True, **kw),
    "fractalnet": lambda **kw: FractalNet(columns=2, widths=(4, 8, 8, 8), **kw),
}
families = pytest.mark.parametrize("family", TINY)
families_slow_but_one = pytest.mark.parametrize(
    "family",
    [family if family == "sparsenet" else pytest.param(family, marks=pytest.mark.slow) for family in TINY],
)


def build(family: str, **options) -> ClassifierNet:
    torch.manual_seed(0)
    return TINY[family](**options)


def images(size: tuple[int, int] = (32, 32), channels: int = 3, count: int = 2) -> torch.Tensor:
    return torch.randn(count, channels, *size, generator=torch.Generator().manual_seed(1))


def expected_sources(rule: str, layer: int, base: int = 2) -> list[int]:
    """Return the outputs that a layer reads, computed without the package's code."""
    if rule == "dense":
        return list(range(layer))
    return [layer - base**exponent for exponent in range(layer) if base**exponent <= layer]


def scrambled(net: nn.Module) -> nn.Module:
    """Fill every tensor with values that no new net has."""
    with torch.no_grad():
        for tensor in net.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
            else:
                tensor.fill_(7)
    return net


def assert_the_head_can_be_taken_off_and_changed(net, batch):
    net.reset_classifier(0)
    assert net(batch).shape == (len(batch), net.num_features)
    net.reset_classifier(7)
    assert net(batch).shape == (len(batch), 7)
    net.reset_classifier(0, global_pool="")
    assert torch.equal(net(batch), net.forward_features(batch))
