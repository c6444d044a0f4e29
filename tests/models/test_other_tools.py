"""torch's own tools that take a net apart: torch.fx and torch.package."""

from __future__ import annotations

import io
import re
import warnings

import pytest
import torch
from support.nets import build, families, images
from torch import nn, package

from sparsenet_models import create_model

# A FractalNet's drop path chooses which layers run, which no graph records.
with_drop_path = pytest.mark.parametrize("family", ["sparsenet", "densenet", "resnet", "bottleneck_resnet"])


@with_drop_path
def test_torch_fx_traces_a_training_net_with_drop_path_which_still_draws(family):
    net = build(family, drop_path_rate=0.5).train()
    traced = torch.fx.symbolic_trace(net)
    for count in (2, 5):
        torch.manual_seed(3)
        expected = net(images(count=count))
        torch.manual_seed(3)
        assert torch.equal(traced(images(count=count)), expected)
    assert not torch.equal(traced(images()), traced(images()))


def packaged(net: nn.Module) -> nn.Module:
    """Return ``net`` after a round trip through a torch.package that has this library's code in it."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.package reads its own deprecated TypedStorage
        with package.PackageExporter(buffer) as exporter:
            exporter.intern("sparsenet_models.**")
            exporter.extern("**")
            exporter.save_pickle("net", "net.pkl", net)
        buffer.seek(0)
        return package.PackageImporter(buffer).load_pickle("net", "net.pkl")


@families
def test_a_net_comes_back_from_a_torch_package_with_the_code_that_is_interned_in_it(family):
    net = build(family).eval()
    again = packaged(net)
    assert type(again) is not type(net)
    assert torch.equal(again(images()), net(images()))


def test_a_feature_net_of_create_model_comes_back_from_a_torch_package():
    net = create_model("sparsenet_bc_40_k12", features_only=True).eval()
    again = packaged(net)
    assert all(map(torch.equal, again(images()), net(images())))
    assert again.feature_info.channels() == net.feature_info.channels()


@families
def test_the_trunk_is_the_nets_own_modules_in_a_row_up_to_the_head(family):
    net = build(family).eval()
    trunk = net.trunk()
    assert torch.equal(trunk(images()), net.forward_features(images()))
    assert torch.equal(net.head(trunk(images())), net(images()))
    assert {id(p) for p in trunk.parameters()} == {id(p) for p in net.parameters()} - {
        id(p) for p in net.head.parameters()
    }


@families
def test_torchvisions_getter_takes_the_maps_from_the_trunk(family):
    from torchvision.models._utils import IntermediateLayerGetter

    net = build(family).eval()
    maps = net.forward_intermediates(images(), intermediates_only=True)
    names = {info["module"].replace(".", "_"): index for index, info in enumerate(net.feature_info)}
    got = IntermediateLayerGetter(net.trunk(), names)(images())
    assert all(torch.equal(got[index], expected) for index, expected in enumerate(maps))


@families
def test_every_pooling_is_a_module_and_the_last_child_with_one_is_the_head(family):
    net = build(family).eval()
    has_pool = [
        name
        for name, child in net.named_children()
        if any(re.search(r"Pool[123]d$", type(module).__name__) for module in child.modules())
    ]
    assert has_pool[-1] == "head"
    functions = [
        node.target for node in torch.fx.symbolic_trace(net).graph.nodes if node.op == "call_function"
    ]
    assert not [function for function in functions if "pool" in str(function)]
