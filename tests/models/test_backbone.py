"""Every family as a backbone: feature maps, checkpointing, drop path, other norms, freezing, groups."""

from __future__ import annotations

import copy
import itertools
import pickle
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.nets import (
    assert_the_head_can_be_taken_off_and_changed,
    build,
    families,
    families_slow_but_one,
    images,
)
from torch import nn

from sparsenet_models import create_model, freeze, list_models, unfreeze
from sparsenet_models.layers.blocks import DropPath
from sparsenet_models.layers.checkpointing import COMPILED_KEEPS_STATISTICS
from sparsenet_models.layers.norms import FrozenBatchNorm2d
from sparsenet_models.models import SparseNet
from sparsenet_models.models.feature_net import FeatureNet
from sparsenet_models.models.features import chosen_indices


@families
@pytest.mark.parametrize("size", [(32, 32), (64, 48)])
def test_feature_maps_have_the_channels_and_strides_of_the_feature_info(family, size):
    net = build(family).eval()
    maps = net.forward_intermediates(images(size), intermediates_only=True)
    for info, feature in zip(net.feature_info, maps):
        reduction = info["reduction"]
        assert feature.shape == (2, info["num_chs"], size[0] // reduction, size[1] // reduction)
        net.get_submodule(info["module"])
    assert len(net.feature_info) >= 3


@families
def test_intermediates_end_where_forward_features_does(family):
    net = build(family).eval()
    features = net.forward_features(images())
    last, maps = net.forward_intermediates(images(), norm=True)
    assert torch.equal(last, features)
    for info, feature in zip(net.feature_info, maps):
        assert feature.shape == (2, info["num_chs"], 32 // info["reduction"], 32 // info["reduction"])
    if net.ends_with_norm:
        assert torch.equal(maps[-1], features)
    plain, before = net.forward_intermediates(images())
    assert torch.equal(plain, features)
    assert torch.equal(net.forward_final(before[-1]), features)
    assert torch.equal(net.forward_head(features), net(images()))


@families
def test_maps_come_in_the_callers_order_and_from_the_end_where_negative(family):
    net = build(family).eval()
    every = net.forward_intermediates(images(), intermediates_only=True)
    picked = net.forward_intermediates(images(), [2, 0, -1, 0], intermediates_only=True)
    assert all(torch.equal(a, b) for a, b in zip(picked, [every[2], every[0], every[-1], every[0]]))
    for count in (2, np.int64(2)):
        lasts = net.forward_intermediates(images(), count, intermediates_only=True)
        assert all(torch.equal(a, b) for a, b in zip(lasts, every[-2:]))


@families
def test_a_feature_net_gives_the_same_maps_without_the_later_stages(family):
    net = build(family).eval()
    expected = net.forward_intermediates(images(), [1, 0], intermediates_only=True)
    whole = sum(p.numel() for p in net.parameters())
    backbone = FeatureNet(net, out_indices=(1, 0))
    maps = backbone(images())
    assert all(torch.equal(a, b) for a, b in zip(maps, expected))
    assert [feature.shape[1] for feature in maps] == backbone.feature_info.channels()
    selected = [net.feature_info[index] for index in (1, 0)]
    assert backbone.feature_info.reduction() == [info["reduction"] for info in selected]
    assert backbone.feature_info.module_name() == [info["module"] for info in selected]
    assert sum(p.numel() for p in backbone.parameters()) < whole


@families
def test_a_pruned_net_has_the_maps_that_its_feature_info_describes(family):
    net = build(family).eval()
    expected = net.forward_intermediates(images(), (0, 1), intermediates_only=True)
    assert net.prune_intermediate_layers((1, 0)) == [1, 0]
    assert len(net.feature_info) == 2
    x, maps = net.forward_intermediates(images())
    assert all(map(torch.equal, maps, expected))
    assert torch.equal(x, maps[-1])
    assert torch.equal(net.forward_features(images()), x)
    with pytest.raises(ValueError, match=r"indices has 2, out of range for a net of 2 feature maps"):
        net.forward_intermediates(images(), (2,), intermediates_only=True)


@families
def test_every_parameter_of_a_feature_net_learns(family):
    backbone = FeatureNet(build(family)).train()
    sum(feature.square().mean() for feature in backbone(images())).backward()
    assert [name for name, p in backbone.named_parameters() if p.grad is None] == []


def test_feature_maps_of_a_fractalnet_under_global_drop_path_are_those_of_one_column():
    net = build("fractalnet", global_drop_path=1.0).train()
    expected = [net.column(i).forward_intermediates(images(), [1], intermediates_only=True) for i in (0, 1)]
    backbone = FeatureNet(net, out_indices=[1])
    (feature,) = backbone(images())
    assert any(torch.allclose(feature, maps[0]) for maps in expected)


@given(st.integers(1, 9), st.data())
def test_indices_follow_pythons_lists(count, data):
    indices = data.draw(st.lists(st.integers(-count, count - 1), min_size=1))
    every = list(range(count))
    assert chosen_indices(indices, count) == [every[index] for index in indices]
    number = data.draw(st.integers(1, count))
    assert chosen_indices(number, count) == every[-number:]
    assert chosen_indices(-number, count) == [every[-number]]
    assert chosen_indices(None, count) == every


@pytest.mark.parametrize(
    ("indices", "error", "message"),
    [
        ([0, 3], ValueError, r"out_indices has 3, out of range for a net of 3 feature maps"),
        ([-4], ValueError, r"out_indices has -4, out of range"),
        (4, ValueError, r"out_indices=4 is out of range"),
        (0, ValueError, r"out_indices=0 is out of range"),
        ([], ValueError, r"out_indices must name at least one"),
        ([0.5], TypeError, r"out_indices must be an integer or a sequence of them"),
        ("01", TypeError, r"out_indices must be an integer or a sequence of them"),
    ],
)
def test_indices_out_of_range_are_refused_by_name(indices, error, message):
    with pytest.raises(error, match=message):
        create_model("sparsenet_bc_40_k12", features_only=True, out_indices=indices)


def test_out_indices_without_features_only_are_refused():
    with pytest.raises(ValueError, match="goes with features_only=True"):
        create_model("sparsenet_bc_40_k12", out_indices=(0, 1))


def test_stopping_early_cannot_give_the_last_map():
    net = build("sparsenet")
    with pytest.raises(ValueError, match="intermediates_only=True too"):
        net.forward_intermediates(images(), [0], stop_early=True)
    with pytest.raises(ValueError, match="output_fmt must be 'NCHW', got 'NLC'"):
        net.forward_intermediates(images(), output_fmt="NLC")


def test_features_only_loads_the_weights_first():
    backbone = create_model(
        "sparsenet_bc_40_k12.cifar10", pretrained=True, features_only=True, out_indices=[0]
    )
    net = create_model("sparsenet_bc_40_k12.cifar10", pretrained=True)
    expected = net.eval().forward_intermediates(images(), [0], intermediates_only=True)
    assert torch.equal(backbone.eval()(images())[0], expected[0])
    assert backbone.default_cfg["input_size"] == (3, 32, 32)


@families
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_forward_and_backward_at_two_sizes_reach_every_parameter(family, channels):
    net = build(family, in_chans=channels, num_classes=7).train()
    for size in ((32, 32), (64, 48)):
        net.zero_grad()
        net(images(size, channels)).square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@families
def test_the_head_can_be_taken_off_and_changed(family):
    assert_the_head_can_be_taken_off_and_changed(build(family).eval(), images())


@families
def test_checkpointed_equals_plain_with_the_batch_norm_buffers(family):
    def after_two_steps(checkpointing: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        net = build(family, drop_path_rate=0.3 if family != "bottleneck_resnet" else 0.0).double().train()
        net.set_grad_checkpointing(checkpointing)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for step in range(2):
            torch.manual_seed(step)
            loss = net(images().double()).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.detach(), net.state_dict()

    (loss, state), (other_loss, other) = after_two_steps(False), after_two_steps(True)
    assert torch.equal(loss, other_loss)
    assert all(torch.equal(other[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("training", [True, False])
def test_checkpointing_keeps_fewer_numbers_for_the_backward_pass(training):
    def kept(checkpointing: bool) -> int:
        net = SparseNet(depth=100, growth_rate=4).train(training)
        net.set_grad_checkpointing(checkpointing)
        sizes: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = net(images((16, 16)))
        del loss
        return sum(sizes.values())

    assert kept(True) < kept(False) / 2


@families
def test_a_checkpointed_graph_takes_a_second_backward_pass(family):
    net = build(family).double().train()
    net.set_grad_checkpointing()
    loss = net(images().double()).square().mean()
    loss.backward(retain_graph=True)
    state = copy.deepcopy(net.state_dict())
    once = [p.grad.clone() for p in net.parameters()]
    loss.backward()
    assert all(torch.allclose(p.grad, 2 * grad) for p, grad in zip(net.parameters(), once))
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    assert all(m.momentum == 0.1 for m in net.modules() if isinstance(m, nn.BatchNorm2d))


@families
@pytest.mark.slow
def test_a_checkpointed_net_compiles_and_learns_as_the_plain_one(family):
    net, plain = build(family).double().train(), build(family).double().train()
    net.set_grad_checkpointing()
    torch._dynamo.reset()
    compiled = torch.compile(net, backend="aot_eager", fullgraph=COMPILED_KEEPS_STATISTICS, dynamic=True)
    for count in (2, 3):
        compiled(images(count=count).double()).square().mean().backward()
        plain(images(count=count).double()).square().mean().backward()
    for (name, parameter), expected in zip(net.named_parameters(), plain.parameters()):
        assert torch.allclose(parameter.grad, expected.grad), name
    for name, expected in plain.state_dict().items():
        assert torch.allclose(net.state_dict()[name], expected), name


@pytest.mark.parametrize("family", ["sparsenet", "densenet", "resnet", "sparse_resnet"])
def test_drop_path_rises_linearly_from_the_first_layer_to_the_last(family):
    net = build(family, drop_path_rate=0.4)
    rates = [module.rate for module in net.modules() if isinstance(module, DropPath)]
    steps = [after - before for before, after in itertools.pairwise(rates)]
    assert (rates[0], rates[-1]) == (0.0, pytest.approx(0.4))
    assert steps == pytest.approx([0.4 / (len(rates) - 1)] * len(steps))


@families
@pytest.mark.parametrize("norm_layer", ["groupnorm", "frozenbatchnorm2d", "syncbatchnorm"])
def test_another_norm_replaces_every_batch_norm(family, norm_layer):
    net = build(family, norm_layer=norm_layer, act_layer=nn.SiLU)
    assert not any(type(module) is nn.BatchNorm2d for module in net.modules())
    assert not any(isinstance(module, nn.ReLU) for module in net.modules())
    if norm_layer != "syncbatchnorm":  # which needs a GPU
        net.train()(images()).sum().backward()
    if norm_layer != "groupnorm":
        net.load_state_dict(build(family).state_dict())


def test_a_new_head_has_the_mode_of_the_old_one():
    net = build("sparsenet").eval()
    net.reset_classifier(5, "max")
    assert not any(module.training for module in net.modules())


def test_a_feature_net_describes_its_maps_as_timms_does():
    features = create_model("sparsenet_bc_40_k12", features_only=True, out_indices=(0, 2)).feature_info
    assert features.get_dicts() == [features[0], features[2]]
    assert features.get_dicts(["num_chs", "reduction"]) == [
        {"num_chs": chs, "reduction": reduction}
        for chs, reduction in zip(features.channels(), features.reduction())
    ]
    assert features.get_dicts(["module"], 1) == {"module": features.module_name(1)}
    assert features.get_dicts(idx=[1]) == [features[1]]
    assert features.channels(np.int64(1)) == features.channels(1)
    assert features.get_dicts(["module"], np.int64(1)) == features.get_dicts(["module"], 1)


def test_the_classifier_has_a_name():
    net = build("sparsenet")
    assert net.get_submodule(net.get_classifier(name_only=True)) is net.get_classifier()


def test_an_unknown_norm_gets_the_nearest():
    with pytest.raises(ValueError, match=r"norm_layer must .* got 'grupnorm'; did you mean 'groupnorm'"):
        build("sparsenet", norm_layer="grupnorm")


@pytest.mark.parametrize(("name", "kind"), [("silu", nn.SiLU), ("relu", nn.ReLU), ("gelu", nn.GELU)])
@families
def test_an_activation_goes_by_its_name_in_timm(family, name, kind):
    net, by_class = build(family, act_layer=name).eval(), build(family, act_layer=kind).eval()
    assert any(type(module) is kind for module in net.modules())
    assert torch.equal(net(images()), by_class(images()))


@pytest.mark.parametrize(
    ("argument", "value", "error", "message"),
    [
        (
            "act_layer",
            nn.SiLU(),
            TypeError,
            r"act_layer must be a class .* of \('relu', .*, got SiLU\(\)",
        ),
        ("act_layer", torch.relu, TypeError, r"act_layer must be a class such as nn.SiLU, .* got <built-in"),
        ("act_layer", "sillu", ValueError, r"act_layer must be one of .* got 'sillu'; did you mean 'silu'"),
        (
            "norm_layer",
            nn.GroupNorm,
            TypeError,
            r"norm_layer must be a function from channels .*GroupNorm",
        ),
        ("norm_layer", nn.BatchNorm2d(4), TypeError, r"norm_layer must be a function .* got BatchNorm2d\(4"),
        ("norm_layer", ["x"], ValueError, r"norm_layer must be one of \('batchnorm2d', .* got \['x'\]"),
        ("act_layer", ["relu"], ValueError, r"act_layer must be one of \('relu', .* got \['relu'\]"),
    ],
)
@families
def test_a_norm_or_activation_that_cannot_be_made_is_refused_by_name(family, argument, value, error, message):
    with pytest.raises(error, match=message):
        build(family, **{argument: value})


@families
def test_parts_hold_every_parameter_once_in_the_order_of_the_forward_pass(family):
    net = build(family)
    called: list[str] = []
    for name in net.parts():
        net.get_submodule(name).register_forward_hook(lambda *_, name=name: called.append(name))
    net(images())
    assert called == net.parts()
    held = [name for part in net.parts() for name, _ in net.get_submodule(part).named_parameters(prefix=part)]
    assert sorted(held) == sorted(name for name, _ in net.named_parameters())


@families
def test_an_activation_that_learns_is_in_a_part_and_goes_with_the_norm(family):
    net = build(family, act_layer=torch.nn.PReLU)
    held = [name for part in net.parts() for name, _ in net.get_submodule(part).named_parameters(prefix=part)]
    assert sorted(held) == sorted(name for name, _ in net.named_parameters())
    backbone = FeatureNet(net).train()
    sum(feature.square().mean() for feature in backbone(images())).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


@families
def test_frozen_parts_stay_unchanged_and_the_rest_learns(family):
    net = build(family)
    last = net.parts()[len(net.parts()) // 2]
    frozen = net.parts()[: net.parts().index(last) + 1]
    freeze(net, up_to=last)
    before = copy.deepcopy(net.state_dict())
    assert before.keys() == build(family).state_dict().keys()
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    net.train()(images(count=8)).square().sum().backward()
    optimizer.step()
    for name, tensor in net.state_dict().items():
        in_frozen = any(name.startswith(f"{part}.") for part in frozen)
        assert in_frozen == torch.equal(tensor, before[name]), name


@families
def test_unfreezing_restores_the_net(family):
    net, plain = build(family), build(family)
    freeze(net, up_to="head")
    assert not any(p.requires_grad for p in net.parameters())
    assert any(isinstance(module, FrozenBatchNorm2d) for module in net.modules())
    unfreeze(net)
    assert all(p.requires_grad for p in net.parameters())
    assert [type(module) for module in net.modules()] == [type(module) for module in plain.modules()]
    assert torch.equal(net.train()(images()), plain.train()(images()))


def test_freezing_keeps_modules_parameters_and_options_of_norms():
    net = build("sparsenet", norm_layer=lambda channels: nn.BatchNorm2d(channels, eps=1e-3, momentum=0.3))
    modules, parameters = list(net.modules()), list(net.parameters())
    freeze(net, up_to="stages.1")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for other in (net, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        unfreeze(other)
        assert not any(isinstance(module, FrozenBatchNorm2d) for module in other.modules())
        assert {(m.eps, m.momentum) for m in other.modules() if isinstance(m, nn.BatchNorm2d)} == {
            (1e-3, 0.3)
        }
    assert all(a is b for a, b in zip(net.modules(), modules))
    assert all(a is b for a, b in zip(net.parameters(), parameters))
    before = copy.deepcopy(net.state_dict())
    net.train()(images()).square().sum().backward()
    optimizer.step()
    assert [name for name, tensor in net.state_dict().items() if torch.equal(tensor, before[name])] == []


def test_norms_that_were_built_frozen_stay_frozen():
    net = build("sparsenet", norm_layer="frozenbatchnorm2d")
    freeze(net, up_to="stages.1")
    unfreeze(net)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())


def test_synchronised_batch_norm_is_frozen_and_unfrozen():
    net = nn.SyncBatchNorm.convert_sync_batchnorm(build("sparsenet")).train()
    freeze(net, up_to="head")
    before = copy.deepcopy(net.state_dict())
    net(images())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in net.modules())
    unfreeze(net)
    assert sum(isinstance(m, nn.SyncBatchNorm) for m in net.modules()) == sum(
        isinstance(m, nn.BatchNorm2d) for m in build("sparsenet").modules()
    )


def test_a_norm_that_cannot_be_frozen_is_named_before_anything_changes():
    class OwnNorm(nn.BatchNorm2d):
        pass

    net = build("sparsenet", norm_layer=OwnNorm)
    with pytest.raises(ValueError, match=r"freeze needs BatchNorm2d or SyncBatchNorm, .* holds OwnNorm\(4"):
        freeze(net, up_to="stages.1")
    assert all(parameter.requires_grad for parameter in net.parameters())


@families
def test_a_feature_net_is_frozen_by_the_parts_of_its_net(family):
    net = build(family)
    first, last = net.parts()[0], net.parts()[-2]
    backbone = FeatureNet(net)
    freeze(backbone, up_to=first)
    before = copy.deepcopy(backbone.state_dict())
    sum(feature.square().mean() for feature in backbone.train()(images())).backward()
    for name, parameter in backbone.named_parameters():
        assert (parameter.grad is None) == name.startswith(f"net.{first}."), name
    kept = [name for name, tensor in backbone.state_dict().items() if torch.equal(tensor, before[name])]
    assert all(name in kept for name in before if name.startswith(f"net.{first}."))
    unfreeze(backbone, up_to=last)
    assert all(parameter.requires_grad for parameter in backbone.parameters())


def test_an_unknown_part_gets_the_nearest():
    with pytest.raises(ValueError, match=r"unknown part 'stage.1'; did you mean 'stages.1'"):
        freeze(build("sparsenet"), up_to="stage.1")


@pytest.mark.parametrize("name", list_models())
def test_a_group_matcher_puts_each_parameter_into_one_group(name):
    net = create_model(name, device="meta")
    parameters = [name for name, _ in net.named_parameters()]
    for coarse in (False, True):
        matcher = net.group_matcher(coarse=coarse)
        blocks = matcher["blocks"]
        patterns = [matcher["stem"]] if "stem" in matcher else []
        patterns += [blocks] if isinstance(blocks, str) else [pattern for pattern, _ in blocks]
        groups = [sum(bool(re.match(pattern, name)) for pattern in patterns) for name in parameters]
        assert max(groups) == 1
        head = [name for name, count in zip(parameters, groups) if count == 0]
        assert all(name.startswith(("head", "norm")) for name in head)


@families
def test_copies_and_pickles_compute_the_same(family):
    net = build(family).eval()
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(other(images()), net(images()))


@families
def test_functional_call_takes_other_parameters(family):
    net, other = build(family).eval(), build(family).eval()
    nn.init.ones_(other.head.fc.bias)
    logits = torch.func.functional_call(net, dict(other.named_parameters()), (images(),))
    assert torch.allclose(logits, other(images()))


@families
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_every_floating_point_type_goes_through(family, dtype):
    logits = build(family).to(dtype).eval()(images().to(dtype))
    assert logits.dtype == dtype
    assert logits.isfinite().all()


@families_slow_but_one
def test_a_compiled_net_has_no_graph_break_and_takes_other_sizes(family):
    net = build(family).eval()
    torch._dynamo.reset()
    compiled = torch.compile(net, backend="eager", fullgraph=True, dynamic=True)
    for size, count in (((32, 32), 2), ((64, 48), 3)):
        assert torch.equal(compiled(images(size, count=count)), net(images(size, count=count)))


@families
@pytest.mark.slow
def test_a_compiled_net_learns_without_a_graph_break(family):
    net, plain = build(family).train(), build(family).train()
    torch._dynamo.reset()
    torch.compile(net, backend="eager", fullgraph=True, dynamic=True)(images()).sum().backward()
    plain(images()).sum().backward()
    for (name, parameter), expected in zip(net.named_parameters(), plain.parameters()):
        assert torch.allclose(parameter.grad, expected.grad, rtol=1e-3, atol=1e-5), name


@families
def test_torch_fx_extracts_feature_maps_by_the_names_in_feature_info(family):
    from torchvision.models.feature_extraction import create_feature_extractor

    net = build(family).eval()
    names = [info["module"] for info in net.feature_info]
    features = create_feature_extractor(net, [*names, "head"])(images())
    maps = net.forward_intermediates(images(), intermediates_only=True)
    assert all(torch.equal(features[name], expected) for name, expected in zip(names, maps))
    assert torch.equal(features["head"], net(images()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="DataParallel copies a net to GPUs, there is none")
@families
def test_data_parallel_computes_and_learns_as_the_net_alone(family):
    net = build(family).cuda().eval()
    parallel = nn.DataParallel(net)
    count = 2 * torch.cuda.device_count()
    assert torch.allclose(parallel(images(count=count).cuda()), net(images(count=count).cuda()), atol=1e-4)
    parallel.train()(images(count=count).cuda()).square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
