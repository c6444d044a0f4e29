"""Other people's checkpoints give the logits that they gave in the nets they come from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from support.foreign_nets import OriginalNet, lived_in
from support.reliability import fault
from torch import nn
from torch.optim.swa_utils import AveragedModel

from sparsenet_models import DenseNet, SparseNet, create_model, load_checkpoint
from sparsenet_models.integrations.convert import convert_checkpoint
from sparsenet_models.pretrained.foreign_layouts import LAYOUTS, in_our_names, unwrapped

ORIGINAL = dict(norm="bn", last_norm="norm_last")
COURSE = dict(norm="batch_norm", last_norm="batch_norm_last_layer")
PEOPLE = {"original": ORIGINAL, "course": COURSE}
every_layout = pytest.mark.parametrize("names", PEOPLE.values(), ids=PEOPLE.keys())

SMALL = dict(depth=10, growth=(3, 4, 5), bottleneck=True, dense=False, stem=3)
"""Of a size that no registered net has."""


def small_of_ours(**kwargs) -> SparseNet:
    return SparseNet(**{"depth": 10, "growth_rate": (3, 4, 5), "bottleneck": True, **kwargs})


def same_logits(theirs: nn.Module, ours: nn.Module, side: int = 32) -> None:
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        expected, logits = theirs.double().eval()(images), ours.double().eval()(images)
    assert expected.std() > 0.01
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-9)


REGISTERED = [
    ("sparsenet_40_k12", 40, (12, 12, 12), False),
    ("sparsenet_bc_100_k24", 100, (24, 24, 24), True),
    pytest.param("sparsenet_bc_40_k12", 40, (12, 12, 12), True, marks=pytest.mark.slow),
    pytest.param("sparsenet_bc_100_k16_32_64", 100, (16, 32, 64), True, marks=pytest.mark.slow),
]


@every_layout
@pytest.mark.parametrize(("name", "depth", "growth", "bottleneck"), REGISTERED)
@pytest.mark.parametrize("dense", [False, True], ids=["sparse", "dense"])
def test_a_checkpoint_of_the_original_layouts_gives_the_same_logits(
    tmp_path, names, name, depth, growth, bottleneck, dense
):
    theirs = lived_in(OriginalNet(depth, growth, bottleneck, dense, growth[0] * (2 if dense else 1), **names))
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    ours = create_model(
        name.replace("sparsenet", "densenet") if dense else name, checkpoint_path=tmp_path / "theirs.pth"
    )
    same_logits(theirs, ours)


@pytest.mark.parametrize(
    "name",
    [
        "sparsenet121",
        *(pytest.param(f"sparsenet{depth}", marks=pytest.mark.slow) for depth in (161, 169, 201, 264)),
    ],
)
def test_a_checkpoint_of_pytorchcv_gives_the_same_logits(tmp_path, name):
    model_provider = pytest.importorskip("pytorchcv.model_provider")
    theirs = lived_in(model_provider.get_model(name, pretrained=False))
    save_file(theirs.state_dict(), tmp_path / "theirs")
    same_logits(theirs, create_model(name, checkpoint_path=tmp_path / "theirs"), side=224)


@settings(max_examples=15, deadline=None)
@given(
    names=st.sampled_from(list(PEOPLE.values())),
    per_stage=st.integers(1, 6),
    growth=st.tuples(*[st.integers(1, 6)] * 3),
    bottleneck=st.booleans(),
    dense=st.booleans(),
    stem=st.integers(1, 9),
    classes=st.integers(1, 12),
)
def test_any_net_of_the_original_layouts_loads_into_the_net_of_its_sizes(
    tmp_path_factory, names, per_stage, growth, bottleneck, dense, stem, classes
):
    depth = 3 * per_stage * (2 if bottleneck else 1) + 4
    # The small nets must have enough channels for a transition to halve.
    stem = max(stem, 2)
    theirs = lived_in(OriginalNet(depth, growth, bottleneck, dense, stem, classes, **names))
    path = tmp_path_factory.mktemp("theirs") / "weights"
    save_file(theirs.state_dict(), path)
    family = DenseNet if dense else SparseNet
    ours = family(depth, growth, bottleneck, stem_channels=stem, num_classes=classes).double()
    load_checkpoint(ours, path)
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), theirs.double().eval()(images), rtol=0, atol=1e-9)


@every_layout
def test_double_precision_of_a_file_is_kept_by_a_net_in_double_precision(tmp_path, names):
    theirs = lived_in(OriginalNet(**SMALL, **names)).double()
    with torch.no_grad():
        theirs.classifier.linear.weight += 1e-12
    torch.save(theirs.state_dict(), tmp_path / "theirs")
    ours = small_of_ours().double()
    load_checkpoint(ours, tmp_path / "theirs")
    assert torch.equal(ours.head.fc.weight, theirs.classifier.linear.weight)


# Wrappers and prefixes


def prefixed(prefix: str, net: nn.Module) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in net.state_dict().items()}


def averaged(net: nn.Module) -> dict[str, torch.Tensor]:
    """Return the state dict of an average of this one net."""
    average = AveragedModel(net)
    average.update_parameters(net)
    return average.state_dict()


WRAPPERS: dict[str, Callable[[nn.Module, nn.Module], object]] = {
    "plain": lambda net, _: net.state_dict(),
    "module": lambda net, _: prefixed("module.", net),
    "compiled": lambda net, _: prefixed("_orig_mod.", net),
    "both": lambda net, _: prefixed("module._orig_mod.", net),
    "both_turned": lambda net, _: prefixed("_orig_mod.module.", net),
    "averaged": lambda net, _: AveragedModel(net).state_dict(),
    "state_dict": lambda net, other: {"epoch": 3, "state_dict": net.state_dict(), "optimizer": {"lr": 0.1}},
    "model": lambda net, other: {"model": prefixed("module.", net), "best": 91.5},
    "state_dict_ema": lambda net, other: {
        "state_dict": other.state_dict(),
        "state_dict_ema": net.state_dict(),
    },
    "model_ema": lambda net, other: {"model": other.state_dict(), "model_ema": prefixed("module.", net)},
    "average": lambda net, other: {"model": other.state_dict(), "average": averaged(net)},
    "average_not_begun": lambda net, other: {
        "model": net.state_dict(),
        "average": AveragedModel(other).state_dict(),
    },
    "no_average": lambda net, other: {"model": net.state_dict(), "average": None},
    "twice": lambda net, other: {"model": {"state_dict": net.state_dict()}},
}
LAYOUT_NETS: dict[str, Callable[[], nn.Module]] = {
    "ours": small_of_ours,
    "original": lambda: OriginalNet(**SMALL, **ORIGINAL),
    "course": lambda: OriginalNet(**SMALL, **COURSE),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())
@pytest.mark.parametrize("build", LAYOUT_NETS.values(), ids=LAYOUT_NETS.keys())
def test_wrapper_dicts_and_prefixes_are_taken_off_and_averaged_weights_win(tmp_path, wrap, build):
    theirs, other = lived_in(build()), lived_in(build(), seed=1)
    torch.save(wrap(theirs, other), tmp_path / "theirs.pth")
    ours = small_of_ours()
    load_checkpoint(ours, tmp_path / "theirs.pth")
    same_logits(theirs, ours)


def test_a_prefix_that_only_some_names_have_is_no_wrappers(tmp_path):
    state = {**small_of_ours().state_dict(), "module.head.fc.bias": torch.zeros(10)}
    save_file(state, tmp_path / "mixed")
    with pytest.raises(ValueError, match=r"1 unexpected: module\.head\.fc\.bias"):
        load_checkpoint(small_of_ours(), tmp_path / "mixed")


def test_a_dict_that_holds_itself_is_no_checkpoint():
    content: dict = {}
    content["model"] = content
    assert unwrapped(content) is None


def test_files_from_before_the_counters_of_batch_norm_load_with_zeros(tmp_path):
    theirs = lived_in(OriginalNet(**SMALL))
    state = {name: t for name, t in theirs.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth")
    ours = small_of_ours()
    load_checkpoint(ours, tmp_path / "old.pth")
    same_logits(theirs, ours)
    assert ours.norm.num_batches_tracked == 0


# What does not fit


def refusal(net: nn.Module, path: Path) -> str:
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(ValueError, match=r"does not fit the model") as caught:
        load_checkpoint(net, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    return str(caught.value)


@pytest.mark.parametrize(
    ("dense", "stem", "name"),
    [(False, 24, "sparsenet_bc_100_k16_32_64"), (True, 48, "densenet_bc_100_k16_32_64")],
)
def test_the_course_projects_wide_stem_is_reported_with_its_argument(tmp_path, dense, stem, name):
    """It fed its 16_32_64 nets from a stem of 24 channels, 48 for the dense twin."""
    theirs = OriginalNet(100, (16, 32, 64), True, dense, stem, **COURSE)
    torch.save(theirs.state_dict(), tmp_path / "theirs")
    for wrong in ("sparsenet_bc_100_k16_32_64", "densenet_bc_100_k16_32_64"):
        message = refusal(create_model(wrong), tmp_path / "theirs")
        assert "(in the layout of the course project's code) does not fit the model: " in message
        assert message.endswith(f"; it would fit create_model('{name}', stem_channels={stem})")
    what = (
        f"the course project's {'DenseNet' if dense else 'SparseNet'} checkpoint into a net of another stem"
    )
    fault(what, message, "the file and the net, untouched", tmp_path)
    right = create_model(name, stem_channels=stem, checkpoint_path=tmp_path / "theirs")
    assert sum(p.numel() for p in right.parameters()) == {24: 4_333_682, 48: 7_741_786}[stem]


@pytest.mark.parametrize(
    ("net", "call"),
    [
        (lambda: OriginalNet(100, (12, 12, 12), True, False, 12), "create_model('sparsenet_bc_100_k12')"),
        (lambda: OriginalNet(40, (12, 12, 12), False, True, 24), "create_model('densenet_40_k12')"),
        (
            lambda: OriginalNet(40, (12, 12, 12), True, True, 24, num_classes=100),
            "create_model('densenet_bc_40_k12', num_classes=100)",
        ),
        (
            lambda: create_model("sparsenet_bc_40_k12", in_chans=1, num_classes=0),
            "create_model('sparsenet_bc_40_k12', num_classes=0, in_chans=1)",
        ),
    ],
)
def test_a_checkpoint_of_another_net_is_refused_with_the_one_that_it_fits(tmp_path, net, call):
    save_file(net().state_dict(), tmp_path / "theirs")
    assert refusal(create_model("sparsenet_40_k12"), tmp_path / "theirs").endswith(f"; it would fit {call}")


def test_a_checkpoint_that_fits_no_registered_net_names_none(tmp_path):
    save_file(OriginalNet(**SMALL).state_dict(), tmp_path / "theirs")
    assert "would fit" not in refusal(create_model("sparsenet_40_k12"), tmp_path / "theirs")


def test_a_width_of_the_stem_for_a_net_that_takes_none_is_refused_by_name(tmp_path):
    torch.save(create_model("resnet_20").state_dict(), tmp_path / "theirs")
    with pytest.raises(ValueError, match=r"^stem_channels=16: 'resnet_20' takes no argument 'stem_channels'"):
        convert_checkpoint(tmp_path / "theirs", tmp_path / "net.safetensors", "resnet_20", stem_channels=16)
    assert not (tmp_path / "net.safetensors").exists()


def test_a_target_with_the_suffix_of_another_file_makes_no_folder(tmp_path):
    save_file(create_model("resnet_20").state_dict(), tmp_path / "theirs")
    with pytest.raises(ValueError, match=r"ends in \.safetensors, got .*ours\.pth"):
        convert_checkpoint(tmp_path / "theirs", tmp_path / "ours.pth", "resnet_20")
    assert not (tmp_path / "ours.pth").exists()


def test_a_converted_fractalnet_has_the_channels_of_its_checkpoint(tmp_path):
    save_file(create_model("fractalnet_c2", in_chans=1, num_classes=3).state_dict(), tmp_path / "theirs")
    net = convert_checkpoint(tmp_path / "theirs", tmp_path / "ours.safetensors", "fractalnet_c2")
    assert (net.in_chans, net.num_classes) == (1, 3)


def test_names_that_become_one_are_refused(tmp_path):
    state = OriginalNet(**SMALL).state_dict()
    save_file({**state, "stem.conv.weight": torch.zeros(1)}, tmp_path / "twice")
    with pytest.raises(ValueError, match=r"twice: two of its tensors become stem\.conv\.weight"):
        load_checkpoint(small_of_ours(), tmp_path / "twice")


def test_every_layout_names_every_tensor_of_our_net():
    """A rule that were left out would leave a foreign name, and one too many would hide a tensor."""
    assert {layout.name for layout in LAYOUTS} >= {"the original SparseNet code", "pytorchcv"}
    for names in PEOPLE.values():
        renamed, layout = in_our_names(OriginalNet(**SMALL, **names).state_dict())
        assert layout is not None
        assert renamed.keys() == small_of_ours().state_dict().keys()
