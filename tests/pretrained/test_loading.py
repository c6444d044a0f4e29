"""Weight files into nets: whole, or refused with the file's name and the net left as it was."""

import argparse
import dataclasses
import hashlib
import json
import logging
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from support.nets import DATA_CONFIG, build, families, scrambled
from support.reliability import fault
from torch import nn

from sparsenet_models import (
    PretrainedCfg,
    SparseNet,
    create_model,
    get_pretrained_cfg,
    list_pretrained,
    load_checkpoint,
    save_pretrained,
    split_model_name_tag,
)
from sparsenet_models.pretrained import read_metadata
from sparsenet_models.pretrained.weight_file import read_weight_description, save_weights, weight_description

NAME = "sparsenet_bc_40_k12"
STEM, HEAD = "stem.conv.weight", ("head.fc.weight", "head.fc.bias")


def small_net(**kwargs) -> SparseNet:
    return SparseNet(**{"depth": 7, "growth_rate": 2, **kwargs})


def bytes_of(net: nn.Module) -> dict[str, tuple[torch.dtype, bytes]]:
    return {
        name: (tensor.dtype, tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        for name, tensor in net.state_dict().items()
    }


def save_in_old_format(state: dict, path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


FORMATS: dict[str, Callable[[dict, Path], None]] = {
    "safetensors": save_file,
    "torch": torch.save,
    "old_torch": save_in_old_format,
}
every_format = pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS.keys())


def refusal(net: nn.Module, path: Path, kind: type[Exception] = ValueError) -> str:
    """Return what ``load_checkpoint`` says of a file that it must refuse without touching the net."""
    before, modes = bytes_of(net), [module.training for module in net.modules()]
    with pytest.raises(kind) as caught:
        load_checkpoint(net, path)
    assert isinstance(caught.value, (ValueError, OSError))
    assert str(path) in str(caught.value)
    assert bytes_of(net) == before
    assert [module.training for module in net.modules()] == modes
    return str(caught.value)


# What loads


@every_format
@pytest.mark.parametrize("as_text", [True, False])
def test_load_checkpoint_takes_every_tensor_of_every_kind_of_file(tmp_path, write, as_text):
    source, net = scrambled(small_net()), small_net()
    write(source.state_dict(), tmp_path / "weights")
    load_checkpoint(net, str(tmp_path / "weights") if as_text else tmp_path / "weights")
    assert bytes_of(net) == bytes_of(source)


@every_format
def test_checkpoint_path_takes_every_tensor_of_every_kind_of_file(tmp_path, write):
    source = scrambled(create_model(NAME))
    write(source.state_dict(), tmp_path / "weights")
    assert bytes_of(create_model(NAME, checkpoint_path=tmp_path / "weights")) == bytes_of(source)


@every_format
def test_a_file_without_any_counter_of_batches_gets_zeros(tmp_path, write):
    source, net = scrambled(small_net()), small_net()
    state = source.state_dict()
    write(
        {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}, tmp_path / "old"
    )
    load_checkpoint(net, tmp_path / "old")
    for name, tensor in net.state_dict().items():
        expected = 0 * state[name] if name.endswith("num_batches_tracked") else state[name]
        assert torch.equal(tensor, expected), name


class NormWithoutCounter(nn.Module):
    """Frozen batch norm as in detectors, which has no num_batches_tracked."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(2))
        self.register_buffer("running_var", torch.ones(2))


def test_a_net_that_counts_no_batches_gets_no_counters(tmp_path):
    source, net = scrambled(NormWithoutCounter()), NormWithoutCounter()
    save_file(source.state_dict(), tmp_path / "weights")
    load_checkpoint(net, tmp_path / "weights")
    assert bytes_of(net) == bytes_of(source)


class Task(nn.Module):
    """A LightningModule as most are written: the net is an attribute."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net


@pytest.mark.parametrize(
    "wrap", [Task, lambda net: Task(Task(net)), lambda net: Task(torch.compile(net))], ids=[1, 2, "compiled"]
)
def test_the_net_of_a_lightning_checkpoint_is_loaded(tmp_path, wrap):
    source, net = scrambled(small_net()), small_net()
    checkpoint = {"epoch": 3, "pytorch-lightning_version": "2.6", "state_dict": wrap(source).state_dict()}
    torch.save(checkpoint, tmp_path / "last.ckpt")
    load_checkpoint(net, tmp_path / "last.ckpt")
    assert bytes_of(net) == bytes_of(source)


@families
def test_the_net_of_a_lightning_checkpoint_may_be_of_any_family(tmp_path, family):
    source, net = scrambled(build(family)), build(family)
    torch.save({"state_dict": Task(source).state_dict()}, tmp_path / "last.ckpt")
    load_checkpoint(net, tmp_path / "last.ckpt")
    assert bytes_of(net) == bytes_of(source)


def test_a_lightning_checkpoint_that_holds_more_than_the_net_is_refused(tmp_path):
    state = {**Task(small_net()).state_dict(), "accuracy.total": torch.zeros(1)}
    torch.save({"state_dict": state}, tmp_path / "last.ckpt")
    message = refusal(small_net(), tmp_path / "last.ckpt")
    assert f"{len(STATE_NAMES) + 1} unexpected: net.{STEM}, " in message


@pytest.mark.parametrize("wrap", [Task, nn.Sequential])
def test_a_net_that_is_itself_such_a_module_keeps_its_names(tmp_path, wrap):
    source, net = scrambled(wrap(small_net())), wrap(small_net())
    save_file(source.state_dict(), tmp_path / "weights")
    load_checkpoint(net, tmp_path / "weights")
    assert bytes_of(net) == bytes_of(source)


def test_the_name_of_a_safetensors_file_does_not_matter(tmp_path):
    source = scrambled(small_net())
    for name in ("weights", "weights.pt", "weights.bin", "weights.safetensors"):
        net = small_net()
        save_file(source.state_dict(), tmp_path / name)
        load_checkpoint(net, tmp_path / name)
        assert bytes_of(net) == bytes_of(source)


@every_format
@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float64])
def test_a_file_of_another_precision_loads_into_float32(tmp_path, write, stored):
    state = scrambled(small_net()).state_dict()
    state = {name: t.to(stored) if t.is_floating_point() else t for name, t in state.items()}
    write(state, tmp_path / "weights")
    net = small_net()
    load_checkpoint(net, tmp_path / "weights")
    for name, tensor in net.state_dict().items():
        expected = state[name].float() if tensor.is_floating_point() else state[name]
        assert tensor.dtype == expected.dtype
        assert torch.equal(tensor, expected), name


@pytest.mark.parametrize("way", ["checkpoint_path", "pretrained"])
def test_create_model_gives_float32_and_train_mode_from_a_half_precision_file(tmp_path, way):
    source = scrambled(create_model(NAME)).half()
    path = tmp_path / "half.safetensors"
    save_weights(source, path, {})
    overlay = dict(file=path)
    if way == "checkpoint_path":
        net = create_model(NAME, checkpoint_path=path)
    else:
        net = create_model(NAME, pretrained=True, pretrained_cfg_overlay=overlay)
    assert net.training
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
    assert bytes_of(net) == bytes_of(source.float())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_the_net_keeps_its_dtype_and_its_mode(tmp_path, dtype):
    source = scrambled(small_net())
    save_file(source.state_dict(), tmp_path / "weights")
    net = small_net().to(dtype).eval()
    load_checkpoint(net, tmp_path / "weights")
    assert not net.training
    assert bytes_of(net) == bytes_of(source.to(dtype))


def test_parameters_stay_the_same_objects_so_that_an_optimiser_keeps_them(tmp_path):
    net = small_net()
    before = list(map(id, net.parameters()))
    save_file(scrambled(small_net()).state_dict(), tmp_path / "weights")
    load_checkpoint(net, tmp_path / "weights")
    assert list(map(id, net.parameters())) == before
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in net.parameters())


def test_metadata_is_optional_and_read_back_as_written(tmp_path):
    source = scrambled(small_net())
    data_config = {**DATA_CONFIG, "input_size": (3, 40, 40)}
    training = dict(data="cifar10", recipe="{}", epochs=3, seed=5, library_version="0.1", git_commit="0" * 40)
    cfg = PretrainedCfg(
        NAME, "cifar10", top1=91.0, license="MIT", label_names=("cat", "dög"), **data_config, **training
    )
    written = weight_description(cfg, with_metrics=True)
    save_weights(source, tmp_path / "with", written)
    save_file(source.state_dict(), tmp_path / "without")
    for path in (tmp_path / "with", tmp_path / "without"):
        net = small_net()
        load_checkpoint(net, path)
        assert bytes_of(net) == bytes_of(source)
    assert read_metadata(tmp_path / "without") == {}
    found = read_metadata(tmp_path / "with")
    assert found == {"format": "pt", **written}
    assert (found["architecture"], found["tag"]) == (NAME, "cifar10")
    assert (found["epochs"], found["seed"], found["top1"]) == ("3", "5", "91.00")
    assert json.loads(found["class_names"]) == ["cat", "dög"]
    architecture, overlay = read_weight_description(tmp_path / "with")
    assert architecture == NAME
    assert overlay == {
        "tag": "cifar10",
        "top1": 91.0,
        "license": "MIT",
        **data_config,
        **training,
        "num_classes": 2,
        "label_names": ("cat", "dög"),
    }


def test_metadata_of_a_file_that_is_none_name_the_file(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"no safetensors file")
    with pytest.raises(ValueError, match=r"not a readable safetensors") as caught:
        read_metadata(path)
    assert str(path) in str(caught.value)


# Heads of another number of classes


@every_format
def test_load_checkpoint_keeps_a_head_of_other_classes_and_says_so(tmp_path, caplog, write):
    source, net = scrambled(small_net(num_classes=10)), small_net(num_classes=7)
    write(source.state_dict(), tmp_path / "weights")
    before, stored = bytes_of(net), bytes_of(source)
    with caplog.at_level(logging.WARNING):
        load_checkpoint(net, tmp_path / "weights")
    after = bytes_of(net)
    for name in after:
        assert after[name] == (before[name] if name in HEAD else stored[name]), name
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(tmp_path / "weights") in record.getMessage()
    assert "no head for so many classes" in record.getMessage()


def test_a_net_without_a_head_takes_the_rest_and_the_image_configuration_without_a_warning(tmp_path, caplog):
    source = create_model(f"{NAME}.cifar10", pretrained=True)
    save_pretrained(source, tmp_path / "net")
    net = create_model(f"{NAME}.cifar100", num_classes=0)
    with caplog.at_level(logging.DEBUG):
        load_checkpoint(net, tmp_path / "net" / "model.safetensors")
    assert caplog.records == []
    assert all(torch.equal(tensor, source.state_dict()[name]) for name, tensor in net.state_dict().items())
    assert net.pretrained_cfg["mean"] == get_pretrained_cfg(f"{NAME}.cifar10").mean
    assert (net.pretrained_cfg["num_classes"], net.pretrained_cfg["label_names"]) == (0, None)


def test_a_head_that_fits_is_loaded_without_a_warning(tmp_path, caplog):
    source, net = scrambled(small_net()), small_net()
    save_file(source.state_dict(), tmp_path / "weights")
    with caplog.at_level(logging.DEBUG):
        load_checkpoint(net, tmp_path / "weights")
    assert bytes_of(net) == bytes_of(source)
    assert caplog.records == []


def test_a_head_of_other_classes_excuses_nothing_else(tmp_path):
    state = scrambled(small_net()).state_dict()
    del state["norm.running_var"]
    save_file({**state, "more": torch.zeros(1)}, tmp_path / "weights")
    message = refusal(small_net(num_classes=7), tmp_path / "weights")
    assert "1 missing: norm.running_var; 1 unexpected: more" in message
    assert "head.fc" not in message


POOLED = (
    "; global_pool='catavgmax' makes 72 features, and the file's head takes 36: for a new head, load without "
    "global_pool and call reset_classifier(10, 'catavgmax'), or give another num_classes"
)


def test_a_head_that_only_the_pooling_makes_wider_is_reported_with_both_ways_out():
    name, pool = f"{NAME}.cifar10", dict(global_pool="catavgmax")
    with pytest.raises(ValueError, match="1 of another shape") as caught:
        create_model(name, pretrained=True, **pool)
    assert str(caught.value).endswith(POOLED)
    net = create_model(name, pretrained=True)
    net.reset_classifier(10, "catavgmax")
    other = create_model(name, pretrained=True, num_classes=7, **pool)
    assert net.head.fc.in_features == other.head.fc.in_features == 72
    assert torch.equal(net.norm.weight, other.norm.weight)


def test_a_head_that_only_the_pooling_makes_narrower_is_reported_too(tmp_path):
    save_file(small_net(global_pool="catavgmax").state_dict(), tmp_path / "weights")
    assert "load with global_pool='catavgmax' and call reset_classifier(10, 'avg')" in refusal(
        small_net(), tmp_path / "weights"
    )


def test_half_a_head_is_no_head(tmp_path):
    state = scrambled(small_net(num_classes=7)).state_dict()
    del state["head.fc.bias"]
    save_file(state, tmp_path / "weights")
    message = refusal(small_net(), tmp_path / "weights")
    assert "1 missing: head.fc.bias" in message
    assert "1 of another shape: head.fc.weight" in message


def test_checkpoint_path_refuses_a_head_that_does_not_fit_unless_classes_are_given(tmp_path):
    source = scrambled(create_model(NAME, num_classes=7))
    path = tmp_path / "seven.safetensors"
    save_weights(source, path, {})
    with pytest.raises(ValueError, match=r"2 of another shape: head\.fc\.weight \(file \(7, ") as caught:
        create_model(NAME, checkpoint_path=path)
    assert str(path) in str(caught.value)
    assert bytes_of(create_model(NAME, num_classes=7, checkpoint_path=path)) == bytes_of(source)
    five, stored = bytes_of(create_model(NAME, num_classes=5, checkpoint_path=path)), bytes_of(source)
    assert {name for name in stored if five[name] != stored[name]} == set(HEAD)


# Tensors that do not fit


@every_format
def test_missing_tensors_are_named(tmp_path, write):
    state = scrambled(small_net()).state_dict()
    del state[STEM], state["stages.2.layers.0.norm1.num_batches_tracked"]
    write(state, tmp_path / "weights")
    message = refusal(small_net(), tmp_path / "weights")
    assert message == (
        f"{tmp_path / 'weights'} does not fit the model: 2 missing: {STEM}, "
        "stages.2.layers.0.norm1.num_batches_tracked"
    )
    fault(
        "a weight file without some of the net's tensors",
        message,
        "the file and the net, untouched",
        tmp_path,
    )


@every_format
def test_extra_tensors_are_named(tmp_path, write):
    state = scrambled(small_net()).state_dict()
    write({**state, "ema.decay": torch.zeros(1), "module.x": torch.zeros(2)}, tmp_path / "weights")
    message = refusal(small_net(), tmp_path / "weights")
    assert message.endswith("does not fit the model: 2 unexpected: ema.decay, module.x")
    fault(
        "a weight file with tensors that the net has not",
        message,
        "the file and the net, untouched",
        tmp_path,
    )


@every_format
def test_tensors_of_another_shape_are_named_with_both_shapes(tmp_path, write):
    state = scrambled(small_net()).state_dict()
    state["norm.weight"] = torch.ones(3)
    write(state, tmp_path / "weights")
    net = small_net()
    message = refusal(net, tmp_path / "weights")
    own = tuple(net.norm.weight.shape)
    assert message.endswith(f"model: 1 of another shape: norm.weight (file (3,), model {own})")
    fault("a tensor of another shape", message, "the file and the net, untouched", tmp_path)


@every_format
def test_tensors_of_another_kind_of_number_are_named_with_both(tmp_path, write):
    state = scrambled(small_net()).state_dict()
    state[STEM] = state[STEM].to(torch.int32)
    state["norm.num_batches_tracked"] = torch.tensor(7.0)
    write(state, tmp_path / "weights")
    message = refusal(small_net(), tmp_path / "weights")
    assert "2 of another kind of number: " in message
    assert f"{STEM} (file integer, model float)" in message
    assert "norm.num_batches_tracked (file float, model integer)" in message
    fault("a tensor of another kind of number", message, "the file and the net, untouched", tmp_path)


@every_format
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_one_number_that_is_not_finite_is_enough_to_refuse(tmp_path, write, value, dtype):
    state = scrambled(small_net()).state_dict()
    state["norm.weight"] = state["norm.weight"].to(dtype)
    state["norm.weight"][1] = value
    write(state, tmp_path / "weights")
    message = refusal(small_net(), tmp_path / "weights")
    assert message.endswith("does not fit the model: 1 not finite: norm.weight")
    fault("one number that is not finite", message, "the file and the net, untouched", tmp_path)


@every_format
def test_a_variance_below_zero_is_refused_by_name(tmp_path, write):
    state = scrambled(small_net()).state_dict()
    state["norm.running_var"][1] = -1
    write(state, tmp_path / "weights")
    message = refusal(small_net(), tmp_path / "weights")
    assert message.endswith("does not fit the model: 1 below zero, though a variance: norm.running_var")


def test_every_kind_of_misfit_is_reported_at_once(tmp_path):
    state = scrambled(small_net()).state_dict()
    del state[STEM]
    state["more"] = torch.zeros(1)
    state["norm.weight"] = torch.ones(3)
    state["norm.num_batches_tracked"] = torch.tensor(7.0)
    state["norm.bias"][0] = float("nan")
    save_file(state, tmp_path / "weights")
    message = refusal(small_net(), tmp_path / "weights")
    kinds = ["1 missing", "1 unexpected", "1 of another shape", "1 of another kind of number", "1 not finite"]
    assert [message.count(kind) for kind in kinds] == [1] * 5


STATE_NAMES = list(small_net().state_dict())
COUNTERS = {name for name in STATE_NAMES if name.endswith("num_batches_tracked")}


@settings(max_examples=40, deadline=None)
@given(lost=st.sets(st.sampled_from(STATE_NAMES), min_size=1).filter(lambda lost: not lost >= COUNTERS))
def test_the_first_five_missing_tensors_are_named_and_the_rest_counted(tmp_path_factory, lost):
    path = tmp_path_factory.mktemp("lost") / "weights"
    state = small_net().state_dict()
    save_file({name: tensor for name, tensor in state.items() if name not in lost}, path)
    ordered = [name for name in STATE_NAMES if name in lost]
    expected = f"{len(lost)} missing: {', '.join(ordered[:5])}"
    expected += f" and {len(lost) - 5} more" if len(lost) > 5 else ""
    assert refusal(small_net(), path) == f"{path} does not fit the model: {expected}"


def test_the_weights_of_another_net_are_refused(tmp_path):
    save_file(small_net(depth=10).state_dict(), tmp_path / "weights")
    assert "unexpected" in refusal(small_net(), tmp_path / "weights")
    save_file(small_net(growth_rate=3).state_dict(), tmp_path / "weights")
    assert "of another shape" in refusal(small_net(), tmp_path / "weights")


def test_load_checkpoint_does_not_adapt_the_channels(tmp_path):
    save_file(small_net().state_dict(), tmp_path / "weights")
    assert f"1 of another shape: {STEM}" in refusal(small_net(in_chans=1), tmp_path / "weights")


@every_format
def test_a_net_on_the_meta_device_is_refused(tmp_path, write):
    write(small_net().state_dict(), tmp_path / "weights")
    with torch.device("meta"):
        net = small_net()
    with pytest.raises(ValueError, match=r"cannot be loaded into a model on the meta device") as caught:
        load_checkpoint(net, tmp_path / "weights")
    assert str(tmp_path / "weights") in str(caught.value)
    assert all(tensor.is_meta for tensor in net.state_dict().values())


# Files that are no weight files


LOADERS = {
    "load_checkpoint": lambda path: load_checkpoint(create_model(NAME), path),
    "checkpoint_path": lambda path: create_model(NAME, checkpoint_path=path),
    "pretrained": lambda path: create_model(
        NAME, pretrained=True, pretrained_cfg_overlay=dict(file=str(path))
    ),
    "pretrained_with_sha256": lambda path: create_model(
        NAME, pretrained=True, pretrained_cfg_overlay=dict(file=str(path), sha256="0" * 64)
    ),
}
every_loader = pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS.keys())


@every_loader
def test_a_missing_file_is_a_file_not_found_error_that_names_it(tmp_path, loader):
    path = tmp_path / "nowhere" / "weights.safetensors"
    with pytest.raises(FileNotFoundError) as caught:
        loader(path)
    assert str(caught.value) == f"weight file not found: {path}"


@every_loader
def test_a_folder_is_refused_by_name(tmp_path, loader):
    with pytest.raises(IsADirectoryError) as caught:
        loader(tmp_path)
    assert str(tmp_path) in str(caught.value)


NO_WEIGHT_FILES = {
    "empty": b"",
    "html": b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>\n" * 20,
    "git_lfs_pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "text": b"weights\n",
    "zeros": bytes(4096),
    "png": b"\x89PNG\r\n\x1a\n" + bytes(64),
    "gzip": b"\x1f\x8b\x08\x00" + bytes(64),
    "empty_zip": b"PK\x05\x06" + bytes(18),
}


@pytest.mark.parametrize("content", NO_WEIGHT_FILES.values(), ids=NO_WEIGHT_FILES.keys())
def test_a_file_that_holds_no_weights_is_refused_by_name_and_size(tmp_path, content):
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    message = refusal(small_net(), path)
    assert f"{path} ({len(content):,} bytes)" in message


@pytest.mark.parametrize("content", [NO_WEIGHT_FILES["html"], b""])
def test_checkpoint_path_refuses_what_load_checkpoint_refuses(tmp_path, content):
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"not a readable safetensors or torch\.save file") as caught:
        create_model(NAME, checkpoint_path=path)
    assert str(path) in str(caught.value)


SAFETENSORS_BYTES = save(small_net().state_dict(), metadata={"format": "pt", "top1": "91.00"})


@settings(max_examples=60, deadline=None)
@given(length=st.integers(0, len(SAFETENSORS_BYTES) - 1))
def test_a_safetensors_file_truncated_anywhere_is_refused(tmp_path_factory, length):
    path = tmp_path_factory.mktemp("truncated") / "weights.safetensors"
    path.write_bytes(SAFETENSORS_BYTES[:length])
    message = refusal(small_net(), path)
    assert f"({length:,} bytes)" in message
    assert "truncated" in message


def test_a_safetensors_file_with_bytes_after_its_end_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(SAFETENSORS_BYTES + b"\0")
    assert "not a readable safetensors" in refusal(small_net(), path)


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=300).filter(lambda content: content[:1] not in (b"P", b"\x80")))
def test_random_bytes_are_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("random") / "weights"
    path.write_bytes(content)
    assert "not a readable safetensors or torch.save file" in refusal(small_net(), path)


@pytest.mark.parametrize("length", [1, 2, 9, 64, 1000, 3000])
def test_a_truncated_torch_file_is_refused(tmp_path, length):
    path = tmp_path / "weights.pt"
    torch.save(small_net().state_dict(), path)
    path.write_bytes(path.read_bytes()[:length])
    message = refusal(small_net(), path)
    assert f"({length:,} bytes)" in message
    if length == 3000:
        fault("a torch.save file cut off", message, "the file and the net, untouched", tmp_path)


def test_a_safetensors_file_cut_off_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(SAFETENSORS_BYTES[:3000])
    message = refusal(small_net(), path)
    assert "it may be truncated: delete it and fetch or write it again" in message
    fault("a safetensors file cut off", message, "the file and the net, untouched", tmp_path)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ([torch.zeros(2)], "list"),
        ({"state_dict": {STEM: 1.5}}, "dict"),
        ({"weights of": {STEM: torch.zeros(2)}}, "dict"),
        ({STEM: 1.5}, "dict"),
        ({1: torch.zeros(2)}, "dict"),
        (torch.zeros(2), "Tensor"),
        (None, "NoneType"),
    ],
)
@pytest.mark.parametrize("write", [torch.save, save_in_old_format])
def test_a_torch_file_of_something_else_than_tensors_by_name_is_refused(tmp_path, write, content, kind):
    write(content, tmp_path / "weights.pt")
    message = refusal(small_net(), tmp_path / "weights.pt")
    assert message == f"{tmp_path / 'weights.pt'} holds {kind}, not a state dict of tensors"


def test_a_file_without_any_tensor_misses_them_all(tmp_path):
    for write in FORMATS.values():
        write({}, tmp_path / "weights")
        message = refusal(small_net(), tmp_path / "weights")
        assert f"{len(STATE_NAMES)} missing: {STEM}, " in message


def test_a_tensor_under_the_name_of_a_wrapper_does_not_hide_the_state_dict(tmp_path):
    net = scrambled(small_net())
    content = {"average": torch.tensor([0.1, 0.2]), "state_dict": net.state_dict(), "epoch": 3}
    torch.save(content, tmp_path / "theirs.pth")
    loaded = small_net()
    load_checkpoint(loaded, tmp_path / "theirs.pth")
    assert bytes_of(loaded) == bytes_of(net)


def test_a_shape_that_no_tensor_has_is_refused_by_the_files_name(tmp_path):
    header = json.dumps({"x": {"dtype": "F32", "shape": [0, 2**64 - 1], "data_offsets": [0, 0]}}).encode()
    (tmp_path / "odd").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match=r"odd \(\d+ bytes\) is not a readable safetensors"):
        load_checkpoint(small_net(), tmp_path / "odd")


def test_a_name_of_many_prefixes_takes_no_time(tmp_path):
    save_file({"module." * 300_000: torch.zeros(1)}, tmp_path / "long")
    start = time.process_time()
    with pytest.raises(ValueError, match="does not fit the model"):
        load_checkpoint(small_net(), tmp_path / "long")
    assert time.process_time() - start < 20  # each prefix took a copy of the rest: an hour


def test_a_checkpoint_by_timms_trainer_loads_with_the_arguments_of_its_script(tmp_path):
    net = scrambled(small_net())
    arguments = argparse.Namespace(lr=0.1, data_dir="photos")
    torch.save({"epoch": 3, "state_dict": net.state_dict(), "args": arguments}, tmp_path / "last.pth.tar")
    loaded = small_net()
    load_checkpoint(loaded, tmp_path / "last.pth.tar")
    assert bytes_of(loaded) == bytes_of(net)


def test_a_pickled_net_is_refused(tmp_path):
    torch.save(small_net(), tmp_path / "net.pt")
    assert "cannot be read as a torch.save file of plain tensors" in refusal(small_net(), tmp_path / "net.pt")


class Trap:
    """Makes a folder when it is unpickled: stands for any code in somebody's file."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


def write_raw_pickle(content: object, path: Path, protocol: int) -> None:
    path.write_bytes(pickle.dumps(content, protocol=protocol))


PICKLERS: dict[str, Callable[[object, Path], None]] = {
    "torch": torch.save,
    "old_torch": save_in_old_format,
    **{
        f"pickle_{protocol}": lambda content, path, protocol=protocol: write_raw_pickle(
            content, path, protocol
        )
        for protocol in (0, 1, 2, 5)
    },
}


@pytest.mark.parametrize("write", PICKLERS.values(), ids=PICKLERS.keys())
def test_code_in_a_pickle_is_refused_and_does_not_run(tmp_path, write):
    sprung, path = tmp_path / "sprung", tmp_path / "trap.pt"
    write({**small_net().state_dict(), STEM: Trap(sprung)}, path)
    refusal(small_net(), path)
    with pytest.raises(ValueError, match=r"trap\.pt"):
        create_model(NAME, checkpoint_path=path)
    assert not sprung.exists()
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists()  # the trap works where pickles are trusted


# sha256


def test_a_file_with_another_sha256_than_its_configuration_names_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(create_model(NAME), path, {})
    true = hashlib.sha256(path.read_bytes()).hexdigest()
    for wrong in ("0" * 64, true[:-1] + ("0" if true[-1] != "0" else "1")):
        overlay = dict(file=path, sha256=wrong)
        with pytest.raises(ValueError, match=r"not the file that its configuration names") as caught:
            create_model(NAME, pretrained=True, pretrained_cfg_overlay=overlay)
        for part in (str(path), true, wrong):
            assert part in str(caught.value)


def test_a_file_with_the_sha256_of_its_configuration_loads_until_one_bit_changes(tmp_path):
    source, path = scrambled(create_model(NAME)), tmp_path / "weights.safetensors"
    save_weights(source, path, {})
    content = path.read_bytes()
    overlay = dict(file=path, sha256=hashlib.sha256(content).hexdigest())
    net = create_model(NAME, pretrained=True, pretrained_cfg_overlay=overlay)
    assert bytes_of(net) == bytes_of(source)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"changed or damaged"):
        create_model(NAME, pretrained=True, pretrained_cfg_overlay=overlay)


# The weights that come with the package


BUNDLED = [name for name in list_pretrained() if get_pretrained_cfg(name).file is not None]
every_bundled_weight = pytest.mark.parametrize("name", BUNDLED)


@every_bundled_weight
def test_a_bundled_weight_is_the_file_that_its_configuration_names(name):
    cfg = get_pretrained_cfg(name)
    content = Path(cfg.file).read_bytes()
    assert hashlib.sha256(content).hexdigest() == cfg.sha256
    assert len(content) == cfg.file_size
    assert Path(cfg.file).with_suffix(".md").is_file()


@every_bundled_weight
def test_a_bundled_weight_loads_into_a_net_that_answers(name):
    net = create_model(name, pretrained=True)
    cfg = get_pretrained_cfg(name)
    assert sum(parameter.numel() for parameter in net.parameters()) == cfg.num_params
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
    assert net.training
    with torch.no_grad():
        logits = net.eval()(torch.randn(2, *cfg.input_size))
    assert logits.shape == (2, cfg.num_classes)
    assert logits.isfinite().all()
    assert logits.std() > 0


@every_bundled_weight
def test_a_bundled_weight_tells_where_it_comes_from_and_its_configuration_agrees(name):
    cfg = get_pretrained_cfg(name)
    metadata = read_metadata(Path(cfg.file))
    assert (metadata["architecture"], metadata["tag"]) == split_model_name_tag(name)
    assert metadata["data"] == cfg.data != ""
    assert metadata["recipe"] == cfg.recipe
    assert isinstance(json.loads(metadata["recipe"]), dict)
    assert int(metadata["epochs"]) == cfg.epochs > 0
    assert int(metadata["seed"]) == cfg.seed >= 0
    assert metadata["top1"] == f"{cfg.top1:.2f}"
    least = 50 if cfg.num_classes <= 100 else 30
    assert least < cfg.top1 < 100
    assert tuple(json.loads(metadata["class_names"])) == cfg.label_names
    assert metadata["license"] == cfg.license == "Apache-2.0"
    assert metadata["library_version"] == cfg.library_version != ""
    assert metadata["git_commit"] == cfg.git_commit
    assert len(metadata["git_commit"]) == 40


def test_the_bundled_weights_fit_into_32_mib():
    sizes = [Path(get_pretrained_cfg(name).file).stat().st_size for name in BUNDLED]
    assert sum(sizes) <= 32 * 2**20


@pytest.mark.parametrize("name", BUNDLED[:1])
def test_the_numbers_of_a_bundled_weight_reach_the_net(name):
    net = create_model(name, pretrained=True)
    assert net.pretrained_cfg == dataclasses.asdict(get_pretrained_cfg(name))


def test_a_stem_of_another_width_is_reported_with_the_argument_that_fits(tmp_path):
    """The course project behind this library fed its 16_32_64 nets from a stem of 24 channels."""
    theirs = create_model("sparsenet_bc_100_k16_32_64", stem_channels=24)
    save_file(theirs.state_dict(), tmp_path / "theirs")
    with pytest.raises(
        ValueError, match=r"it would fit create_model\('sparsenet_bc_100_k16_32_64', stem_channels=24\)"
    ):
        create_model("sparsenet_bc_100_k16_32_64", checkpoint_path=tmp_path / "theirs")
    create_model("sparsenet_bc_100_k16_32_64", stem_channels=24, checkpoint_path=tmp_path / "theirs")


@pytest.mark.parametrize("name", ["x" * 70_000, "a\nb\x1b[31m", "\ud800", "é" * 90])
def test_an_odd_name_in_a_file_is_reported_in_one_short_printable_line(tmp_path, name):
    torch.save({**small_net().state_dict(), name: torch.zeros(1)}, tmp_path / "odd.pt")
    message = refusal(small_net(), tmp_path / "odd.pt")
    assert "1 unexpected: " in message
    assert message.isprintable()
    assert len(message) < 600


def test_the_stem_that_a_net_of_ones_own_would_need_is_named_too(tmp_path):
    save_file(small_net(stem_channels=5).state_dict(), tmp_path / "theirs")
    assert refusal(small_net(), tmp_path / "theirs").endswith(
        "; the file's stem has 5 channels, not 2: stem_channels=5"
    )
