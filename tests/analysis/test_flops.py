"""Activations, counted in nets of this and of another library."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models import densenet121

from sparsenet_models.analysis.flops import count_activations


def test_the_activations_of_densenet121_are_those_that_timm_publishes():
    with torch.device("meta"):
        net = densenet121().eval()
    assert round(count_activations(net, (3, 224, 224)) / 1e6, 2) == 6.90


def test_a_layer_that_is_called_twice_counts_twice_and_keeps_no_hook():
    layer = nn.Conv2d(3, 3, 3, padding=1)
    net = nn.Sequential(layer, nn.ReLU(), layer, nn.Flatten(), nn.Linear(3 * 4 * 4, 5))
    assert count_activations(net, (3, 4, 4)) == 2 * 3 * 4 * 4 + 5
    assert not layer._forward_hooks
