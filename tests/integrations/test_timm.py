"""The nets through timm's registry: its conventions, and its functions on them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from support.repository import REPOSITORY
from torch import nn

import sparsenet_models
from sparsenet_models import list_models, register_model
from sparsenet_models.data.predict import predict

timm = pytest.importorskip("timm", reason="timm is not installed: pip install 'timm>=1.0.26'")

from timm.models._hub import save_for_hf  # noqa: E402
from timm.models._manipulate import group_parameters, group_with_matcher  # noqa: E402
from timm.optim import create_optimizer_v2, param_groups_layer_decay  # noqa: E402
from timm.utils import ModelEmaV3  # noqa: E402

from sparsenet_models.integrations.timm import register  # noqa: E402

NAME = "sparsenet_bc_40_k12"
SMALL = ["sparsenet_bc_40_k12", "densenet_40_k12", "resnet_20", "sparse_resnet_20", "fractalnet_c2"]
every_name = pytest.mark.parametrize(
    "name",
    [
        name if name in (*SMALL, "sparsenet121") else pytest.param(name, marks=pytest.mark.slow)
        for name in list_models()
    ],
)


@pytest.fixture(scope="module", autouse=True)
def registered() -> list[str]:
    return register()


def tiny_net(**kwargs) -> nn.Module:
    return sparsenet_models.SparseNet(depth=10, growth_rate=4, **kwargs)


def tiny_net_on_the_hub(**kwargs) -> nn.Module:
    return tiny_net(**kwargs)


def images(size: tuple[int, int] = (32, 32), channels: int = 3) -> torch.Tensor:
    return torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(1))


def first_convolutions(net: nn.Module) -> list[str]:
    first = net.default_cfg["first_conv"]
    return [first] if isinstance(first, str) else list(first)


def test_timm_lists_every_name_and_tag(registered):
    assert set(registered) == set(list_models()) <= set(timm.list_models())
    tagged = {
        name for name in timm.list_pretrained() if timm.models.split_model_name_tag(name)[0] in registered
    }
    assert tagged == set(sparsenet_models.list_pretrained())
    for name in list_models(include_tags=True):
        theirs, ours = timm.models.get_pretrained_cfg(name), sparsenet_models.get_pretrained_cfg(name)
        assert isinstance(theirs, timm.models.PretrainedCfg)
        assert (theirs.architecture, theirs.tag) == (ours.architecture, ours.tag)
        assert (theirs.mean, theirs.input_size, theirs.num_classes) == (
            ours.mean,
            ours.input_size,
            ours.num_classes,
        )
        default = timm.models.get_pretrained_cfg(ours.architecture)
        assert default.tag == sparsenet_models.get_pretrained_cfg(ours.architecture).tag


def test_a_second_call_changes_nothing_and_warns_of_nothing(registered):
    before = timm.models.model_entrypoint(NAME)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert register() == registered
    assert timm.models.model_entrypoint(NAME) is before


def test_no_name_of_timm_is_overwritten():
    """In a process of its own: both registries keep their own nets."""
    code = """
import timm, warnings, sparsenet_models
from sparsenet_models.integrations.timm import register

@sparsenet_models.register_model
def resnet18(**kwargs):
    return sparsenet_models.SparseNet(depth=10, growth_rate=4, **kwargs)

def fractalnet_c2(pretrained=False, **kwargs):
    raise RuntimeError

timm.models.register_model(fractalnet_c2)
before = {name: timm.models.model_entrypoint(name) for name in timm.list_models()}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    names = register()
print(*(str(warning.message) for warning in caught), sep=chr(10))
assert not {"resnet18", "fractalnet_c2"} & set(names) and "resnet_20" in names
assert all(timm.models.model_entrypoint(name) is function for name, function in before.items())
"""
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert shown == [
        "timm's registry has other nets named fractalnet_c2, resnet18, which it keeps; "
        "sparsenet_models.create_model builds those of this library"
    ]


@pytest.mark.usefixtures("own_models")
def test_a_net_registered_later_is_added_by_the_next_call():
    @register_model(
        pretrained_cfgs={"toy": sparsenet_models.PretrainedCfg(input_size=(1, 8, 8), num_classes=2)}
    )
    def net_for_test_timm(**kwargs):
        return sparsenet_models.SparseNet(depth=10, growth_rate=4, **kwargs)

    assert not timm.is_model("net_for_test_timm")
    assert "net_for_test_timm" in register()
    assert timm.create_model("net_for_test_timm.toy")(torch.zeros(1, 1, 8, 8)).shape == (1, 2)


@every_name
def test_what_the_default_cfg_says_is_true_of_every_net(name):
    net = timm.create_model(name, device="meta").eval()
    cfg = net.default_cfg
    assert cfg is net.pretrained_cfg
    assert cfg["architecture"] == name
    image = torch.empty(1, *cfg["input_size"], device="meta")
    assert net.forward_features(image).shape == (1, net.num_features, *cfg["pool_size"])
    assert net(image).shape == (1, cfg["num_classes"])
    reading_the_image = []

    def note(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if inputs[0] is image:
            reading_the_image.append(module)

    hooks = [m.register_forward_pre_hook(note) for m in net.modules() if isinstance(m, nn.Conv2d)]
    net(image)
    for hook in hooks:
        hook.remove()
    firsts = [net.get_submodule(first) for first in first_convolutions(net)]
    assert {id(module) for module in reading_the_image} == {id(module) for module in firsts}
    assert net.get_submodule(cfg["classifier"]) is net.get_classifier()
    smallest = torch.empty(1, *cfg["min_input_size"], device="meta")
    assert net(smallest).shape == (1, cfg["num_classes"])
    net.reset_classifier(0)
    assert not [key for key in net.state_dict() if key.startswith(cfg["classifier"])]
    assert net(image).shape == (1, net.num_features)
    net.reset_classifier(0, "")
    assert net(image).shape[2:] == cfg["pool_size"]


@every_name
@pytest.mark.parametrize("indices", [None, (2, 0), (-1,)])
def test_feature_channels_and_strides_are_true_of_every_net(name, indices):
    backbone = timm.create_model(name, features_only=True, out_indices=indices, device="meta")
    assert isinstance(backbone.feature_info, timm.models.FeatureInfo)
    channels, height, width = backbone.default_cfg["input_size"]
    maps = backbone(torch.empty(2, channels, height, width, device="meta"))
    expected = list(zip(backbone.feature_info.channels(), backbone.feature_info.reduction()))
    assert [tuple(feature.shape) for feature in maps] == [
        (2, c, height // r, width // r) for c, r in expected
    ]
    assert len(maps) == (len(backbone.feature_info.info) if indices is None else len(indices)) >= 1


@every_name
@pytest.mark.parametrize("coarse", [False, True])
def test_every_parameter_is_in_exactly_one_group(name, coarse):
    net = timm.create_model(name, device="meta")
    groups = group_parameters(net, net.group_matcher(coarse=coarse))
    grouped = [parameter for names in groups.values() for parameter in names]
    assert sorted(grouped) == sorted(parameter for parameter, _ in net.named_parameters())
    assert list(groups) == list(range(len(groups)))
    order = group_with_matcher(net.named_parameters(), net.group_matcher(coarse=coarse), reverse=True)
    parts = [
        max(v for k, v in order.items() if k.startswith(f"{part}."))
        for part in net.parts()
        if part not in ("norm", "act") and any(k.startswith(f"{part}.") for k in order)
    ]
    assert parts == sorted(parts)
    assert order["head.fc.weight"] == len(groups) - 1


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("feature_cls", [None, "getter"])
def test_feature_maps_are_those_of_the_net_in_the_callers_order(name, feature_cls):
    torch.manual_seed(0)
    backbone = timm.create_model(name, features_only=True, out_indices=(1, 0), feature_cls=feature_cls).eval()
    torch.manual_seed(0)
    net = timm.create_model(name).eval()
    expected = net.forward_intermediates(images(), [1, 0], intermediates_only=True)
    maps = backbone(images())
    assert all(torch.equal(a, b) for a, b in zip(maps, expected))
    assert [feature.shape[1] for feature in maps] == backbone.feature_info.channels()
    assert backbone.default_cfg["architecture"] == name
    assert backbone.default_cfg["input_size"] == (3, 32, 32)


@pytest.mark.parametrize("feature_cls", ["list", "hook", "fx", timm.models.FeatureHookNet])
def test_a_wrapper_that_takes_nets_apart_is_refused(feature_cls):
    with pytest.raises(
        ValueError, match=rf"feature_cls of {NAME} must be 'getter', .* got .*(list|hook|fx|Hook)"
    ):
        timm.create_model(NAME, features_only=True, feature_cls=feature_cls)


def test_indices_out_of_range_are_refused():
    with pytest.raises(ValueError, match="indices has 3, out of range for a net of 3 feature maps"):
        timm.create_model(NAME, features_only=True, out_indices=(0, 3))


@pytest.mark.parametrize("name", [NAME, f"{NAME}.cifar10"])
def test_pretrained_weights_give_the_logits_that_create_model_gives(name):
    net = timm.create_model(name, pretrained=True).eval()
    ours = sparsenet_models.create_model(name, pretrained=True).eval()
    assert torch.equal(net(images()), ours(images()))
    backbone = timm.create_model(name, pretrained=True, features_only=True, out_indices=[1]).eval()
    assert torch.equal(
        backbone(images())[0], ours.forward_intermediates(images(), intermediates_only=True)[1]
    )


def test_weights_are_adapted_to_other_classes_and_channels():
    net = timm.create_model(NAME, pretrained=True, num_classes=5, in_chans=1).eval()
    ours = sparsenet_models.create_model(NAME, pretrained=True, num_classes=5, in_chans=1).eval()
    assert net(images(channels=1)).shape == (2, 5)
    adapted, expected = net.state_dict(), ours.state_dict()
    # timm rounds the adapted convolution to the file's half precision.
    assert torch.allclose(adapted.pop("stem.conv.weight"), expected.pop("stem.conv.weight"), atol=2e-3)
    assert all(torch.equal(adapted[key], expected[key]) for key in expected if not key.startswith("head"))


def test_a_tag_without_weights_is_refused():
    with pytest.raises(
        ValueError, match=r"'sparsenet_40_k12.cifar100' has no pretrained weights; none of its tags"
    ):
        timm.create_model("sparsenet_40_k12.cifar100", pretrained=True)


@pytest.mark.usefixtures("own_models")
def test_a_weight_that_is_not_what_its_card_names_is_refused(tmp_path):
    file = tmp_path / "changed.safetensors"
    state = {name: tensor.contiguous() for name, tensor in tiny_net().state_dict().items()}
    save_file(state, file)
    cfg = sparsenet_models.PretrainedCfg(file=str(file), sha256="0" * 64, num_classes=10)
    register_model(pretrained_cfgs={"toy": cfg})(tiny_net)
    register()
    with pytest.raises(ValueError, match=r"changed\.safetensors is not the file that its"):
        timm.create_model("tiny_net.toy", pretrained=True)


@pytest.mark.parametrize("overlay", [{"sha256": "0" * 64}, {"crop_pct": 0.9}, {"mean": (0.0,) * 3}])
@pytest.mark.usefixtures("own_models")
def test_an_overlay_leaves_the_check_of_the_weights_on(tmp_path, overlay):
    file = tmp_path / "changed.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tiny_net().state_dict().items()}, file)
    cfg = sparsenet_models.PretrainedCfg(file=str(file), sha256="0" * 64, num_classes=10)
    register_model(pretrained_cfgs={"toy": cfg})(tiny_net)
    register()
    overlay = {"file": str(file), **overlay} if "sha256" in overlay else overlay
    with pytest.raises(ValueError, match=r"changed\.safetensors is not the file that its"):
        timm.create_model("tiny_net.toy", pretrained=True, pretrained_cfg_overlay=overlay)


def test_a_configuration_with_a_sha256_is_checked_and_loaded(tmp_path):
    net = sparsenet_models.create_model(f"{NAME}.cifar10", pretrained=True).eval()
    cfg = {**timm.create_model(f"{NAME}.cifar10").pretrained_cfg}
    cfg["sha256"] = sparsenet_models.get_pretrained_cfg(f"{NAME}.cifar10").sha256
    again = timm.create_model(NAME, pretrained=True, pretrained_cfg=cfg).eval()
    assert torch.equal(again(images()), net(images()))
    with pytest.raises(ValueError, match="is not the file that its configuration names"):
        timm.create_model(NAME, pretrained=True, pretrained_cfg={**cfg, "sha256": "0" * 64})


@pytest.mark.parametrize(
    "options", [dict(num_classes=5), dict(features_only=True), dict(num_classes=0), dict(in_chans=1)], ids=str
)
@pytest.mark.parametrize("change", [dict(norm_layer="groupnorm"), dict(depth=16)], ids=str)
def test_weights_that_fit_in_part_are_refused(options, change):
    with pytest.raises(ValueError, match=rf"do not fit the {NAME} that .* differ, '[a-z]+\.") as caught:
        timm.create_model(NAME, pretrained=True, **options, **change)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("own_models")
def test_weights_on_the_hub_are_asked_for_at_their_revision():
    cfg = sparsenet_models.PretrainedCfg(
        hf_hub_id="org/name", revision="f" * 40, sha256="0" * 64, num_classes=10
    )
    register_model(pretrained_cfgs={"toy": cfg})(tiny_net_on_the_hub)
    register()
    cfg = timm.models.get_pretrained_cfg("tiny_net_on_the_hub.toy")
    assert timm.models._hub.hf_split(cfg.hf_hub_id) == ("org/name", "f" * 40)


@pytest.mark.parametrize("source", [{"hf_hub_id": "no/such"}, {"url": "http://127.0.0.1:9/w.safetensors"}])
def test_weights_of_the_users_own_elsewhere_are_not_the_bundled_ones(monkeypatch, source):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=r"on the Hub|refused"):
        timm.create_model(f"{NAME}.cifar10", pretrained=True, pretrained_cfg_overlay=source)


def test_a_file_of_the_users_own_takes_the_place_of_the_weights(tmp_path):
    net = timm.create_model(f"{NAME}.cifar10", pretrained=True).eval()
    state = {name: tensor.contiguous() for name, tensor in net.state_dict().items()}
    state["head.fc.bias"] = state["head.fc.bias"] + 1
    save_file(state, tmp_path / "own.safetensors")
    overlay = {"file": str(tmp_path / "own.safetensors")}
    other = timm.create_model(f"{NAME}.cifar10", pretrained=True, pretrained_cfg_overlay=overlay).eval()
    assert torch.allclose(other(images()), net(images()) + 1, atol=1e-5)


def test_timms_data_config_and_transform_are_those_of_this_library():
    net = timm.create_model(f"{NAME}.cifar10")
    config = timm.data.resolve_model_data_config(net)
    assert config == sparsenet_models.resolve_data_config(net)
    assert config["input_size"] == (3, 32, 32)
    photo = Image.open(REPOSITORY / "examples" / "photos" / "cat_chelsea.jpg").convert("RGB")
    small = photo.resize((32, 32))
    theirs, ours = timm.data.create_transform(**config), sparsenet_models.create_transform(**config)
    assert torch.allclose(theirs(small), ours(small), atol=1e-6)
    assert timm.data.create_transform(**config, is_training=True)(photo).shape == (3, 32, 32)
    # timm finds the same in a net by create_model.
    assert timm.data.resolve_model_data_config(sparsenet_models.create_model(NAME)) == config


def test_predict_takes_a_net_of_timm():
    net = timm.create_model(f"{NAME}.cifar10", pretrained=True)
    photo = str(REPOSITORY / "examples" / "photos" / "cat_chelsea.jpg")
    (prediction,) = predict(net, [photo])
    assert prediction == next(
        predict(sparsenet_models.create_model(f"{NAME}.cifar10", pretrained=True), [photo])
    )
    with pytest.raises(ValueError, match="no names for its 1000 classes"):
        next(predict(timm.create_model("sparsenet121"), [photo]))


@pytest.mark.parametrize("name", SMALL)
def test_layer_decay_gives_every_layer_its_rate_and_one_step_learns(name):
    net = timm.create_model(name).train()
    groups = param_groups_layer_decay(net, weight_decay=0.05, layer_decay=0.5)
    grouped = [parameter for group in groups for parameter in group["params"]]
    assert len({id(parameter) for parameter in grouped}) == len(grouped) == len(list(net.parameters()))
    scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert scale[id(net.head.fc.weight)] == 1.0
    first = net.get_submodule(first_convolutions(net)[0]).weight
    assert scale[id(first)] == min(scale.values()) < 0.1
    assert all((decay[id(p)] == 0) == (p.ndim == 1) for p in net.parameters())
    optimizer = create_optimizer_v2(net, opt="adamw", lr=1e-3, weight_decay=0.05, layer_decay=0.5)
    before = [p.detach().clone() for p in net.parameters()]
    net(images()).square().sum().backward()
    optimizer.step()
    assert all(not torch.equal(p, old) for p, old in zip(net.parameters(), before))


@pytest.mark.parametrize("name", SMALL)
def test_our_groups_are_timms_once_its_layers_are_the_parts_of_the_net(name):
    """By design they are not those of ``group_matcher``, many more; without a layer decay both agree."""
    net = timm.create_model(name, device="meta")

    def settings(groups: list[dict]) -> dict[int, tuple[float, float]]:
        return {
            id(p): (group["lr_scale"], group["weight_decay"]) for group in groups for p in group["params"]
        }

    ours = sparsenet_models.param_groups_layer_decay
    assert settings(ours(net, 0.05, 1.0)) == settings(param_groups_layer_decay(net, 0.05, layer_decay=1.0))
    parts = {part: rf"^{re.escape(part)}\." for part in net.parts()[:-1]}
    net.group_matcher = lambda coarse: parts
    assert settings(ours(net, 0.05, 0.5)) == settings(param_groups_layer_decay(net, 0.05, layer_decay=0.5))


def test_timms_moving_average_follows_the_net():
    net = timm.create_model(NAME)
    average = ModelEmaV3(net, decay=0.75)
    before = net.head.fc.weight.detach().clone()
    with torch.no_grad():
        net.head.fc.weight.add_(1.0)
    average.update(net)
    assert torch.allclose(average.module.head.fc.weight, before + 0.25, atol=1e-6)
    assert average.module.eval()(images()).shape == (2, 10)


def test_a_net_saved_by_timm_for_the_hub_comes_back_from_the_folder(tmp_path):
    old = tuple(int(part) for part in timm.__version__.split(".")[:3]) < (1, 0, 31)
    channels = 3 if old else 1  # which timm forgot before that
    net = timm.create_model(NAME, num_classes=4, in_chans=channels).eval()
    save_for_hf(net, tmp_path, safe_serialization=True)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert torch.equal(again(images(channels=channels)), net(images(channels=channels)))
