"""create_model, the one door: arguments, errors, and how weights are fitted to the net that is asked for."""

import dataclasses
import inspect
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from support.nets import scrambled
from support.reliability import fault
from torch import Tensor, nn

from sparsenet_models import (
    DenseNet,
    PretrainedCfg,
    SparseNet,
    create_model,
    create_transform,
    get_pretrained_cfg,
    register_model,
    resolve_data_config,
    save_pretrained,
)
from sparsenet_models.data.predict import predict
from sparsenet_models.integrations.export import export_model, target_path
from sparsenet_models.models.pretrained_cfg import pretrained_cfg_of
from sparsenet_models.pretrained.weight_file import read_metadata, save_weights
from sparsenet_models.training.build import start_from

NAME = "sparsenet_bc_40_k12"
HEAD = {"head.fc.weight", "head.fc.bias"}
STEM = "stem.conv.weight"
few_examples = settings(max_examples=20, deadline=None)


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """A net whose every tensor differs from that of a new one, as after training."""
    torch.manual_seed(1)
    return scrambled(create_model(NAME)).eval()


@pytest.fixture(scope="module")
def weights(trained: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "trained.safetensors"
    save_weights(trained, path, {"architecture": NAME})
    return path


def load(weights: Path, way: str, **kwargs) -> nn.Module:
    """Load ``weights`` into ``NAME`` in one of the two ways there are."""
    if way == "checkpoint_path":
        return create_model(NAME, checkpoint_path=weights, **kwargs)
    return create_model(NAME, pretrained=True, pretrained_cfg_overlay=dict(file=weights), **kwargs)


both_ways = pytest.mark.parametrize("way", ["checkpoint_path", "pretrained"])


def differing(net: nn.Module, other: nn.Module) -> set[str]:
    """Return the names of the tensors that are not equal in both nets."""
    first, second = net.state_dict(), other.state_dict()
    return {
        name
        for name in first.keys() | second.keys()
        if name not in first or name not in second or not torch.equal(first[name], second[name])
    }


# What comes out


@pytest.mark.parametrize(("name", "family"), [(NAME, SparseNet), ("densenet_bc_40_k12", DenseNet)])
def test_a_new_net_is_in_train_mode_and_float32_on_the_cpu(name, family):
    net = create_model(name)
    assert type(net) is family
    assert all(module.training for module in net.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())
    for tensor in net.state_dict().values():
        assert tensor.device.type == "cpu"
        assert tensor.dtype in (torch.float32, torch.int64)
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}


def test_a_tag_without_pretrained_sets_classes_and_normalisation_but_loads_nothing():
    net = create_model(f"{NAME}.cifar100")
    cfg = get_pretrained_cfg(f"{NAME}.cifar100")
    assert net.num_classes == net.get_classifier().out_features == 100
    assert net.pretrained_cfg["tag"] == "cifar100"
    assert net.pretrained_cfg["label_names"] == cfg.label_names
    assert resolve_data_config(net)["mean"] == cfg.mean
    torch.manual_seed(0)
    first = create_model(f"{NAME}.cifar100")
    torch.manual_seed(0)
    assert differing(first, create_model(f"{NAME}.cifar100")) == set()
    assert STEM in differing(first, net)  # random, so nothing was loaded


def test_a_name_without_a_tag_is_the_default_tag():
    assert create_model(NAME, device="meta").pretrained_cfg["tag"] == "cifar10"
    assert create_model(NAME, device="meta").num_classes == 10


@settings(max_examples=5, deadline=None)
@given(num_classes=st.integers(1, 1000), in_chans=st.integers(1, 9))
def test_classes_and_channels_are_those_asked_for(num_classes, in_chans):
    net = create_model(NAME, num_classes=num_classes, in_chans=in_chans, device="meta")
    assert (net.num_classes, net.in_chans) == (num_classes, in_chans)
    logits = net(torch.empty(2, in_chans, 16, 24, device="meta"))
    assert logits.shape == (2, num_classes)
    assert net.pretrained_cfg["num_classes"] == num_classes
    assert net.pretrained_cfg["input_size"] == (in_chans, 32, 32)
    assert net.pretrained_cfg["min_input_size"] == (in_chans, 8, 8)


def test_no_classes_give_pooled_features_and_no_pooling_the_feature_map():
    pooled = create_model(NAME, num_classes=0, device="meta")
    assert pooled(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, pooled.head_hidden_size)
    assert isinstance(pooled.get_classifier(), nn.Identity)
    unpooled = create_model(NAME, num_classes=0, global_pool="", device="meta")
    features = unpooled(torch.empty(2, 3, 32, 32, device="meta"))
    assert features.shape == (2, unpooled.num_features, 8, 8)


@pytest.mark.parametrize("device", ["meta", torch.device("meta"), "cpu", torch.device("cpu")])
def test_the_net_is_on_the_device_asked_for(device):
    net = create_model(NAME, device=device)
    assert {tensor.device for tensor in net.state_dict().values()} == {torch.device(device)}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_net_is_of_the_dtype_asked_for(dtype):
    net = create_model(NAME, dtype=dtype)
    for name, tensor in net.state_dict().items():
        assert tensor.dtype == (torch.int64 if name.endswith("num_batches_tracked") else dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_are_loaded_before_the_dtype_is_changed(weights, trained, dtype):
    net = create_model(NAME, checkpoint_path=weights, dtype=dtype)
    for name, tensor in trained.state_dict().items():
        expected = tensor.to(dtype) if tensor.is_floating_point() else tensor
        assert torch.equal(net.state_dict()[name], expected), name


# Arguments


@pytest.mark.parametrize(
    ("argument", "value", "kind", "reason"),
    [
        ("num_classes", -1, ValueError, "num_classes must be at least 0, got -1"),
        ("num_classes", True, TypeError, "num_classes must be an integer, got True (bool)"),
        ("num_classes", 10.0, TypeError, "num_classes must be an integer, got 10.0 (float)"),
        ("num_classes", "10", TypeError, "num_classes must be an integer, got '10' (str)"),
        ("in_chans", 0, ValueError, "in_chans must be at least 1, got 0"),
        ("in_chans", -3, ValueError, "in_chans must be at least 1, got -3"),
        ("in_chans", True, TypeError, "in_chans must be an integer, got True (bool)"),
        ("in_chans", 3.0, TypeError, "in_chans must be an integer, got 3.0 (float)"),
    ],
)
def test_a_count_out_of_range_or_of_the_wrong_type_is_refused(argument, value, kind, reason):
    with pytest.raises(kind) as caught:
        create_model(NAME, **{argument: value})
    assert str(caught.value) == reason


def test_a_count_may_be_an_integer_of_numpys():
    net = create_model(NAME, num_classes=np.int64(5), in_chans=np.uint8(2), device="meta")
    assert (net.num_classes, net.in_chans) == (5, 2)
    assert type(net.pretrained_cfg["num_classes"]) is int


@pytest.mark.parametrize(
    ("keyword", "nearest"),
    [
        ("drop_rat", "drop_rate"),
        ("pretraned", "pretrained"),
        ("numclasses", "num_classes"),
        ("in_channels", "in_chans"),
        ("growthrate", "growth_rate"),
        ("checkpoint", "checkpoint_path"),
    ],
)
def test_an_unknown_keyword_is_a_type_error_with_the_nearest_word(keyword, nearest):
    with pytest.raises(TypeError) as caught:
        create_model(NAME, **{keyword: 1})
    stated, _, hint = str(caught.value).partition("; did you mean ")
    assert stated == f"{NAME!r} takes no argument {keyword!r}"
    assert repr(nearest) in hint


def test_a_keyword_like_no_other_is_a_type_error_without_a_hint():
    with pytest.raises(TypeError, match=rf"^'{NAME}' takes no argument 'zzz'$"):
        create_model(NAME, zzz=1)


def test_keywords_of_the_net_reach_it():
    net = create_model(NAME, drop_rate=0.25, global_pool="max", base=3, device="meta")
    assert net.head.drop.p == 0.25
    assert net.global_pool == "max"
    assert net.stages[0].sources == create_model(NAME, base=3, device="meta").stages[0].sources
    assert net.stages[0].sources != create_model(NAME, device="meta").stages[0].sources


def test_a_value_that_the_net_refuses_raises_the_error_of_the_net():
    with pytest.raises(ValueError, match=r"global_pool must be one of .* got 'median'"):
        create_model(NAME, global_pool="median")


@pytest.mark.usefixtures("own_models")
def test_keywords_that_are_none_do_not_reach_the_net():
    received = {}

    @register_model
    def listening_net(**kwargs):
        received.update(kwargs)
        return SparseNet(depth=7, growth_rate=2, **kwargs)

    create_model("listening_net", num_classes=None, in_chans=None, drop_rate=None, base=4)
    assert received == {"base": 4}


def test_keywords_that_are_none_mean_the_default():
    net = create_model(NAME, num_classes=None, in_chans=None, drop_rate=None, global_pool=None, device=None)
    assert (net.num_classes, net.in_chans, net.global_pool) == (10, 3, "avg")


def test_pretrained_and_checkpoint_path_exclude_each_other(weights):
    with pytest.raises(ValueError, match=r"one of pretrained=True and checkpoint_path, not both"):
        create_model(NAME, pretrained=True, checkpoint_path=weights)


# Weights


@both_ways
def test_every_tensor_comes_from_the_file_and_the_net_is_in_train_mode(weights, trained, way):
    net = load(weights, way)
    assert differing(net, trained) == set()
    assert net.training
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}


@both_ways
def test_a_path_may_be_text(weights, trained, way):
    assert differing(load(str(weights), way), trained) == set()


def adapted_as_timm_does(weight: Tensor, in_chans: int) -> Tensor:
    if in_chans == 1:
        return weight[:, 0:1] + weight[:, 1:2] + weight[:, 2:3]
    channels = [weight[:, channel % 3] * (3 / in_chans) for channel in range(in_chans)]
    return torch.stack(channels, dim=1)


@both_ways
@pytest.mark.parametrize("in_chans", [1, 2, 3, 4, 6])
def test_weights_for_three_channels_are_adapted_as_timm_does(weights, trained, way, in_chans):
    net = load(weights, way, in_chans=in_chans)
    stem = net.state_dict()[STEM]
    assert stem.shape[1] == net.in_chans == in_chans
    torch.testing.assert_close(stem, adapted_as_timm_does(trained.state_dict()[STEM], in_chans))
    assert differing(net, trained) == (set() if in_chans == 3 else {STEM})


def test_a_grey_image_gets_the_same_answer_from_one_channel_as_from_three(weights, trained):
    grey = torch.rand(2, 1, 8, 8)
    net = create_model(NAME, checkpoint_path=weights, in_chans=1).eval()
    with torch.no_grad():
        torch.testing.assert_close(net(grey), trained(grey.expand(2, 3, 8, 8)), rtol=1e-4, atol=1e-4)


@both_ways
def test_weights_for_four_channels_are_not_adapted(tmp_path, way):
    path = tmp_path / "four.safetensors"
    save_weights(create_model(NAME, in_chans=4), path, {})
    with pytest.raises(ValueError, match=r"1 of another shape: stem\.conv\.weight") as caught:
        load(path, way)
    assert str(path) in str(caught.value)
    assert load(path, way, in_chans=4).in_chans == 4


@both_ways
def test_a_new_head_leaves_everything_else_as_in_the_file(weights, trained, way):
    net = load(weights, way, num_classes=7)
    assert differing(net, trained) == HEAD
    head = net.get_classifier()
    assert head.weight.shape == (7, net.head_hidden_size)
    assert head.weight.isfinite().all()
    assert head.weight.std() > 0
    assert torch.equal(head.bias, torch.zeros(7))


def test_a_saved_backbone_without_a_head_gets_a_new_one(tmp_path, trained, weights):
    save_pretrained(create_model(NAME, checkpoint_path=weights, num_classes=0), tmp_path)
    net = create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=5)
    assert net.num_classes == 5
    assert differing(net, trained) == HEAD
    net = create_model(NAME, checkpoint_path=tmp_path / "model.safetensors", num_classes=5)
    assert differing(net, trained) == HEAD


@both_ways
def test_asking_for_the_classes_of_the_file_keeps_its_head(weights, trained, way):
    assert differing(load(weights, way, num_classes=10), trained) == set()


@both_ways
def test_without_classes_the_features_are_those_of_the_weights(weights, trained, way):
    net = load(weights, way, num_classes=0).eval()
    assert differing(net, trained) == HEAD
    image = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        expected = trained.forward_head(trained.forward_features(image), pre_logits=True)
        torch.testing.assert_close(net(image), expected)


@both_ways
@pytest.mark.parametrize("num_classes", [None, 10, 7, 0])
def test_every_tensor_outside_the_head_must_be_in_the_file(tmp_path, trained, way, num_classes):
    lost = "stages.1.layers.2.norm1.running_mean"
    path = tmp_path / "holed.safetensors"
    save_file({name: tensor for name, tensor in trained.state_dict().items() if name != lost}, path)
    with pytest.raises(ValueError, match=r"does not fit the model: 1 missing: ") as caught:
        load(path, way, num_classes=num_classes)
    assert lost in str(caught.value)
    assert str(path) in str(caught.value)


@both_ways
@pytest.mark.parametrize("num_classes", [None, 7])
def test_no_tensor_of_the_file_may_be_left_over(tmp_path, trained, way, num_classes):
    path = tmp_path / "more.safetensors"
    save_file({**trained.state_dict(), "stages.3.extra": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"1 unexpected: stages\.3\.extra"):
        load(path, way, num_classes=num_classes)


@pytest.mark.usefixtures("own_models")
def test_pretrained_loads_the_weights_of_the_tag(tmp_path):
    nets, cfgs = {}, {}
    for tag, classes in (("seven", 7), ("four", 4)):
        nets[tag] = scrambled(SparseNet(depth=7, growth_rate=2, num_classes=classes))
        save_weights(nets[tag], tmp_path / tag, {})
        cfgs[tag] = PretrainedCfg("two_tag_net", tag, file=str(tmp_path / tag), num_classes=classes)

    @register_model(pretrained_cfgs=cfgs)
    def two_tag_net(**kwargs):
        return SparseNet(depth=7, growth_rate=2, **kwargs)

    assert differing(create_model("two_tag_net.four", pretrained=True), nets["four"]) == set()
    assert differing(create_model("two_tag_net", pretrained=True), nets["seven"]) == set()


@pytest.mark.usefixtures("own_models")
def test_a_tag_without_weights_names_the_tags_that_have_them():
    cfgs = {
        tag: PretrainedCfg("some_net", tag, file=file)
        for tag, file in (("none", None), ("one", "a.safetensors"), ("two", "b.safetensors"))
    }

    @register_model(pretrained_cfgs=cfgs)
    def some_net(**kwargs):
        return SparseNet(depth=7, growth_rate=2, **kwargs)

    with pytest.raises(ValueError, match=r"^'some_net\.none' has no pretrained weights") as caught:
        create_model("some_net", pretrained=True)
    assert "tags with weights: some_net.one, some_net.two" in str(caught.value)
    assert "list_pretrained()" in str(caught.value)
    fault("pretrained=True of a tag without weights", str(caught.value), "nothing")


@pytest.mark.usefixtures("own_models")
def test_a_net_without_any_weights_says_so():
    @register_model
    def bare_net(**kwargs):
        return SparseNet(depth=7, growth_rate=2, **kwargs)

    with pytest.raises(ValueError, match=r"^'bare_net' has no pretrained weights; none of its tags has any"):
        create_model("bare_net", pretrained=True)


# The configuration on the net


def test_the_overlay_replaces_keys_for_this_net_alone():
    before = get_pretrained_cfg(NAME)
    overlay = dict(mean=(0.1, 0.2, 0.3), crop_pct=0.9, num_classes=10)
    net = create_model(NAME, pretrained_cfg_overlay=overlay, device="meta")
    no_figures = dict(top1=None, top5=None, loss=None)  # they were measured with another mean
    assert net.pretrained_cfg == {**dataclasses.asdict(before), **overlay, **no_figures}
    assert get_pretrained_cfg(NAME) == before


def test_the_overlays_classes_are_those_of_the_net():
    net = create_model(NAME, pretrained_cfg_overlay=dict(num_classes=5), device="meta")
    assert net.num_classes == 5


def test_an_overlaid_file_is_recorded_on_the_net(weights):
    net = create_model(NAME, pretrained=True, pretrained_cfg_overlay=dict(file=weights))
    assert net.pretrained_cfg["file"] == str(weights)


@pytest.mark.usefixtures("own_models")
def test_the_loaded_file_is_recorded_where_reading_the_configuration_returns_a_copy(weights):
    class CopyingNet(SparseNet):
        def __setattr__(self, name, value):
            if name == "pretrained_cfg":
                object.__setattr__(self, "_cfg", value)
            else:
                super().__setattr__(name, value)

        pretrained_cfg = property(lambda self: dict(self._cfg))

    @register_model
    def copying_net(**kwargs):
        return CopyingNet(depth=40, growth_rate=12, bottleneck=True, **kwargs)

    overlay = dict(file=weights, num_classes=10)
    net = create_model("copying_net", pretrained=True, pretrained_cfg_overlay=overlay)
    assert net.pretrained_cfg["file"] == str(weights)


@pytest.mark.usefixtures("own_models")
def test_an_overlaid_file_is_not_held_against_the_tags_sha256(weights, trained):
    cfg = PretrainedCfg("own_net", "own", file="old.safetensors", sha256="0" * 64, num_classes=10)

    @register_model(pretrained_cfgs={"own": cfg})
    def own_net(**kwargs):
        return SparseNet(depth=40, growth_rate=12, bottleneck=True, **kwargs)

    net = create_model("own_net", pretrained=True, pretrained_cfg_overlay=dict(file=weights))
    assert differing(net, trained) == set()


def test_a_file_may_be_in_the_home_folder(weights, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copy(weights, tmp_path / "own.safetensors")
    net = create_model(NAME, pretrained=True, pretrained_cfg_overlay=dict(file="~/own.safetensors"))
    assert differing(net, trained) == set()
    assert target_path("~/net.pt2", "pt2") == tmp_path / "net.pt2"


def test_the_file_of_the_overlay_is_not_read_without_pretrained():
    net = create_model(NAME, pretrained_cfg_overlay=dict(file="/nowhere/at/all.safetensors"), device="meta")
    assert net.pretrained_cfg["file"] == "/nowhere/at/all.safetensors"


@pytest.mark.parametrize(("key", "hint"), [("fyle", "'file'"), ("nclasses", "'num_classes'")])
def test_an_unknown_overlay_key_is_refused_with_the_nearest(key, hint):
    with pytest.raises(
        ValueError, match=rf"unknown key '{key}' in pretrained_cfg_overlay; did you"
    ) as caught:
        create_model(NAME, pretrained_cfg_overlay={key: 1})
    assert hint in str(caught.value)


TIMM_KEYS = {
    *("architecture", "tag", "file", "input_size", "min_input_size", "fixed_input_size", "pool_size"),
    *("interpolation", "crop_pct", "crop_mode", "mean", "std", "num_classes", "label_names"),
    *("first_conv", "classifier", "license", "paper_ids"),
}
OUR_KEYS = {"sha256", "top1", "num_params", "data", "recipe", "epochs", "seed", "library_version"}


@pytest.mark.parametrize("name", [NAME, "densenet_40_k12.cifar100", "sparsenet121"])
def test_pretrained_cfg_and_default_cfg_are_dicts_with_timms_keys_and_ours(name):
    net = create_model(name, device="meta")
    assert type(net.pretrained_cfg) is dict
    assert net.pretrained_cfg.keys() >= TIMM_KEYS | OUR_KEYS
    assert net.default_cfg == net.pretrained_cfg == get_pretrained_cfg(name).to_dict()


def test_a_configuration_of_another_kind_is_refused():
    with pytest.raises(TypeError, match=r"must be a tag, .* or a dict of its fields, got a types\.Simple"):
        create_model(NAME, pretrained=True, pretrained_cfg=SimpleNamespace(file="mine.safetensors"))


def test_an_empty_checkpoint_path_stands_for_none():
    assert create_model(NAME, pretrained=True, checkpoint_path="").pretrained_cfg["tag"] == "cifar10"


def test_an_untrained_head_of_a_loaded_file_is_told(weights, caplog):
    create_model(NAME, checkpoint_path=weights, num_classes=7)
    assert "has no head for so many classes: the model keeps its own, untrained" in caplog.text


def test_the_size_of_the_last_map_is_left_out_where_a_stride_changes_it(tmp_path):
    assert create_model(NAME, device="meta").pretrained_cfg["pool_size"] == (8, 8)
    for changed in (dict(output_stride=1), dict(stem="imagenet")):
        assert create_model(NAME, device="meta", **changed).pretrained_cfg["pool_size"] is None
    save_pretrained(create_model(NAME, output_stride=1), tmp_path)
    assert create_model(f"local-dir:{tmp_path}").pretrained_cfg["pool_size"] is None


@pytest.mark.parametrize("arguments", [{"num_classes": 5}, {"in_chans": 1}, {"growth_rate": 8}])
def test_costs_that_were_counted_of_another_net_are_left_out(arguments):
    cfg = create_model(NAME, device="meta", **arguments).pretrained_cfg
    assert (cfg["num_params"], cfg["macs"]) == (None, None)


@few_examples
@given(in_chans=st.integers(1, 8), tag=st.sampled_from(["cifar10", "cifar100"]))
def test_mean_and_std_follow_the_channels(in_chans, tag):
    cfg = get_pretrained_cfg(f"{NAME}.{tag}")
    net = create_model(f"{NAME}.{tag}", in_chans=in_chans, device="meta")
    for key in ("mean", "std"):
        three = getattr(cfg, key)
        expected = [sum(three) / 3] if in_chans == 1 else [three[index % 3] for index in range(in_chans)]
        assert net.pretrained_cfg[key] == pytest.approx(expected)
    assert resolve_data_config(net)["input_size"] == (in_chans, 32, 32)


def test_a_net_for_grey_images_gets_a_transform_for_grey_images():
    net = create_model(NAME, in_chans=1, device="meta")
    tensor = create_transform(**resolve_data_config(net))(Image.new("L", (32, 32)))
    assert tensor.shape == (1, 32, 32)


def test_class_names_are_kept_only_for_the_classes_they_belong_to():
    assert create_model(NAME, num_classes=10, device="meta").pretrained_cfg["label_names"][0] == "airplane"
    cfg = create_model(NAME, num_classes=11, device="meta").pretrained_cfg
    assert (cfg["num_classes"], cfg["label_names"]) == (11, None)


# Nets of other people


class OwnNet(nn.Module):
    def __init__(self, width: int = 8, num_classes: int = 10) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.conv = nn.Conv2d(3, width, 3)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).mean((2, 3)))


@pytest.mark.usefixtures("own_models")
def test_a_function_written_for_timm_works(tmp_path):
    asked = []

    @register_model
    def timm_net(pretrained=False, **kwargs):
        asked.append(pretrained)
        return OwnNet(**kwargs)

    net = create_model("timm_net", num_classes=4, width=6, dtype=torch.float64)
    assert net(torch.zeros(1, 3, 8, 8, dtype=torch.float64)).shape == (1, 4)
    assert net.conv.out_channels == 6
    assert net.pretrained_cfg["architecture"] == "timm_net"
    assert net.pretrained_cfg["num_classes"] == 4
    assert create_model("timm_net").num_classes == 10

    path = tmp_path / "own.pt"
    torch.save(net.state_dict(), path)
    overlay = dict(file=path)
    loaded = create_model("timm_net", pretrained=True, num_classes=4, width=6, pretrained_cfg_overlay=overlay)
    assert differing(loaded.double(), net) == set()
    assert asked == [False] * 3  # loading is create_model's, whatever the function would do
    with pytest.raises(TypeError, match=r"depth"):
        create_model("timm_net", depth=40)


@pytest.mark.usefixtures("own_models")
def test_a_net_without_an_attribute_num_classes_loads_and_predicts(tmp_path):
    class Bare(nn.Module):
        def __init__(self, num_classes: int = 3) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 1), nn.Linear(4, num_classes)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.conv(x).mean(dim=(2, 3)))

    cfg = PretrainedCfg(classifier="fc", first_conv="conv", num_classes=3, label_names=("a", "b", "c"))

    @register_model(pretrained_cfgs={"own": cfg})
    def bare_net(num_classes=3):
        return Bare(num_classes)

    save_file(Bare().state_dict(), tmp_path / "bare")
    net = create_model("bare_net.own", checkpoint_path=tmp_path / "bare")
    Image.new("RGB", (8, 8)).save(tmp_path / "image.png")
    (answer,) = predict(net, [tmp_path / "image.png"])
    assert {label for label, _ in answer.labels} == {"a", "b", "c"}
    other = create_model("bare_net.own", checkpoint_path=tmp_path / "bare", num_classes=5)
    assert other.fc.out_features == 5
    assert (other.pretrained_cfg["num_classes"], other.pretrained_cfg["label_names"]) == (5, None)
    save_weights(net, tmp_path / "named", {"class_names": '["d", "e", "f"]'})
    with pytest.raises(
        ValueError, match=r"has as many classes under other names, and a Bare has no reset_cl"
    ):
        start_from(str(tmp_path / "named"), net, ("a", "b", "c"))


@pytest.mark.usefixtures("own_models")
def test_a_function_with_named_arguments_gets_no_other():
    @register_model
    def named_net(width=8, num_classes=10):
        return OwnNet(width, num_classes)

    assert create_model("named_net", width=3).conv.out_channels == 3
    with pytest.raises(TypeError, match=r"^'named_net' takes no argument 'widht'; did you mean 'width'"):
        create_model("named_net", widht=3)
    with pytest.raises(TypeError, match=r"^'named_net' takes no argument 'in_chans'"):
        create_model("named_net", in_chans=1)


def test_the_arguments_are_those_of_the_issue():
    parameters = inspect.signature(create_model).parameters
    assert list(parameters)[:2] == ["model_name", "pretrained"]
    keywords = {name for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    assert keywords >= {"num_classes", "in_chans", "checkpoint_path", "pretrained_cfg_overlay"}
    assert keywords >= {"cache_dir", "device", "dtype"}


def test_a_new_head_has_no_figures_of_the_old_one():
    assert create_model("sparsenet_bc_40_k12.cifar10", pretrained=True).pretrained_cfg["top1"] > 90
    changed = create_model("sparsenet_bc_40_k12.cifar10", pretrained=True, num_classes=5).pretrained_cfg
    assert [changed[key] for key in ("top1", "top5", "loss", "label_names")] == [None] * 4


def test_a_classifier_may_be_counted_in_numpy_integers(tmp_path):
    net = create_model("sparsenet_bc_40_k12")
    net.reset_classifier(np.int64(5))
    save_pretrained(net, tmp_path / "five")
    assert create_model(f"local-dir:{tmp_path / 'five'}", pretrained=True).num_classes == 5


def test_features_only_leaves_the_head_out_of_account():
    create_model("sparsenet_bc_40_k12", features_only=True, global_pool="")
    weights = get_pretrained_cfg("sparsenet_bc_40_k12.cifar100").file
    assert create_model("sparsenet_bc_40_k12.cifar10", features_only=True, checkpoint_path=weights)


def test_a_feature_net_is_neither_exported_nor_saved_as_a_folder(tmp_path):
    backbone = create_model("sparsenet_bc_40_k12", features_only=True)
    with pytest.raises(ValueError, match=r"a FeatureNet.s list of maps goes through torch\.export"):
        export_model(backbone, tmp_path / "f.pt2", "pt2")
    with pytest.raises(ValueError, match=r"save its state_dict, or the whole net"):
        save_pretrained(backbone, tmp_path / "f")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "pretrained_cfg",
    ["cifar100", get_pretrained_cfg(f"{NAME}.cifar100"), get_pretrained_cfg(f"{NAME}.cifar100").to_dict()],
    ids=["tag", "PretrainedCfg", "dict"],
)
def test_pretrained_cfg_takes_the_place_of_the_tag(pretrained_cfg):
    net = create_model(NAME, pretrained=True, pretrained_cfg=pretrained_cfg)
    same = create_model(f"{NAME}.cifar100", pretrained=True)
    assert net.pretrained_cfg == same.pretrained_cfg
    assert torch.equal(net.head.fc.weight, same.head.fc.weight)


@pytest.mark.parametrize("kind", ["PretrainedCfg", "dict", "overlay"])
def test_a_configuration_of_another_net_does_not_change_the_name_of_the_net(kind):
    cfg = get_pretrained_cfg("resnet_20.cifar10")
    given = {
        "PretrainedCfg": dict(pretrained_cfg=cfg),
        "dict": dict(pretrained_cfg=cfg.to_dict()),
        "overlay": dict(pretrained_cfg_overlay=cfg.to_dict()),
    }
    net = create_model(NAME, device="meta", **given[kind])
    assert net.pretrained_cfg["architecture"] == NAME


def test_a_file_without_names_keeps_those_of_the_configuration_that_was_given(tmp_path):
    save_file(create_model(NAME, num_classes=2).state_dict(), tmp_path / "own")
    cfg = dict(num_classes=2, label_names=("cat", "dog"))
    net = create_model(NAME, checkpoint_path=tmp_path / "own", pretrained_cfg=cfg)
    assert net.pretrained_cfg["label_names"] == ("cat", "dog")


def test_a_dict_keeps_the_images_of_the_net_and_not_its_weights():
    own = create_model(f"{NAME}.cifar100", device="meta")
    given = dict(label_names=("cat", "dog"), num_classes=2)
    net = create_model(f"{NAME}.cifar100", device="meta", pretrained_cfg=given)
    assert resolve_data_config(net) == resolve_data_config(own)
    for key in ("min_input_size", "pool_size", "first_conv", "classifier"):
        assert net.pretrained_cfg[key] == own.pretrained_cfg[key] is not None
    assert net.pretrained_cfg["label_names"] == ("cat", "dog")
    assert {net.pretrained_cfg[key] for key in ("file", "sha256", "top1", "data", "epochs")} == {None}
    larger = create_model(NAME, device="meta", pretrained_cfg=dict(input_size=(3, 64, 64)))
    assert (larger.pretrained_cfg["input_size"], larger.pretrained_cfg["pool_size"]) == ((3, 64, 64), None)


def test_a_classifier_put_in_by_hand_has_no_names_of_the_old_classes(tmp_path):
    net = create_model(f"{NAME}.cifar10", pretrained=True)
    net.head.fc = nn.Linear(net.head_hidden_size, 5)
    cfg = pretrained_cfg_of(net)
    assert (cfg.num_classes, cfg.label_names, cfg.top1) == (5, None, None)
    with pytest.raises(ValueError, match="SparseNet has no names for its 5 classes"):
        list(predict(net, ["image.png"]))
    save_pretrained(net, tmp_path)
    again = create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert differing(again, net) == set()
    assert again.pretrained_cfg["label_names"] is None
    assert "class_names" not in read_metadata(tmp_path / "model.safetensors")


def test_a_new_place_of_the_weights_forgets_the_old_one():
    pinned = PretrainedCfg(
        hf_hub_id="org/a", revision="1" * 40, hf_hub_filename="a.safetensors", sha256="2" * 64
    )
    other = pinned.overlaid(dict(hf_hub_id="org/b"))
    assert (other.hf_hub_id, other.revision, other.hf_hub_filename, other.sha256) == (
        "org/b",
        None,
        None,
        None,
    )
    assert pinned.overlaid(dict(file="own.safetensors")).hf_hub_id is None
    assert pinned.overlaid(dict(revision="main")).hf_hub_id == "org/a"
    assert pinned.overlaid(dict(file=None)).hf_hub_id == "org/a"


@pytest.mark.parametrize(
    ("name", "pretrained_cfg", "message"),
    [
        (NAME, "cifar1000", "unknown tag 'cifar1000' .* did you mean 'cifar100'"),
        (f"{NAME}.cifar10", "cifar100", "is a tag, which '.*cifar10' does not take"),
        (NAME, {"maen": 0}, "unknown key 'maen' in pretrained_cfg; did you mean 'mean'"),
    ],
)
def test_a_pretrained_cfg_that_cannot_be_is_refused_by_name(name, pretrained_cfg, message):
    with pytest.raises(ValueError, match=message):
        create_model(name, pretrained_cfg=pretrained_cfg)
