"""Norms by name: what they compute, and where they start."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.foreign_nets import lived_in
from support.nets import build, families, images
from torch import nn

from sparsenet_models import freeze, unfreeze
from sparsenet_models.layers.norms import group_norm


@given(st.integers(1, 4096))
def test_groups_are_the_most_up_to_32_that_divide_the_channels(channels):
    expected = max(count for count in range(1, 33) if channels % count == 0)
    assert group_norm(channels).num_groups == expected


@families
def test_frozen_batch_norms_answer_as_batch_norms_in_eval_mode(family):
    net = lived_in(build(family)).eval()
    frozen = build(family, norm_layer="frozenbatchnorm2d").train()
    frozen.load_state_dict(net.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(frozen(images()), net(images()))


@pytest.mark.parametrize(("aggregation", "bias"), [("sparse", 1.0), ("dense", 0.0)])
def test_group_norms_start_where_batch_norms_do(aggregation, bias):
    net = build("sparsenet", norm_layer="groupnorm", aggregation=aggregation)
    norms = [module for module in net.modules() if isinstance(module, nn.GroupNorm)]
    assert norms
    assert all((norm.bias == bias).all() for norm in norms)


@pytest.mark.parametrize(("aggregation", "bias"), [("sparse", 1.0), ("dense", 0.0)])
def test_frozen_norms_start_where_batch_norms_do(aggregation, bias):
    built_frozen = build("sparsenet", norm_layer="frozenbatchnorm2d", aggregation=aggregation)
    thawed = build("sparsenet", aggregation=aggregation)
    freeze(thawed, up_to="stages.1")
    thawed.init_weights()
    unfreeze(thawed)
    for net in (built_frozen, thawed):
        norms = [module for module in net.modules() if hasattr(module, "running_mean")]
        assert norms
        assert all((norm.bias == bias).all() for norm in norms)


def test_frozen_norms_without_weight_and_bias_start_anew():
    net = build("sparsenet", norm_layer=lambda channels: nn.BatchNorm2d(channels, affine=False))
    net.train()(images())
    freeze(net, up_to="stages.1")
    net.init_weights()
    norms = [module for module in net.modules() if hasattr(module, "running_mean")]
    assert norms
    assert all((norm.running_mean == 0).all() and (norm.running_var == 1).all() for norm in norms)
