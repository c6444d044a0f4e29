"""Parameter groups of an optimizer: weight decay, and learning rates that fall towards the stem."""

from __future__ import annotations

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from sparsenet_models import SparseNet, create_model, freeze, param_groups_layer_decay
from sparsenet_models.common.wrappers import unwrap_model

MODEL = "sparsenet_bc_40_k12"


def test_early_layers_learn_at_a_lower_rate():
    model = create_model(MODEL)
    groups = param_groups_layer_decay(model, 1e-4, 0.5)
    scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    assert len(scale) == len(list(model.parameters()))
    parts = [part for part in model.parts() if part != "act"]  # a ReLU has no parameters
    for name, parameter in model.named_parameters():
        part = next(part for part in parts if name.startswith(f"{part}."))
        assert scale[id(parameter)] == 0.5 ** (len(parts) - 1 - parts.index(part))
    assert {group["weight_decay"] for group in groups} == {0.0, 1e-4}


def test_frozen_parameters_are_in_no_group_and_what_the_net_names_does_not_decay():
    class OwnNet(SparseNet):
        def no_weight_decay(self) -> set[str]:
            return {"stages.2.layers.0.conv1.weight"}

    model = OwnNet(depth=10, growth_rate=4)
    freeze(model, up_to="stages.0")
    for layer_decay in (1.0, 0.5):
        groups = param_groups_layer_decay(model, 1e-4, layer_decay)
        decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
        learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
        assert decay.keys() == {id(p) for p in learning.values()}
        free = {name for name, p in learning.items() if decay[id(p)] == 0}
        assert free == {name for name, p in learning.items() if p.ndim == 1} | model.no_weight_decay()


def test_a_layer_decay_needs_a_net_whose_parts_are_known():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    assert [len(group["params"]) for group in param_groups_layer_decay(net, 1e-4, 1.0)] == [1, 3]
    with pytest.raises(ValueError, match=r"layer_decay=0\.5 needs a net of this library's families"):
        param_groups_layer_decay(net, 1e-4, 0.5)


def test_a_feature_net_has_the_groups_of_its_parts():
    whole = create_model(MODEL)
    features = create_model(MODEL, features_only=True)
    named = {id(p): name for net in (whole, features.net) for name, p in net.named_parameters()}
    expected, groups = (
        {named[id(p)]: (group["lr_scale"], group["weight_decay"]) for group in found for p in group["params"]}
        for found in (param_groups_layer_decay(net, 0.1, 0.5) for net in (whole, features))
    )
    assert groups.keys() == {name for name, _ in features.net.named_parameters()}
    last = max(scale for scale, _ in groups.values())
    assert last == 1
    ratios = {groups[name][0] / expected[name][0] for name in groups}
    assert len(ratios) == 1
    assert all(groups[name][1] == expected[name][1] for name in groups)


@pytest.mark.parametrize("wrapper", [torch.nn.DataParallel, AveragedModel, torch.compile])
def test_a_wrapped_net_has_the_groups_of_the_net_inside(wrapper):
    wrapped = wrapper(create_model(MODEL))
    groups = param_groups_layer_decay(wrapped)
    assert groups == param_groups_layer_decay(unwrap_model(wrapped))
    assert sum(len(group["params"]) for group in groups) == len(list(wrapped.parameters()))


@pytest.mark.parametrize("layer_decay", [0.0, 1.5, float("nan")])
def test_a_layer_decay_out_of_range_is_refused(layer_decay):
    with pytest.raises(ValueError, match=r"layer_decay must be in \(0, 1\], got"):
        param_groups_layer_decay(create_model(MODEL, device="meta"), 0.1, layer_decay)
