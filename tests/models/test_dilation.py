"""``output_stride``: larger last feature maps with the same weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.nets import TINY, build, families, images
from torch import nn

from sparsenet_models import create_model
from sparsenet_models.layers.pools import DilatedAvgPool2d, dilated_max_pool


def stage_strides(family: str) -> list[int]:
    net = build(family)
    return [info["reduction"] for info in net.feature_info[net.has_stem_map :]]


@settings(deadline=None, max_examples=25)
@given(
    family=st.sampled_from(sorted(TINY)), data=st.data(), height=st.integers(1, 2), width=st.integers(1, 3)
)
def test_a_dilated_map_has_every_value_of_the_original_map(family, data, height, width):
    strides = stage_strides(family)
    output_stride = data.draw(st.sampled_from(strides))
    plain = build(family).eval()
    dilated = build(family, output_stride=output_stride).eval()
    dilated.load_state_dict(plain.state_dict())
    batch = images((2 * height * strides[-1], 2 * width * strides[-1]))
    with torch.no_grad():
        expected = plain.forward_intermediates(batch, intermediates_only=True)
        maps = dilated.forward_intermediates(batch, intermediates_only=True)
    for info, original, made, told in zip(plain.feature_info, expected, maps, dilated.feature_info):
        assert told["reduction"] == min(info["reduction"], output_stride)
        assert made.shape[2] == batch.shape[2] // told["reduction"]
        assert made.shape[3] == batch.shape[3] // told["reduction"]
        step = info["reduction"] // told["reduction"]
        assert torch.allclose(made[:, :, ::step, ::step], original, rtol=1e-3, atol=1e-4)


@given(dilation=st.integers(1, 4), height=st.integers(1, 4), width=st.integers(1, 4))
def test_a_dilated_pool_has_every_value_of_the_pools_of_every_dilationth_value(dilation, height, width):
    x = images((2 * dilation * height, 2 * dilation * width))
    thinned = x[:, :, ::dilation, ::dilation]
    for dilated, plain in (
        (DilatedAvgPool2d(dilation), nn.AvgPool2d(2)),
        (dilated_max_pool(dilation), nn.MaxPool2d(2)),
    ):
        made = dilated(x)
        assert made.shape == x.shape
        assert torch.allclose(made[:, :, :: 2 * dilation, :: 2 * dilation], plain(thinned), atol=1e-6)


@families
def test_a_net_with_an_output_stride_learns_and_its_head_reads_its_map(family):
    net = build(family, output_stride=stage_strides(family)[-2]).train()
    net(images()).square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert net.eval()(images()).shape == (2, net.num_classes)
    assert net.state_dict().keys() == build(family).state_dict().keys()


def test_pretrained_weights_fit_a_feature_net_with_an_output_stride():
    plain = create_model("sparsenet_bc_40_k12", pretrained=True, features_only=True).eval()
    dilated = create_model("sparsenet_bc_40_k12", pretrained=True, features_only=True, output_stride=2).eval()
    assert dilated.feature_info.reduction() == [1, 2, 2]
    with torch.no_grad():
        assert torch.allclose(dilated(images())[2][:, :, ::2, ::2], plain(images())[2], atol=1e-4)


@pytest.mark.parametrize(("family", "stride"), [("resnet", 8), ("resnet", 3), ("sparsenet_imagenet", 2)])
def test_an_output_stride_that_no_stage_has_is_refused_with_those_it_has(family, stride):
    own = ", ".join(map(str, stage_strides(family)))
    with pytest.raises(ValueError, match=rf"output_stride must be .*\[{own}\], got {stride}"):
        build(family, output_stride=stride)
    with pytest.raises(TypeError, match=r"output_stride must be an integer, got 2\.0"):
        build(family, output_stride=2.0)


def test_an_imagenet_net_has_the_stem_map_of_timms_densenet121():
    info = create_model("sparsenet121", features_only=True, device="meta").feature_info
    assert info.reduction() == [2, 4, 8, 16, 32]
    assert info.channels()[0] == 64
    assert info.module_name()[:2] == ["stem", "stages.0"]


def test_a_feature_net_of_the_stem_map_alone_has_the_stem_alone():
    torch.manual_seed(0)
    net = create_model("sparsenet121", features_only=True, out_indices=(0,)).eval()
    (stem_map,) = net(images((64, 64)))
    assert stem_map.shape == (2, 64, 32, 32)
    assert torch.equal(stem_map, net.net.stem(images((64, 64))))
    assert {name.partition(".")[0] for name, _ in net.net.named_parameters()} == {"stem"}
