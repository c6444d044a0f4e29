"""The nets of a benchmark by name: ours, those of other libraries, those of the original code."""

from __future__ import annotations

import os
import re
import sys

import pytest

from sparsenet_models import create_model
from sparsenet_models.benchmark.nets import ORIGINAL_FILE, builder, parse_nets


def parameters(net) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_ours_come_first_and_each_depth_is_a_net_of_its_own():
    nets = parse_nets(["torchvision:densenet121", "sparsenet_40_k12", "resnet_20"], [40, 100])
    assert [str(net) for net in nets] == [
        "sparsenet_40_k12 depth=40",
        "sparsenet_40_k12 depth=100",
        "resnet_20 depth=40",
        "resnet_20 depth=100",
        "torchvision:densenet121",
    ]


def test_a_net_named_twice_is_run_once():
    assert [str(net) for net in parse_nets(["resnet_20", "resnet_20"])] == ["resnet_20"]


def test_the_original_code_stands_for_a_twin_of_each_of_ours(tmp_path):
    (tmp_path / ORIGINAL_FILE).parent.mkdir(parents=True)
    (tmp_path / ORIGINAL_FILE).touch()
    nets = parse_nets(["sparsenet_40_k12", "densenet_bc_40_k12", f"original:{tmp_path}"], [70])
    assert [str(net) for net in nets[2:]] == [
        "original:sparsenet_40_k12 depth=70",
        "original:densenet_bc_40_k12 depth=70",
    ]


def test_two_clones_whose_nets_have_the_same_names_are_refused(tmp_path):
    for clone in ("old", "new"):
        file = tmp_path / clone / ORIGINAL_FILE
        file.parent.mkdir(parents=True)
        file.write_text("")
    names = [f"original:{tmp_path / clone}" for clone in ("old", "new")]
    with pytest.raises(ValueError, match=r"give one clone of the original code, got .*new and .*old"):
        parse_nets(["sparsenet_40_k12", *names])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["sparsenet_40_k13"], "did you mean 'sparsenet_40_k12'"),
        (["resnet_20", "tim:resnet18"], "'tim:resnet18' has an unknown library 'tim'; did you mean 'timm'?"),
        (["resnet_20", "keras:resnet18"], "the libraries are timm, torchvision, pytorchcv, original"),
        (["resnet_20", "torchvision:densenet120"], "torchvision has no net 'densenet120'; did you mean"),
        (["resnet_20", "original:gone"], "needs a clone of https://github.com/Lyken17/SparseNet, got 'gone'"),
        (["resnet_20", "local-dir:net"], "name the architecture of 'local-dir:net', one of list_models()"),
        (["./net"], "name the architecture of './net', one of list_models()"),
        (["torchvision:densenet121"], "name a net of this library beside torchvision:densenet121"),
    ],
)
def test_a_wrong_name_is_refused_with_the_nearest_right_one(names, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_nets(names)


@pytest.mark.parametrize(
    ("library", "module", "install"),
    [
        ("timm", "timm", "pip install 'timm"),
        ("torchvision", "torchvision.models", "pip install torchvision"),
        ("pytorchcv", "pytorchcv.model_provider", "pip install pytorchcv"),
    ],
)
def test_a_library_that_is_not_installed_is_refused_with_its_command(monkeypatch, library, module, install):
    monkeypatch.setitem(sys.modules, module, None)  # as Python marks a module that cannot be imported
    with pytest.raises(ImportError, match=f"{library} cannot be imported .*: {install}"):
        parse_nets(["resnet_20", f"{library}:densenet121"])


def test_nets_of_torchvision_are_built_without_weights():
    (_, net) = parse_nets(["resnet_20", "torchvision:squeezenet1_1"])
    assert parameters(builder(net)()) == 1_235_496


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm:densenet121", "pytorchcv:densenet121"])
def test_nets_of_other_libraries_are_built_by_name(name):
    pytest.importorskip(name.partition(":")[0])
    (_, net) = parse_nets(["resnet_20", name])
    assert parameters(builder(net)()) == 7_978_856


@pytest.mark.slow
@pytest.mark.parametrize("depth", [None, 70])
@pytest.mark.parametrize(
    "name", ["sparsenet_40_k12", "sparsenet_bc_40_k12", "sparsenet_bc_100_k16_32_64", "densenet_bc_40_k12"]
)
def test_the_twin_in_the_original_code_has_the_parameters_of_ours(name, depth):
    clone = os.environ.get("SPARSENET_ORIGINAL")
    if clone is None:
        pytest.skip("SPARSENET_ORIGINAL is not set; it names a clone of https://github.com/Lyken17/SparseNet")
    ours, twin = parse_nets([name, f"original:{clone}"], [depth] if depth else [])
    assert parameters(builder(twin)()) == parameters(builder(ours)())
    if depth is None:
        assert parameters(builder(ours)()) == parameters(create_model(name))


def test_the_original_code_has_no_twin_of_other_families(tmp_path):
    (tmp_path / ORIGINAL_FILE).parent.mkdir(parents=True)
    (tmp_path / ORIGINAL_FILE).touch()
    _, twin = parse_nets(["resnet_20", f"original:{tmp_path}"])
    with pytest.raises(ValueError, match="the original code has no resnet_20"):
        builder(twin)
