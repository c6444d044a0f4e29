"""Names, tags, listings and configurations of registered models."""

import dataclasses
import fnmatch
import inspect
import json
import re
import string
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import sparsenet_models
from sparsenet_models import (
    DenseNet,
    PretrainedCfg,
    ResNet,
    SparseNet,
    create_model,
    get_pretrained_cfg,
    is_model,
    list_models,
    list_pretrained,
    model_entrypoint,
    register_model,
    resolve_data_config,
    split_model_name_tag,
)
from sparsenet_models.models.registry import (
    module_of,
    register_cards,
    register_model_deprecations,
    resolve,
    temporary_registry,
)

SHAPES = (
    *("40_k12", "40_k24", "100_k12", "100_k24", "100_k36"),
    *("bc_40_k12", "bc_100_k12", "bc_100_k16", "bc_100_k24", "bc_100_k36", "bc_100_k64"),
    *("bc_100_k16_32_64", "bc_100_k32_64_128"),
)
CIFAR_NETS = [f"{family}_{shape}" for family in ("sparsenet", "densenet") for shape in SHAPES]
IMAGENET_NETS = [
    *("sparsenet121", "sparsenet161", "sparsenet169"),
    *("sparsenet201", "sparsenet201_k48", "sparsenet264"),
]

few_examples = settings(max_examples=50, deadline=None)


def entrypoint_named(name: str):
    def build(**kwargs) -> nn.Module:
        return SparseNet(depth=7, growth_rate=2, **kwargs)

    build.__name__ = name
    return build


def tagged(architecture: str, **file_of_tag: str | None) -> dict[str, PretrainedCfg]:
    return {
        tag: PretrainedCfg(architecture=architecture, tag=tag, file=file) for tag, file in file_of_tag.items()
    }


def suggested_names(message: str) -> list[str]:
    _, _, hint = message.partition("; did you mean ")
    return re.findall(r"'([^']+)'", hint)


# Listings


def test_every_name_of_the_design_is_listed():
    assert set(CIFAR_NETS + IMAGENET_NETS) <= set(list_models())


def test_names_are_listed_once_and_without_tags_by_default():
    names = list_models()
    assert len(names) == len(set(names))
    assert not any("." in name for name in names)


def test_names_come_in_natural_order():
    assert list_models("sparsenet_*k12") == [
        "sparsenet_40_k12",
        "sparsenet_100_k12",
        "sparsenet_bc_40_k12",
        "sparsenet_bc_100_k12",
    ]
    assert list_models("densenet_bc_100_*") == [
        "densenet_bc_100_k12",
        "densenet_bc_100_k16",
        "densenet_bc_100_k16_32_64",
        "densenet_bc_100_k24",
        "densenet_bc_100_k32_64_128",
        "densenet_bc_100_k36",
        "densenet_bc_100_k64",
    ]


@few_examples
@given(sizes=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), min_size=1, unique=True))
def test_numbers_in_names_sort_by_their_value(sizes):
    with temporary_registry():
        for depth, width in sizes:
            register_model(entrypoint_named(f"sortednet_{depth}_w{width}"))
        assert list_models("sortednet_*") == [f"sortednet_{depth}_w{width}" for depth, width in sorted(sizes)]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("sparsenet_40_k12", ["sparsenet_40_k12"]),
        ("sparsenet_40_*", ["sparsenet_40_k12", "sparsenet_40_k24"]),
        ("sparsenet_bc_100_k?4", ["sparsenet_bc_100_k24", "sparsenet_bc_100_k64"]),
        ("*net_40_k24", ["densenet_40_k24", "sparsenet_40_k24"]),
        ("sparsenet2*", ["sparsenet201", "sparsenet201_k48", "sparsenet264"]),
        (["sparsenet_40_k24", "densenet_40_k24"], ["densenet_40_k24", "sparsenet_40_k24"]),
        (("sparsenet121", "", "sparsenet1?1"), ["sparsenet121", "sparsenet161"]),
    ],
)
def test_a_filter_is_one_wildcard_pattern_or_several(pattern, names):
    assert list_models(pattern) == names


@pytest.mark.parametrize("pattern", ["", "*", [], [""], ("*", "sparsenet121")])
def test_an_empty_filter_and_a_star_match_everything(pattern):
    assert list_models(pattern) == list_models()


PATTERNS = st.lists(
    st.sampled_from(["*", "sparsenet*", "dense*", "*bc*", "*_k12", "*k?4", "sparsenet1*", "none", "*_40_*"]),
    max_size=3,
)


@few_examples
@given(included=PATTERNS, excluded=PATTERNS)
def test_a_name_is_listed_when_some_filter_matches_and_no_exclude_filter_does(included, excluded):
    def matches(name, patterns):
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

    expected = [
        name
        for name in list_models()
        if (not included or matches(name, included)) and not matches(name, excluded)
    ]
    assert list_models(included, exclude_filters=excluded) == expected


def test_a_module_lists_the_nets_of_its_file_alone():
    assert set(list_models(module="resnet")) == set(list_models(["resnet_*", "sparse_resnet_*"]))
    assert list_models("*_20", module=["resnet", "fractalnet"]) == ["resnet_20", "sparse_resnet_20"]
    assert list_models("*_20", "resnet", True) == list_pretrained(
        ["resnet_20", "sparse_resnet_20"]
    )  # timm's order
    assert list_models(None, None) == list_models()
    assert list_models(module="vit") == []


def test_one_exclude_filter_may_be_a_plain_string():
    assert list_models("*_40_*", exclude_filters="*k24") == [
        "densenet_40_k12",
        "densenet_bc_40_k12",
        "sparsenet_40_k12",
        "sparsenet_bc_40_k12",
    ]


def test_nothing_matching_gives_an_empty_list():
    assert list_models("resnext*") == []
    assert list_models("sparsenet_40_k12", exclude_filters="*") == []
    assert list_pretrained("resnext*") == []


def test_include_tags_lists_every_tag_of_every_name():
    assert list_models("densenet_40_*", include_tags=True) == [
        "densenet_40_k12.cifar10",
        "densenet_40_k12.cifar100",
        "densenet_40_k24.cifar10",
        "densenet_40_k24.cifar100",
    ]


@pytest.mark.parametrize("name", IMAGENET_NETS)
def test_nets_for_photographs_have_a_tag_for_the_200_classes_of_tiny_imagenet_in_words(name):
    assert get_pretrained_cfg(name).tag == "in1k"
    cfg = get_pretrained_cfg(f"{name}.tiny_imagenet")
    assert (cfg.input_size, cfg.num_classes) == ((3, 64, 64), 200)
    assert len(set(cfg.label_names)) == 200
    assert cfg.label_names[:2] == ("goldfish", "European fire salamander")
    net = create_model(cfg.name, device="meta")
    assert net.head.fc.out_features == 200
    assert net.forward_features(torch.zeros(1, *cfg.input_size, device="meta")).shape[2:] == cfg.pool_size


def test_a_filter_without_a_tag_matches_all_tags_and_one_with_a_tag_only_that():
    both = ["sparsenet_40_k12.cifar10", "sparsenet_40_k12.cifar100"]
    assert list_models("sparsenet_40_k12", include_tags=True) == both
    assert list_models("sparsenet_40_k12.*", include_tags=True) == both
    assert list_models("sparsenet_40_k12.cifar100", include_tags=True) == both[1:]
    assert set(list_models("*.cifar100", include_tags=True)) >= {f"{name}.cifar100" for name in CIFAR_NETS}


@pytest.mark.usefixtures("own_models")
def test_a_filter_with_a_tag_does_not_match_a_longer_tag():
    cfgs = {tag: PretrainedCfg(architecture="ownnet", tag=tag) for tag in ("a", "a.b")}
    register_model(pretrained_cfgs=cfgs)(entrypoint_named("ownnet"))
    assert list_models("ownnet.a", include_tags=True) == ["ownnet.a"]
    assert list_models("ownnet", include_tags=True) == ["ownnet.a", "ownnet.a.b"]


def test_an_exclude_filter_without_a_tag_leaves_out_all_tags():
    names = list_models("sparsenet_40_*", exclude_filters="*_k12", include_tags=True)
    assert names == ["sparsenet_40_k24.cifar10", "sparsenet_40_k24.cifar100"]
    names = list_models("sparsenet_40_k12", exclude_filters="*.cifar10", include_tags=True)
    assert names == ["sparsenet_40_k12.cifar100"]


@pytest.mark.usefixtures("own_models")
def test_pretrained_lists_only_what_has_weights_with_its_tag():
    register_model(pretrained_cfgs=tagged("ownnet_a", none=None, some="a.safetensors"))(
        entrypoint_named("ownnet_a")
    )
    register_model(pretrained_cfgs=tagged("ownnet_b", none=None))(entrypoint_named("ownnet_b"))
    register_model(entrypoint_named("ownnet_c"))
    assert list_models("ownnet_*") == ["ownnet_a", "ownnet_b", "ownnet_c"]
    assert list_models("ownnet_*", pretrained=True) == ["ownnet_a.some"]
    assert list_pretrained("ownnet_*") == ["ownnet_a.some"]
    assert list_pretrained("ownnet_*", exclude_filters="*.some") == []


@pytest.mark.usefixtures("own_models")
def test_include_tags_follows_pretrained_unless_it_is_given():
    register_model(pretrained_cfgs=tagged("ownnet", some="a.safetensors", none=None))(
        entrypoint_named("ownnet")
    )
    assert list_models("ownnet") == ["ownnet"]
    assert list_models("ownnet", include_tags=True) == ["ownnet.none", "ownnet.some"]
    assert list_models("ownnet", pretrained=True) == ["ownnet.some"]
    assert list_models("ownnet", pretrained=True, include_tags=False) == ["ownnet"]
    register_model(pretrained_cfgs=tagged("othernet", none=None, some="a.safetensors"))(
        entrypoint_named("othernet")
    )
    assert list_models("othernet", pretrained=True) == ["othernet.some"]
    assert list_models("othernet", pretrained=True, include_tags=False) == []  # its first tag has none
    assert "resnet_20" in list_models(pretrained=True, include_tags=False)


def test_every_listed_pretrained_name_has_a_file_to_load():
    assert list_pretrained() == list_models(pretrained=True)
    with_weights = {name for name in list_models(include_tags=True) if get_pretrained_cfg(name).has_weights}
    assert set(list_pretrained()) == with_weights
    assert all(Path(get_pretrained_cfg(name).file).is_file() for name in with_weights)


@pytest.mark.usefixtures("own_models")
def test_a_net_without_tags_is_listed_by_its_bare_name_among_tags():
    register_model(entrypoint_named("ownnet"))
    assert list_models("ownnet", include_tags=True) == ["ownnet"]


# Registering


@pytest.mark.usefixtures("own_models")
def test_the_bare_decorator_registers_a_function_under_its_name():
    @register_model
    def bare_net(**kwargs):
        return SparseNet(depth=7, growth_rate=2, **kwargs)

    assert is_model("bare_net")
    assert model_entrypoint("bare_net") is bare_net
    assert isinstance(bare_net(num_classes=4), SparseNet)
    assert create_model("bare_net", num_classes=4).num_classes == 4


@pytest.mark.usefixtures("own_models")
def test_the_decorator_with_arguments_registers_tags_the_first_being_the_default():
    cfgs = tagged("flower_net", petals=None, leaves=None)

    @register_model(pretrained_cfgs=cfgs)
    def flower_net(**kwargs):
        return SparseNet(depth=7, growth_rate=2, **kwargs)

    assert model_entrypoint("flower_net.leaves") is flower_net
    assert get_pretrained_cfg("flower_net") == cfgs["petals"]
    assert get_pretrained_cfg("flower_net.leaves") == cfgs["leaves"]


@pytest.mark.usefixtures("own_models")
def test_a_taken_name_is_refused_and_the_first_net_stays():
    first = register_model(pretrained_cfgs=tagged("twice_net", old=None))(entrypoint_named("twice_net"))
    with pytest.raises(ValueError, match=r"'twice_net' is registered already.*override=True"):
        register_model(entrypoint_named("twice_net"))
    assert model_entrypoint("twice_net") is first
    assert get_pretrained_cfg("twice_net").tag == "old"


@pytest.mark.usefixtures("own_models")
def test_a_name_of_the_library_is_taken_too():
    with pytest.raises(ValueError, match=r"'sparsenet_40_k12' is registered already"):
        register_model(entrypoint_named("sparsenet_40_k12"))


@pytest.mark.usefixtures("own_models")
def test_override_replaces_the_net_and_its_tags():
    register_model(pretrained_cfgs=tagged("twice_net", old=None))(entrypoint_named("twice_net"))
    second = entrypoint_named("twice_net")
    register_model(pretrained_cfgs=tagged("twice_net", new=None), override=True)(second)
    assert model_entrypoint("twice_net") is second
    assert list_models("twice_net", include_tags=True) == ["twice_net.new"]


@pytest.mark.usefixtures("own_models")
@pytest.mark.parametrize("name", ["dotted.net", ".net", "net.", ""])
def test_a_name_with_a_dot_or_none_at_all_is_refused(name):
    with pytest.raises(ValueError, match=r"under its function's name, an identifier") as caught:
        register_model(entrypoint_named(name))
    assert "entrypoint_named" in str(caught.value)
    assert not is_model(name)


# Looking up


def test_is_model_knows_names_and_leaves_the_tag_aside():
    assert is_model("sparsenet_bc_40_k12")
    assert is_model("sparsenet_bc_40_k12.cifar100")
    assert not is_model("sparsenet_bc_40_k13")
    assert not is_model("sparsenet_bc_40_*")
    assert not is_model("")


@pytest.mark.parametrize("name", ["sparsenet_bc_40_k12", "sparsenet_bc_40_k12.cifar100"])
def test_model_entrypoint_is_a_function_that_builds_the_net(name):
    entrypoint = model_entrypoint(name)
    assert entrypoint.__name__ == "sparsenet_bc_40_k12"
    net = entrypoint(num_classes=3)
    assert isinstance(net, sparsenet_models.SparseNet)
    assert net.num_classes == 3


@pytest.mark.parametrize(
    ("name", "net"),
    [("sparsenet121", SparseNet), ("densenet_40_k12", DenseNet), ("sparse_resnet_20", ResNet)],
)
def test_an_entrypoint_has_the_module_signature_and_name_of_its_family(name, net):
    entrypoint = model_entrypoint(name)
    assert entrypoint is model_entrypoint(name)
    assert entrypoint.__module__ == net.__module__ == module_of(name)
    assert inspect.signature(entrypoint) == inspect.signature(net)
    assert entrypoint.__doc__.startswith(f"{net.__name__} with {{")


LOOKUPS = [model_entrypoint, get_pretrained_cfg, create_model]


@pytest.mark.parametrize("lookup", LOOKUPS)
@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("sparsenet_bc_40_k21", "sparsenet_bc_40_k12"),
        ("sparsnet_bc_100_k24", "sparsenet_bc_100_k24"),
        ("DenseNet_40_k12", "densenet_40_k12"),
        ("sparsenet-121.in1k", "sparsenet121"),
        ("SPARSENET121", "sparsenet121"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_and_where_to_find_all(lookup, wrong, right):
    with pytest.raises(ValueError, match=r"^unknown model ") as caught:
        lookup(wrong)
    message = str(caught.value)
    assert repr(wrong.partition(".")[0]) in message
    assert right in suggested_names(message)
    assert "list_models()" in message


TYPED_AT_RANDOM = st.text(string.ascii_lowercase + string.digits + "_", max_size=25)
MISTYPED = st.tuples(st.sampled_from(CIFAR_NETS), st.integers(0, 15)).map(
    lambda typed: typed[0][: typed[1]] + typed[0][typed[1] + 1 :]  # one letter left out
)


@few_examples
@given(name=st.one_of(TYPED_AT_RANDOM, MISTYPED).filter(lambda name: not is_model(name)))
def test_at_most_three_names_are_suggested_and_all_of_them_exist(name):
    with pytest.raises(ValueError, match=r"list_models\(\)") as caught:
        model_entrypoint(name)
    suggested = suggested_names(str(caught.value))
    assert len(suggested) <= 3
    assert all(map(is_model, suggested))


@few_examples
@given(architecture=st.text().filter(lambda text: "." not in text), tag=st.text())
def test_a_name_is_split_at_its_first_dot(architecture, tag):
    assert split_model_name_tag(f"{architecture}.{tag}") == (architecture, tag)
    assert split_model_name_tag(architecture) == (architecture, "")


# Pretrained configurations


def test_a_pretrained_cfg_is_a_frozen_dataclass():
    cfg = get_pretrained_cfg("sparsenet_40_k12")
    assert isinstance(cfg, PretrainedCfg)
    with pytest.raises(dataclasses.FrozenInstanceError):
        cfg.num_classes = 7
    for field in dataclasses.fields(cfg):
        hash(getattr(cfg, field.name))  # no field is a list or a dict that could be changed in place


def test_the_dict_on_a_net_is_not_the_registrys_own():
    net = create_model("sparsenet_40_k12", device="meta")
    net.pretrained_cfg["mean"] = "changed"
    assert get_pretrained_cfg("sparsenet_40_k12").mean == (0.4914, 0.4822, 0.4465)
    assert create_model("sparsenet_40_k12", device="meta").pretrained_cfg["mean"] == (0.4914, 0.4822, 0.4465)


@pytest.mark.parametrize("lookup", [get_pretrained_cfg, create_model])
@pytest.mark.parametrize("tag", ["cifar", "imagenet", "CIFAR10", "cifar10.a"])
def test_an_unknown_tag_is_answered_with_the_tags_there_are(lookup, tag):
    with pytest.raises(ValueError, match=r"its tags: 'cifar10', 'cifar100'$") as caught:
        lookup(f"sparsenet_40_k12.{tag}")
    assert f"unknown tag {tag!r} of 'sparsenet_40_k12'" in str(caught.value)


def test_a_near_tag_is_suggested():
    with pytest.raises(ValueError, match=r"did you mean 'cifar10'"):
        get_pretrained_cfg("sparsenet_40_k12.cifar_10")


@pytest.mark.usefixtures("own_models")
def test_a_configuration_that_gives_the_default_size_is_one():
    given = PretrainedCfg(num_classes=5, input_size=(3, 224, 224))
    register_model(pretrained_cfgs={"own": given})(entrypoint_named("ownnet"))
    cfg = get_pretrained_cfg("ownnet.own")
    assert (cfg.has_data_config, cfg.input_size) == (True, (3, 224, 224))
    assert resolve_data_config(cfg)["mean"] == (0.485, 0.456, 0.406)
    assert not PretrainedCfg(num_classes=5).has_data_config
    assert PretrainedCfg(crop_pct=1.0).input_size == (3, 224, 224)


@pytest.mark.usefixtures("own_models")
def test_a_configuration_of_classes_and_licence_says_nothing_of_images():
    given = PretrainedCfg(label_names=("cat", "dog"), num_classes=2, license="MIT")
    register_model(pretrained_cfgs={"own": given})(entrypoint_named("ownnet"))
    assert not get_pretrained_cfg("ownnet").has_data_config
    cfg = create_model("ownnet").pretrained_cfg
    assert (cfg["label_names"], cfg["license"], cfg["tag"]) == (("cat", "dog"), "MIT", "own")
    assert cfg.keys().isdisjoint(["input_size", "mean", "std", "crop_pct"])
    with pytest.raises(ValueError, match="no pretrained_cfg with an image configuration"):
        resolve_data_config(create_model("ownnet"))


@pytest.mark.usefixtures("own_models")
def test_a_configuration_may_be_a_dict_of_its_fields():
    given = dict(num_classes=3, input_size=(3, 32, 32))
    register_model(pretrained_cfgs={"own": given})(entrypoint_named("ownnet"))
    assert get_pretrained_cfg("ownnet") == PretrainedCfg("ownnet", "own", **given)
    assert create_model("ownnet").num_classes == 3


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"maen": 0}, ValueError, "unknown key 'maen' in pretrained_cfgs['own']; did you mean 'mean'?"),
        (
            "cifar10",
            TypeError,
            "pretrained_cfgs['own'] must be a sparsenet_models.PretrainedCfg or a dict of its fields, got a "
            "builtins.str",
        ),
    ],
    ids=["key", "kind"],
)
def test_a_configuration_that_cannot_be_is_refused_and_no_net_registered(given, error, message):
    with pytest.raises(error) as caught:
        register_model(pretrained_cfgs={"own": given})(entrypoint_named("ownnet"))
    assert str(caught.value) == message
    assert not is_model("ownnet")


@pytest.mark.usefixtures("own_models")
def test_a_net_without_tags_says_that_it_has_none():
    register_model(entrypoint_named("ownnet"))
    assert get_pretrained_cfg("ownnet") == PretrainedCfg(architecture="ownnet")
    with pytest.raises(ValueError, match=r"unknown tag 'x' of 'ownnet'; its tags: none"):
        get_pretrained_cfg("ownnet.x")


@pytest.mark.parametrize("name", CIFAR_NETS)
def test_every_cifar_net_has_both_tags_and_cifar10_is_the_default(name):
    assert list_models(name, include_tags=True) == [f"{name}.cifar10", f"{name}.cifar100"]
    assert get_pretrained_cfg(name) == get_pretrained_cfg(f"{name}.cifar10")
    for tag, classes in (("cifar10", 10), ("cifar100", 100)):
        cfg = get_pretrained_cfg(f"{name}.{tag}")
        assert cfg.name == f"{name}.{tag}"
        assert (cfg.architecture, cfg.tag) == (name, tag)
        assert cfg.input_size == (3, 32, 32)
        assert cfg.num_classes == classes
        assert len(cfg.label_names) == len(set(cfg.label_names)) == classes
        assert list(cfg.label_names) == sorted(cfg.label_names)  # the official order is alphabetical
        assert all(re.fullmatch(r"[a-z_]+", label) for label in cfg.label_names)
        assert cfg.interpolation == "bicubic"
        assert cfg.crop_pct == 1.0
        assert len(cfg.mean) == len(cfg.std) == 3
        assert all(0.4 < mean < 0.55 for mean in cfg.mean)
        assert all(0.2 < std < 0.3 for std in cfg.std)


def test_the_cifar10_classes_are_the_ten():
    assert get_pretrained_cfg("sparsenet_40_k12.cifar10").label_names == (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    )


def test_the_normalisation_of_the_two_sets_differs():
    cfgs = [get_pretrained_cfg(f"sparsenet_40_k12.{tag}") for tag in ("cifar10", "cifar100")]
    assert cfgs[0].mean != cfgs[1].mean
    assert cfgs[0].std != cfgs[1].std


@pytest.mark.parametrize("name", CIFAR_NETS + IMAGENET_NETS)
def test_what_a_cfg_says_of_a_net_is_true_of_the_net(name):
    cfg = get_pretrained_cfg(name)
    net = create_model(name, device="meta").eval()
    first_conv, classifier = net.get_submodule(cfg.first_conv), net.get_submodule(cfg.classifier)
    assert isinstance(first_conv, nn.Conv2d)
    assert first_conv is next(module for module in net.modules() if isinstance(module, nn.Conv2d))
    assert first_conv.in_channels == cfg.input_size[0]
    assert classifier is net.get_classifier()
    assert isinstance(classifier, nn.Linear)
    assert classifier.out_features == cfg.num_classes == net.num_classes
    features = net.forward_features(torch.empty(1, *cfg.input_size, device="meta"))
    assert features.shape == (1, net.num_features, *cfg.pool_size)


@pytest.mark.parametrize("name", ["sparsenet_40_k12", "densenet_bc_40_k12", "sparsenet121"])
def test_a_net_runs_at_the_smallest_size_that_its_cfg_names(name):
    net = create_model(name).eval()
    with torch.no_grad():
        logits = net(torch.zeros(2, *get_pretrained_cfg(name).min_input_size))
    assert logits.shape == (2, net.num_classes)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", IMAGENET_NETS)
def test_an_imagenet_net_is_for_224_pixels_and_1000_classes(name):
    cfg = get_pretrained_cfg(name)
    assert cfg.input_size == (3, 224, 224)
    assert cfg.num_classes == 1000
    assert cfg.mean == (0.485, 0.456, 0.406)
    assert cfg.std == (0.229, 0.224, 0.225)


# Resolving


def test_resolve_returns_the_entrypoint_and_the_configuration_of_the_tag():
    entrypoint, cfg = resolve("sparsenet_40_k12.cifar100")
    assert entrypoint is model_entrypoint("sparsenet_40_k12")
    assert cfg is get_pretrained_cfg("sparsenet_40_k12.cifar100")


# A registry that is restored


@pytest.mark.parametrize("error", [None, ValueError])
def test_a_temporary_registry_forgets_models_tags_cards_and_old_names(tmp_path, error):
    names, tags = list_models(), list_models(include_tags=True)
    weights = list_pretrained()
    try:
        with temporary_registry():
            register_model(entrypoint_named("short_lived_net"))
            register_model(pretrained_cfgs=tagged("a", one="a.safetensors"), override=True)(
                entrypoint_named("sparsenet_40_k12")
            )
            card(tmp_path, "resnet_20.cifar10_mine", file="x.safetensors")
            register_cards(tmp_path)
            register_model_deprecations({"old_net": "short_lived_net"})
            assert is_model("old_net")
            assert "resnet_20.cifar10_mine" in list_pretrained()
            if error is not None:
                raise error
    except ValueError:
        assert error is not None
    assert (list_models(), list_models(include_tags=True), list_pretrained()) == (names, tags, weights)
    assert not is_model("short_lived_net")
    assert not is_model("old_net")
    assert get_pretrained_cfg("sparsenet_40_k12").name == "sparsenet_40_k12.cifar10"


def test_temporary_registries_nest():
    with temporary_registry():
        register_model(entrypoint_named("outer_net"))
        with temporary_registry():
            register_model(entrypoint_named("inner_net"))
        assert is_model("outer_net")
        assert not is_model("inner_net")
    assert not is_model("outer_net")


# Cards


def card(folder: Path, name: str, **fields: object) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(fields), encoding="utf-8")
    return path


def test_a_card_registers_a_tag_or_a_variant_of_one(tmp_path, own_models):
    card(tmp_path, "resnet_20.cifar100", file="a.safetensors", top1=12.5, architecture="x", tag="y")
    card(tmp_path, "resnet_20.cifar100_kd", file="b.safetensors", top1=13.5)
    register_cards(tmp_path)
    plain, variant = get_pretrained_cfg("resnet_20.cifar100"), get_pretrained_cfg("resnet_20.cifar100_kd")
    assert (plain.name, plain.file, plain.top1) == (
        "resnet_20.cifar100",
        str(tmp_path / "a.safetensors"),
        12.5,
    )
    assert (variant.name, variant.file, variant.top1) == (
        "resnet_20.cifar100_kd",
        str(tmp_path / "b.safetensors"),
        13.5,
    )
    assert variant.label_names == plain.label_names
    card(tmp_path, "sparsenet121.tiny_imagenet_kd", file="c.safetensors")
    register_cards(tmp_path)
    assert len(get_pretrained_cfg("sparsenet121.tiny_imagenet_kd").label_names) == 200
    assert get_pretrained_cfg("resnet_20").name == "resnet_20.cifar10"


DAMAGED_CARDS = {
    "unknown_architecture": (
        "resnet_21.cifar10",
        "{}",
        "unknown model 'resnet_21'; did you mean '",
    ),
    "unknown_tag": (
        "resnet_20.cifar1000",
        "{}",
        "unknown tag 'cifar1000' of 'resnet_20'; did you mean 'cifar100' or 'cifar10'? its tags: 'cifar10', ",
    ),
    "no_tag": ("resnet_20", "{}", "unknown tag '' of 'resnet_20'; its tags: 'cifar10', 'cifar100'"),
    "not_json": ("resnet_20.cifar100", "{", "it is not readable JSON (Expecting property name"),
    "deep": ("resnet_20.cifar100", "[" * 100_000, "it is not readable JSON ("),
    "not_text": ("resnet_20.cifar100", b"\xff\xfe", "it is not readable JSON ("),
    "not_an_object": ("resnet_20.cifar100", "[1]", "it must hold a JSON object, got list"),
    "unknown_key": (
        "resnet_20.cifar100",
        '{"flie": 1}',
        "unknown key 'flie' in its fields; did you mean 'file'?",
    ),
    "not_a_size": (
        "resnet_20.cifar100",
        '{"input_size": 32}',
        "its input_size must be of the type tuple[int, int, int] | None, got 32",
    ),
    "not_a_number": (
        "resnet_20.cifar100",
        '{"epochs": "3"}',
        "its epochs must be of the type int | None, got '3'",
    ),
    "not_pinned": (
        "resnet_20.cifar100",
        '{"hf_hub_id": "a/b"}',
        "'resnet_20.cifar100' is on the Hub (a/b), so its revision must be ",
    ),
}


@pytest.mark.parametrize(("name", "content", "words"), DAMAGED_CARDS.values(), ids=DAMAGED_CARDS.keys())
def test_a_card_that_cannot_be_used_is_left_out_with_a_warning(tmp_path, own_models, name, content, words):
    before = [get_pretrained_cfg(full) for full in list_models(include_tags=True)]
    path = tmp_path / f"{name}.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    card(tmp_path, "resnet_32.cifar10_mine", file="good.safetensors")
    with pytest.warns(UserWarning, match=re.escape(f"the card {path} is left out: {words}")) as caught:
        register_cards(tmp_path)
    assert [warning.filename for warning in caught] == [__file__]
    good = get_pretrained_cfg("resnet_32.cifar10_mine")
    assert good.file == str(tmp_path / "good.safetensors")
    after = [get_pretrained_cfg(full) for full in list_models(include_tags=True)]
    assert [cfg for cfg in after if cfg != good] == before


def test_a_folder_in_place_of_a_card_is_left_out_and_no_folder_of_cards_is_no_error(tmp_path, own_models):
    (tmp_path / "resnet_20.cifar100.json").mkdir()
    with pytest.warns(UserWarning, match=r"resnet_20\.cifar100\.json is left out: "):
        register_cards(tmp_path)
    register_cards(tmp_path / "nowhere")
