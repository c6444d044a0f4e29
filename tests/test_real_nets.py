"""One registered net of each family, at full width and depth, through all that a backbone is for."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from sparsenet_models import create_model
from sparsenet_models.export import traced

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize(
        "name",
        [
            *("sparsenet_bc_40_k12", "densenet_bc_40_k12", "resnet_20", "sparse_resnet_20", "fractalnet_c2"),
            "sparsenet121",
        ],
    ),
]


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return create_model(name)


def images(count: int = 2, size: tuple[int, int] = (64, 64)) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def test_every_parameter_gets_a_finite_gradient(name):
    net = build(name).train()
    logits = net(images())
    assert logits.shape == (2, net.num_classes)
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_feature_maps_are_those_of_the_whole_net_and_as_large_as_told(name):
    net = build(name).eval()
    torch.manual_seed(0)
    backbone = create_model(name, features_only=True, out_indices=(2, 0)).eval()
    found = backbone(images())
    expected = net.forward_intermediates(images(), [2, 0], intermediates_only=True)
    assert all(torch.equal(a, b) for a, b in zip(found, expected))
    told = zip(backbone.feature_info.channels(), backbone.feature_info.reduction())
    assert [feature.shape for feature in found] == [(2, c, 64 // r, 64 // r) for c, r in told]


def test_checkpointed_equals_plain_with_the_batch_norm_buffers(name):
    def after_a_step(checkpointing: bool) -> dict[str, Tensor]:
        net = build(name).train()
        net.set_grad_checkpointing(checkpointing)
        net(images()).square().mean().backward()
        torch.optim.SGD(net.parameters(), lr=0.1).step()
        return net.state_dict()

    plain, checkpointed = after_a_step(False), after_a_step(True)
    assert all(torch.equal(checkpointed[key], tensor) for key, tensor in plain.items())


@pytest.mark.skipif(not hasattr(torch.export.Dim, "DYNAMIC"), reason="export needs torch 2.6 or newer")
@torch.no_grad()
def test_a_strictly_traced_program_takes_other_batches_and_sizes(name):
    net = build(name).eval()
    program = traced(net, images()).module()
    for batch in (images(1), images(3, (96, 80))):
        assert torch.allclose(program(batch), net(batch), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_compiled_net_has_no_graph_break(name):
    net = build(name).eval()
    torch._dynamo.reset()
    compiled = torch.compile(net, backend="eager", fullgraph=True, dynamic=True)
    for batch in (images(2), images(3, (96, 80))):
        assert torch.equal(compiled(batch), net(batch))


def test_a_copy_is_a_net_of_its_own_that_computes_the_same(name):
    net = build(name).eval()
    copied = copy.deepcopy(net)
    assert torch.equal(copied(images()), net(images()))
    assert {id(p) for p in copied.parameters()}.isdisjoint(id(p) for p in net.parameters())
