"""Activations: their names, one module for each place, and state dicts from when a layer shared one."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from support.nets import build, families, images
from torch import nn

from sparsenet_models import load_checkpoint
from sparsenet_models.layers.activations import ACT_LAYERS

# Families with layers of two or more activations.
several = pytest.mark.parametrize("family", ["sparsenet", "densenet", "resnet", "bottleneck_resnet"])


@families
def test_every_module_runs_once_in_a_forward_pass(family):
    net = build(family).train()
    runs = Counter()
    for name, module in net.named_modules():
        if not list(module.children()):
            module.register_forward_hook(lambda *_, name=name: runs.update([name]))
    net(images())
    assert runs
    assert set(runs.values()) == {1}


def shared_state(net: nn.Module) -> dict[str, torch.Tensor]:
    """Return the state dict as it was with one activation per layer, each with a slope of its own."""
    state = {}
    for name, tensor in net.state_dict().items():
        layer, _, kind = name.partition(".act")
        if kind[:1].isdigit():
            state[f"{layer}.act.weight"] = torch.full((1,), 0.01 * len(state))
        else:
            state[name] = tensor.clone()
    return state


@several
def test_a_state_dict_with_one_activation_per_layer_loads_at_every_place(family, tmp_path):
    net, again = build(family, act_layer=nn.PReLU), build(family, act_layer=nn.PReLU)
    state = shared_state(net)
    assert "stages.0.layers.0.act.weight" in state
    net.load_state_dict(state)
    torch.save(state, tmp_path / "old.pt")
    load_checkpoint(again, tmp_path / "old.pt")
    for loaded in (net, again):
        for name, tensor in loaded.state_dict().items():
            if ".act" in name:
                layer = name.partition(".act")[0]
                assert torch.equal(tensor, state[f"{layer}.act.weight"])


def test_a_state_dict_that_lacks_an_activation_is_refused():
    net = build("sparsenet", act_layer=nn.PReLU)
    state = net.state_dict()
    del state["stages.0.layers.0.act2.weight"]
    with pytest.raises(RuntimeError, match=r"Missing key.*stages\.0\.layers\.0\.act2\.weight"):
        net.load_state_dict(state)


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
