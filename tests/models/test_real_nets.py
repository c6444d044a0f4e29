"""One registered net of each family at full width and depth, used as a backbone.

The shapes of every other net are tested on the meta device.
"""

from __future__ import annotations

import copy

import pytest
import torch
from support.nets import assert_the_head_can_be_taken_off_and_changed
from torch import Tensor, nn

from sparsenet_models import create_model, list_models
from sparsenet_models.integrations.export import traced

pytestmark = pytest.mark.slow
one_of_each_family = pytest.mark.parametrize(
    "name",
    [
        *("sparsenet_bc_40_k12", "densenet_bc_40_k12", "resnet_20", "sparse_resnet_20", "fractalnet_c2"),
        "sparsenet121",
    ],
)


def build(name: str, **arguments: int) -> nn.Module:
    torch.manual_seed(0)
    return create_model(name, **arguments)


def images(count: int = 2, size: tuple[int, int] = (64, 64), channels: int = 3) -> Tensor:
    return torch.randn(count, channels, *size, generator=torch.Generator().manual_seed(1))


@one_of_each_family
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_parameter_gets_a_finite_gradient_at_two_sizes(name, channels):
    net = build(name, in_chans=channels).train()
    for size in ((64, 64), (96, 80)):
        net.zero_grad()
        logits = net(images(2, size, channels))
        assert logits.shape == (2, net.num_classes)
        logits.square().mean().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", list_models())
def test_every_net_has_the_shapes_of_its_feature_info(name):
    net = create_model(name, num_classes=7, device="meta").train()
    net.set_grad_checkpointing()
    for size in ((64, 64), (96, 80)):
        batch = torch.empty(2, 3, *size, device="meta")
        logits = net(batch)
        assert logits.shape == (2, 7)
        logits.sum().backward()
        assert all(p.grad is not None and p.grad.shape == p.shape for p in net.parameters())
    with torch.no_grad():
        last, maps = net.forward_intermediates(batch)
        assert last.shape == net.forward_features(batch).shape
        strides = [info["reduction"] for info in net.feature_info]
        assert [tuple(feature.shape[2:]) for feature in maps] == [(96 // r, 80 // r) for r in strides]
        copied = copy.deepcopy(net)
        copied.reset_classifier(0, "")
        assert copied(batch).shape == last.shape
        copied.reset_classifier(0, "avg")
        assert copied(batch).shape == (2, net.num_features)
        assert net(batch).shape == (2, 7)


@pytest.mark.parametrize("name", list_models())
@torch.no_grad()
def test_every_net_takes_grey_images_and_a_fourth_channel(name):
    for channels in (1, 4):
        net = create_model(name, in_chans=channels, device="meta")
        assert net(torch.empty(2, channels, 64, 64, device="meta")).shape == (2, net.num_classes)


@one_of_each_family
def test_the_last_intermediate_is_what_the_head_receives(name):
    net = build(name).eval()
    last, _ = net.forward_intermediates(images())
    assert torch.equal(last, net.forward_features(images()))
    assert torch.equal(net.forward_head(last), net(images()))


@one_of_each_family
def test_the_head_can_be_taken_off_and_changed(name):
    assert_the_head_can_be_taken_off_and_changed(build(name).eval(), images())


@one_of_each_family
def test_feature_maps_equal_the_whole_nets_and_have_the_shapes_of_the_feature_info(name):
    net = build(name).eval()
    torch.manual_seed(0)
    backbone = create_model(name, features_only=True, out_indices=(2, 0)).eval()
    maps = backbone(images())
    expected = net.forward_intermediates(images(), [2, 0], intermediates_only=True)
    assert all(torch.equal(a, b) for a, b in zip(maps, expected))
    shapes = zip(backbone.feature_info.channels(), backbone.feature_info.reduction())
    assert [feature.shape for feature in maps] == [(2, c, 64 // r, 64 // r) for c, r in shapes]


@one_of_each_family
def test_checkpointed_equals_plain_with_the_batch_norm_buffers(name):
    def after_a_step(checkpointing: bool) -> dict[str, Tensor]:
        net = build(name).train()
        net.set_grad_checkpointing(checkpointing)
        net(images()).square().mean().backward()
        torch.optim.SGD(net.parameters(), lr=0.1).step()
        return net.state_dict()

    plain, checkpointed = after_a_step(False), after_a_step(True)
    assert all(torch.equal(checkpointed[key], tensor) for key, tensor in plain.items())


@one_of_each_family
@pytest.mark.skipif(not hasattr(torch.export.Dim, "DYNAMIC"), reason="export needs torch 2.6 or newer")
@torch.no_grad()
def test_a_strictly_traced_program_takes_other_batches_and_sizes(name):
    net = build(name).eval()
    program = traced(net, images()).module()
    for batch in (images(1), images(3, (96, 80))):
        assert torch.allclose(program(batch), net(batch), rtol=1e-4, atol=1e-4)


@one_of_each_family
@torch.no_grad()
def test_a_compiled_net_has_no_graph_break(name):
    net = build(name).eval()
    torch._dynamo.reset()
    compiled = torch.compile(net, backend="eager", fullgraph=True, dynamic=True)
    for batch in (images(2), images(3, (96, 80))):
        assert torch.equal(compiled(batch), net(batch))


@one_of_each_family
def test_a_copy_computes_the_same_and_shares_no_parameters(name):
    net = build(name).eval()
    copied = copy.deepcopy(net)
    assert torch.equal(copied(images()), net(images()))
    assert {id(p) for p in copied.parameters()}.isdisjoint(id(p) for p in net.parameters())
