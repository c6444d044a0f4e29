"""Norms and activations by name: what they compute, and where they start."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.foreign_nets import lived_in
from support.nets import build, families, images
from torch import nn

from sparsenet_models.layers.norms import ACT_LAYERS, group_norm


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


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("relu", nn.ReLU),
        ("relu6", nn.ReLU6),
        ("leaky_relu", nn.LeakyReLU),
        ("elu", nn.ELU),
        ("gelu", nn.GELU),
        ("silu", nn.SiLU),
        ("swish", nn.SiLU),
        ("mish", nn.Mish),
        ("hard_swish", nn.Hardswish),
    ],
)
def test_the_name_of_an_activation_is_timms(name, kind):
    assert type(ACT_LAYERS[name]()) is kind
