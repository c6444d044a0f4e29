"""A model in a folder: saved whole, read by this library and by timm; hostile values are refused."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from support.foreign_nets import OriginalNet, lived_in
from support.nets import scrambled
from support.reliability import fault
from support.repository import REPOSITORY
from torch import nn
from torch.nn.utils import prune
from torch.optim.swa_utils import AveragedModel

from sparsenet_models import (
    SparseNet,
    create_model,
    create_transform,
    freeze,
    list_pretrained,
    load_checkpoint,
    register_model,
    resolve_data_config,
    save_pretrained,
)
from sparsenet_models.cli import main
from sparsenet_models.common.files import sha256_of
from sparsenet_models.data.pictures import open_image
from sparsenet_models.pretrained import read_metadata
from sparsenet_models.pretrained.model_card import model_card
from sparsenet_models.pretrained.weight_file import read_weights

NAME = "sparsenet_bc_40_k12"
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


def same(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return scrambled(create_model(f"{NAME}.cifar100", drop_rate=0.25))


@pytest.fixture
def folder(tmp_path: Path, net: nn.Module) -> Path:
    save_pretrained(net, tmp_path / "net")
    return tmp_path / "net"


def edited(folder: Path, **changes: Any) -> Path:
    """Replace keys of the folder's config.json; ``None`` removes one."""
    path = folder / CONFIG
    config = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return folder


def refusal(folder: Path, kind: type[Exception] = ValueError) -> str:
    with pytest.raises(kind) as caught:
        create_model(f"local-dir:{folder}", pretrained=True)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    return str(caught.value)


# What is saved comes back


def test_a_saved_model_comes_back_with_its_weights_arguments_and_configuration(folder, net):
    again = create_model(f"local-dir:{folder}", pretrained=True)
    assert same(again, net)
    assert again.head.drop.p == 0.25
    assert again.num_classes == 100
    ours, theirs = net.pretrained_cfg, again.pretrained_cfg
    for key in ("architecture", "tag", "input_size", "mean", "std", "label_names", "crop_pct", "classifier"):
        assert theirs[key] == ours[key]
    assert sorted(path.name for path in folder.iterdir()) == [CARD, CONFIG, WEIGHTS]


@pytest.mark.parametrize(
    "arguments",
    [
        dict(stem_channels=20),
        dict(num_classes=0, global_pool=""),
        dict(in_chans=1, num_classes=3),
        dict(aggregation="dense", base=3, compression=0.7),
        dict(merge="sum"),
        dict(growth_rate=[4, 8, 16]),
    ],
)
def test_every_argument_that_json_can_hold_is_kept(tmp_path, arguments):
    net = scrambled(create_model(NAME, **arguments))
    save_pretrained(net, tmp_path / "a" / "b")
    again = create_model(f"local-dir:{tmp_path / 'a' / 'b'}", pretrained=True)
    assert same(again, net)
    assert (again.num_classes, again.in_chans, again.global_pool) == (
        net.num_classes,
        net.in_chans,
        net.global_pool,
    )


def test_a_head_that_was_replaced_is_saved_as_it_is(tmp_path):
    net = create_model(NAME)
    net.reset_classifier(4, "max")
    save_pretrained(net, tmp_path)
    again = create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert same(again, net)
    assert (again.global_pool, again.pretrained_cfg["label_names"]) == ("max", None)


def test_the_callers_arguments_beat_the_saved_ones(folder, net):
    again = create_model(f"LOCAL-DIR:{folder}", pretrained=True, num_classes=5, in_chans=1, drop_rate=0.5)
    assert (again.num_classes, again.in_chans, again.head.drop.p) == (5, 1, 0.5)
    assert torch.equal(again.norm.weight, net.norm.weight)
    assert create_model(f"local-dir:{folder}", drop_rate=None).head.drop.p == 0.25


def test_a_saved_model_is_replaced_and_its_readme_is_not(folder):
    (folder / CARD).write_text("mine")
    other = scrambled(create_model(NAME))
    save_pretrained(other, folder)
    assert same(create_model(f"local-dir:{folder}", pretrained=True), other)
    assert (folder / CARD).read_text() == "mine"


def test_a_readme_that_stays_names_the_weights_that_its_figures_hold_for(tmp_path):
    net = create_model(list_pretrained()[0], pretrained=True)
    save_pretrained(net, tmp_path)
    first, card = sha256_of(tmp_path / WEIGHTS), (tmp_path / CARD).read_text()
    assert f"these weights, the `{WEIGHTS}` with sha256 `{first}`, and hold for no others." in card
    save_pretrained(scrambled(net), tmp_path)
    assert (tmp_path / CARD).read_text() == card
    assert sha256_of(tmp_path / WEIGHTS) != first


def test_a_link_in_the_place_of_the_weights_is_replaced_and_what_it_leads_to_stays(tmp_path, folder, net):
    elsewhere = tmp_path / "elsewhere"
    (folder / WEIGHTS).rename(elsewhere)
    (folder / WEIGHTS).symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    other = scrambled(create_model(NAME))
    save_pretrained(other, folder)
    assert same(create_model(f"local-dir:{folder}", pretrained=True), other)
    assert elsewhere.read_bytes() == before


def test_a_path_of_odd_characters_is_taken_as_it_is(tmp_path, net):
    place = tmp_path / "a b@c:d#é"
    save_pretrained(net, place)
    assert same(create_model(f"local-dir:{place}", pretrained=True), net)


def test_a_folder_of_the_hubs_own_cache_consists_of_links_and_loads(tmp_path, folder, net):
    (tmp_path / "blobs").mkdir()
    snapshot = tmp_path / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    for name in (CONFIG, WEIGHTS):
        (folder / name).rename(tmp_path / "blobs" / name)
        (snapshot / name).symlink_to(Path("../../blobs") / name)
    assert same(create_model(f"local-dir:{snapshot}", pretrained=True), net)


def test_the_figures_of_published_weights_are_saved_and_those_of_others_are_not(tmp_path):
    name = list_pretrained()[0]
    published = create_model(name, pretrained=True)
    save_pretrained(published, tmp_path / "published")
    evidence = json.loads((tmp_path / "published" / CONFIG).read_text())["evidence"]
    assert evidence["top1"] == published.pretrained_cfg["top1"]
    assert read_metadata(tmp_path / "published" / WEIGHTS)["recipe"] == evidence["recipe"]
    again = create_model(f"local-dir:{tmp_path / 'published'}", pretrained=True)
    assert again.pretrained_cfg["top1"] == published.pretrained_cfg["top1"]

    again.pretrained_cfg["file"] = str(tmp_path / "gone")
    save_pretrained(again, tmp_path / "unknown")
    assert "evidence" not in json.loads((tmp_path / "unknown" / CONFIG).read_text())

    with torch.no_grad():
        published.norm.weight[0] += 1
    save_pretrained(published, tmp_path / "changed")
    assert "evidence" not in json.loads((tmp_path / "changed" / CONFIG).read_text())
    assert "No figures are given" in (tmp_path / "changed" / CARD).read_text()


@pytest.mark.parametrize(
    ("data", "restricted"), [("tiny-imagenet", True), ("imagenette", True), ("cifar10", False)]
)
def test_a_card_tells_the_terms_of_the_images_that_its_weights_were_trained_on(data, restricted):
    net = create_model(list_pretrained()[0])
    net.pretrained_cfg["data"] = data
    shown = model_card(net, "hf-hub:me/net", with_evidence=True, sha256="0" * 64)
    assert ("| training images | photographs of ImageNet, whose terms" in shown) == restricted
    assert "training images |" not in model_card(net, "hf-hub:me/net", with_evidence=False, sha256="0" * 64)


def test_figures_are_not_claimed_for_weights_that_are_rounded_or_used_otherwise(tmp_path):
    for number, options in enumerate(
        (
            dict(dtype=torch.bfloat16),
            dict(global_pool="max"),
            dict(pretrained_cfg_overlay=dict(mean=(0.0, 0.0, 0.0))),
        )
    ):
        model = create_model(f"{NAME}.cifar10", pretrained=True, **options)
        save_pretrained(model, tmp_path / str(number))
        assert "evidence" not in json.loads((tmp_path / str(number) / CONFIG).read_text())


def test_the_same_weights_are_saved_as_the_same_bytes(tmp_path):
    model = create_model(f"{NAME}.cifar10", pretrained=True)
    code = f"""
import sparsenet_models
model = sparsenet_models.create_model("{NAME}.cifar10", pretrained=True)
sparsenet_models.save_pretrained(model, r"{tmp_path / "elsewhere"}")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    for number in range(5):
        save_pretrained(model, tmp_path / str(number))
    (content,) = {path.read_bytes() for path in tmp_path.glob(f"*/{WEIGHTS}")}
    assert content
    assert same(create_model(f"local-dir:{tmp_path / '0'}", pretrained=True), model)


def test_what_a_compiled_or_averaged_net_wraps_is_saved_and_loaded(tmp_path, net, folder):
    for number, wrapped in enumerate((torch.compile(net), nn.DataParallel(net), AveragedModel(net))):
        save_pretrained(wrapped, tmp_path / str(number))
        assert same(create_model(f"local-dir:{tmp_path / str(number)}", pretrained=True), net)
    empty = create_model(f"{NAME}.cifar100")
    load_checkpoint(torch.compile(empty), folder / WEIGHTS)
    assert same(empty, net)


def test_a_save_that_fails_at_any_moment_leaves_the_model_that_was_there(folder, net, monkeypatch):
    other = scrambled(create_model(f"{NAME}.cifar100"))
    fsync, calls = os.fsync, []

    def full_at_the_second(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full_at_the_second)
    with pytest.raises(OSError, match="No space left"):
        save_pretrained(other, folder)
    assert same(create_model(f"local-dir:{folder}", pretrained=True), net)
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("in_chans", [None, 1])
def test_a_net_registered_as_the_docs_say_comes_back_and_nothing_is_made_up(tmp_path, own_models, in_chans):
    @register_model
    def tiny_registered_net(**kwargs):
        return SparseNet(depth=10, growth_rate=4, **kwargs)

    model = scrambled(create_model("tiny_registered_net", num_classes=3, in_chans=in_chans))
    save_pretrained(model, tmp_path / "net")
    again = create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True)
    assert same(again, model)
    weights = str(tmp_path / "net" / WEIGHTS)
    assert again.pretrained_cfg == {**model.pretrained_cfg, "file": weights}
    with pytest.raises(ValueError, match="pretrained_cfg"):
        resolve_data_config(again)
    assert create_model(f"local-dir:{tmp_path / 'net'}", in_chans=2).in_chans == 2


def test_predict_uses_the_classes_arguments_and_images_of_a_saved_folder(tmp_path):
    names = tuple(f"own{index}" for index in range(10))
    overlay = dict(label_names=names, num_classes=10, input_size=(3, 48, 48))
    options = dict(pretrained_cfg_overlay=overlay, global_pool="max", stem_channels=20)
    model = lived_in(create_model(f"{NAME}.cifar10", **options))
    save_pretrained(model, tmp_path / "net")
    photo = REPOSITORY / "examples" / "photos" / "cat_chelsea.jpg"
    result = run("predict", photo, "--model", tmp_path / "net", "--json")
    assert result.exit_code == 0, result.output
    (answer,) = json.loads(result.stdout)
    transform = create_transform(**resolve_data_config(model))
    with torch.no_grad():
        best = names[model.eval()(transform(open_image(photo))[None]).argmax()]
    assert answer["predictions"][0]["label"] == best


def test_timms_own_loader_reads_a_saved_folder(folder, net):
    timm = pytest.importorskip("timm")
    from sparsenet_models.integrations.timm import register

    register()
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert same(theirs, net)
    assert theirs.pretrained_cfg["mean"] == list(net.pretrained_cfg["mean"])
    assert timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=5).num_classes == 5


def test_a_configuration_that_timm_wrote_is_read(tmp_path, net):
    """The form of timm 1.0's save_for_hf: no weights entry, no evidence, fields that we do not have."""
    config = {
        "architecture": NAME,
        "num_classes": 100,
        "num_features": 36,
        "pretrained_cfg": {
            "tag": "theirs",
            "custom_load": False,
            "input_size": [3, 32, 32],
            "test_crop_pct": 0.9,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.2, 0.2, 0.2],
            "num_classes": 100,
        },
    }
    (tmp_path / CONFIG).write_text(json.dumps(config))
    save_file(net.state_dict(), tmp_path / WEIGHTS)
    again = create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert same(again, net)
    assert again.pretrained_cfg["tag"] == "theirs"
    assert again.pretrained_cfg["mean"] == (0.5, 0.5, 0.5)


# What cannot be saved leaves nothing


def unsavable() -> dict[str, tuple[Callable[[], nn.Module], str]]:
    def not_finite() -> nn.Module:
        net = create_model(NAME)
        net.norm.bias.data[3] = float("nan")
        return net

    def same_names() -> nn.Module:
        net = create_model(NAME, num_classes=3)
        net.pretrained_cfg["label_names"] = ("crane", "maillot", "crane")
        return net

    def changed(change: Callable[[nn.Module], object]) -> Callable[[], nn.Module]:
        def build() -> nn.Module:
            net = create_model(NAME)
            change(net)
            return net

        return build

    def give_another_stem(net: nn.Module) -> None:
        net.stem.conv = nn.Conv2d(4, 12, 3, padding=1, bias=False)

    does_not_fit = (
        "its weights do not fit the net that its config.json describes, which create_model would build"
    )
    return {
        "pruned": (
            changed(lambda net: net.prune_intermediate_layers([0])),
            f"{does_not_fit}: 161 missing: stages.1",
        ),
        "masked": (
            changed(lambda net: prune.l1_unstructured(net.stem.conv, "weight", 0.3)),
            f"{does_not_fit}: 1 missing: stem.conv.weight; 2 unexpected: ",
        ),
        "another_stem": (
            changed(give_another_stem),
            f"{does_not_fit}: 1 of another shape: stem.conv.weight",
        ),
        "below_zero": (
            changed(lambda net: net.norm.running_var.sub_(2)),
            f"{does_not_fit}: 1 below zero, though a variance: norm.running_var",
        ),
        "function": (lambda: create_model(NAME, aggregation=lambda layer: (layer - 1,)), "aggregation="),
        "no_name": (lambda: SparseNet(depth=7, growth_rate=2), r"create_model\(name\)"),
        "meta": (lambda: create_model(NAME, device="meta"), "meta device"),
        "names": (same_names, "its config.json would be refused: label_names names 'crane' twice"),
        "too_deep": (lambda: create_model("resnet_20", depth=2006), "at most 2,000"),
        "not_finite": (not_finite, "norm.bias has numbers that are not finite"),
    }


@pytest.mark.parametrize(("build", "word"), unsavable().values(), ids=unsavable().keys())
def test_a_model_that_cannot_be_saved_leaves_nothing(tmp_path, build, word):
    with pytest.raises(ValueError, match=word):
        save_pretrained(build(), tmp_path / "net")
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize(
    "change",
    [nn.SyncBatchNorm.convert_sync_batchnorm, lambda net: freeze(net, "stages.1"), nn.Module.half],
    ids=["synchronised", "frozen", "half"],
)
def test_a_net_with_norms_or_numbers_of_another_kind_but_the_same_names_is_saved(tmp_path, change):
    net = scrambled(create_model(NAME))
    net = change(net) or net
    save_pretrained(net, tmp_path)
    again = create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert same(again, net.float())


# Prefixes and hints


@pytest.mark.parametrize(
    "name", ["org/name", "./folder", "C:\\models\\x", "C:/models/x", "org/name:v1", "some/where/net.tag"]
)
def test_a_path_or_a_repository_without_a_prefix_gets_both_suggestions(name):
    with pytest.raises(ValueError, match="write") as caught:
        create_model(name)
    assert f"'hf-hub:{name}' or 'local-dir:{name}'" in str(caught.value)
    if name == "org/name":
        fault("a repository or a folder without its prefix", str(caught.value), "nothing")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hf-hubs:org/name", ["unknown prefix 'hf-hubs'", "did you mean 'hf-hub'?"]),
        ("ftp:org/name", ["unknown prefix 'ftp'", "hf-hub:", "local-dir:"]),
        ("local-dir:", ["write local-dir:path"]),
        ("hf-hub:", ["write hf-hub:org/name"]),
    ],
)
def test_a_prefix_that_is_unknown_or_alone_is_reported(name, words):
    with pytest.raises(ValueError, match=name.partition(":")[0]) as caught:
        create_model(name)
    assert all(word in str(caught.value) for word in words)


def test_a_folder_that_transformers_saved_again_loads(folder, net):
    state = read_weights(folder / WEIGHTS)
    save_file({f"timm_model.{name}": tensor for name, tensor in state.items()}, folder / WEIGHTS)
    config = json.loads((folder / CONFIG).read_text())
    assert config["weights"]["sha256"] != sha256_of(folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config | {"transformers_version": "4.57.0"}))
    assert same(create_model(f"local-dir:{folder}", pretrained=True), net)


def test_a_saved_configuration_has_what_transformers_reads_where_it_reads_it(folder):
    config = json.loads((folder / CONFIG).read_text())
    assert config["num_classes"] == len(config["label_names"])
    assert config["label_names"] == config["pretrained_cfg"]["label_names"]
    assert "num_classes" not in config["model_args"]


# Folders without a model


def test_missing_folders_and_files_are_named(tmp_path, folder):
    message = refusal(tmp_path / "nowhere", FileNotFoundError)
    fault("local-dir: of a folder that is not there", message, "nothing", tmp_path)
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    message = refusal(folder, FileNotFoundError)
    assert message.endswith(f"; checkpoint_path='{folder / 'pytorch_model.bin'}' reads the one that is there")
    (folder / "pytorch_model.bin").rename(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    assert "weight file not found" in refusal(folder, FileNotFoundError)
    (folder / CONFIG).unlink()
    assert "configuration file not found" in refusal(folder, FileNotFoundError)


def test_weights_other_than_those_that_the_configuration_names_are_refused(tmp_path, folder, net):
    state = {name: tensor + 1 for name, tensor in net.state_dict().items()}
    save_file(state, folder / WEIGHTS)
    message = refusal(folder)
    assert "not the file that its configuration names" in message
    assert f"names ({(folder / WEIGHTS).stat().st_size:,} bytes, sha256 " in message
    assert message.endswith("; it was changed or damaged: delete it and fetch or write it again")
    fault("model.safetensors was changed after config.json was written", message, "both, untouched", tmp_path)


def test_links_out_of_the_folder_are_refused(tmp_path, folder):
    for name in (WEIGHTS, CONFIG):
        elsewhere = tmp_path / f"elsewhere_{name}"
        (folder / name).rename(elsewhere)
        (folder / name).symlink_to(elsewhere)
        message = refusal(folder)
        assert f"it is a link to {elsewhere}" in message
    fault("a link out of the folder", message, "the folder, untouched", tmp_path)
    snapshots = tmp_path / "snapshots"
    snapshots.mkdir()
    folder.rename(snapshots / "net")
    assert "it is a link to" in refusal(snapshots / "net")


def test_a_link_to_itself_is_refused(tmp_path):
    (tmp_path / CONFIG).symlink_to(tmp_path / CONFIG)
    with pytest.raises((ValueError, OSError)) as caught:
        create_model(f"local-dir:{tmp_path}")
    assert str(tmp_path / CONFIG) in str(caught.value)


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "unknown architecture": ({"architecture": "sparsenet_bc_40_k13"}, "did you mean 'sparsenet_bc_40_k12'"),
    "architecture of another type": ({"architecture": ["a"]}, "architecture must be a name"),
    "no architecture": ({"architecture": None}, "architecture must be a name, got None"),
    "depth of 10**9": ({"model_args": {"depth": 10**9}}, "depth must be above 0 and at most 2,000 in all"),
    "layers of 10**9": (
        {"model_args": {"layers": [10**9]}},
        "layers must be above 0 and at most 2,000 in all",
    ),
    "negative depth": ({"model_args": {"depth": -40}}, "depth must be"),
    "growth rate of 10**9": ({"model_args": {"growth_rate": 10**9}}, "growth_rate must be at most"),
    "growth rate of 10**6": ({"model_args": {"growth_rate": 10**6}}, "parameters; at most"),
    "classes of 10**9": ({"num_classes": 10**9, "model_args": {}}, "num_classes must be"),
    "depth as a text": ({"model_args": {"depth": "40"}}, "depth must be"),
    "depth as a fraction": ({"model_args": {"depth": 40.5}}, "depth must be"),
    "flag as a text": ({"model_args": {"bottleneck": "no"}}, "bottleneck must be true or false"),
    "unknown argument": ({"model_args": {"growth": 3}}, "takes no argument 'growth'; did you mean"),
    "arguments of another type": ({"model_args": [1, 2]}, "model_args must be an object"),
    "argument of another type": ({"model_args": {"stem": {"a": 1}}}, "stem must be"),
    "path out of the folder": ({"weights": {"file": "../../etc/passwd"}}, "in no other folder"),
    "absolute path": ({"weights": {"file": "/etc/passwd.safetensors"}}, "in no other folder"),
    "pickle as weights": ({"weights": {"file": "model.bin"}}, "a plain NAME.safetensors"),
    "file name of another type": ({"weights": {"file": 3}}, "a plain NAME.safetensors"),
    "sha256 of another form": ({"weights": {"sha256": "abc"}}, "64 hexadecimal digits"),
    "configuration of another type": ({"pretrained_cfg": "x"}, "pretrained_cfg must be an object"),
    "input size of another type": ({"pretrained_cfg": {"input_size": "3x32x32"}}, "input_size must be"),
    "deviation of zero": ({"pretrained_cfg": {"std": [0, 1, 1]}}, "std must be"),
    "mean not finite": ({"pretrained_cfg": {"mean": [float("nan")] * 3}}, "mean must be"),
    "channels that differ": ({"model_args": {"in_chans": 7}}, "in_chans=7 contradicts"),
    "names that are not as many": ({"label_names": ["a", "b"]}, "label_names names 2 classes of 100"),
    "accuracy above 100": ({"evidence": {"top1": 101}}, "top1 must be"),
}


@pytest.mark.parametrize(("changes", "word"), HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("pretrained", [True, False])
def test_a_hostile_configuration_is_refused_at_once(tmp_path, folder, changes, word, pretrained, request):
    edited(folder, **changes)
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"config\.json is refused: ") as caught:
        create_model(f"local-dir:{folder}", pretrained=pretrained)
    assert time.monotonic() - start < 10
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    if pretrained:
        case = request.node.callspec.id.partition("-")[2]
        fault(f"config.json: {case}", str(caught.value), "the folder, untouched", tmp_path)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "is not readable JSON"),
        (b"{", "is not readable JSON"),
        (b"\xff\xfe\x00", "is not readable JSON"),
        (b"<!DOCTYPE html><html></html>", "is not readable JSON"),
        (b"[" * 100_000, "is not readable JSON"),
        (b'{"architecture": ' + b"1" * 10_000 + b"}", "is not readable JSON"),
        (b"[1, 2]", "it holds list, not an object"),
        (b"null", "it holds NoneType, not an object"),
        (b" " * (16 * 2**20 + 1), "it has 16,777,217 bytes"),
    ],
    ids=["empty", "cut", "binary", "page", "deep", "digits", "list", "null", "huge"],
)
def test_a_configuration_that_is_none_is_refused(tmp_path, folder, content, word):
    (folder / CONFIG).write_bytes(content)
    message = refusal(folder)
    assert word in message
    if content == b"{":
        fault("config.json: no JSON", message, "the folder, untouched", tmp_path)


def test_a_header_length_of_ten_gigabytes_is_refused_at_once(tmp_path, folder):
    edited(folder, weights=None)
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes((10 * 10**9).to_bytes(8, "little") + content[8:])
    start = time.monotonic()
    message = refusal(folder)
    assert time.monotonic() - start < 5
    assert "not a readable safetensors" in message
    fault("a safetensors header length of 10 GB", message, "the file, untouched", tmp_path)


def test_a_pickle_in_the_place_of_the_weights_runs_nothing(tmp_path, folder):
    sprung = tmp_path / "sprung"

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(sprung),)

    edited(folder, weights=None)
    torch.save({"stem.conv.weight": Trap()}, folder / WEIGHTS)
    message = refusal(folder)
    assert not sprung.exists()
    fault("a pickle that would run code", message, "the file, untouched", tmp_path)


def test_a_tensor_that_claims_a_shape_without_end_is_refused_without_filling_the_memory(tmp_path):
    """A stride of zero lets one stored number be a tensor of any size."""
    net = create_model(NAME)
    state = dict(net.state_dict())
    for name in ("stem.conv.weight", "norm.weight"):
        shape = (10**12, 3, 3, 3) if name == "stem.conv.weight" else (10**13,)
        state[name] = torch.zeros(1).as_strided(shape, (0,) * len(shape))
    torch.save(state, tmp_path / "vast.pt")
    for channels in (3, 1):
        with pytest.raises(ValueError, match=r"of another shape: stem\.conv\.weight \(file \(1000000000000,"):
            create_model(NAME, in_chans=channels, checkpoint_path=tmp_path / "vast.pt")


# The command line


def write_deflated(path: Path, numbers: int) -> None:
    """Write a torch.save file of a tensor of zeros as a compressed zip file."""
    content = io.BytesIO()
    torch.save({"stem.conv.weight": torch.zeros(numbers)}, content)
    with zipfile.ZipFile(content) as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as deflated:
        for member in plain.namelist():
            deflated.writestr(member, plain.read(member))


def test_a_compressed_torch_file_that_python_cannot_list_is_refused_too(tmp_path):
    write_deflated(tmp_path / "deflated.pth", 3_000_000)
    content = bytearray((tmp_path / "deflated.pth").read_bytes())
    content[content.rindex(b"PK\x01\x02") + 6] = 100  # the version of zip that its last member needs
    (tmp_path / "deflated.pth").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"deflated.pth .* cannot be read as a torch.save file .*NotImplemented"
    ):
        load_checkpoint(create_model(NAME), tmp_path / "deflated.pth")


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_a_configuration_that_is_no_file_of_the_folder_is_never_read(tmp_path, kind):
    save_pretrained(create_model(NAME), tmp_path / "net")
    config = tmp_path / "net" / CONFIG
    config.unlink()
    if kind == "pipe":
        os.mkfifo(config)
    else:
        config.symlink_to("/dev/zero")
    with pytest.raises((ValueError, OSError), match=r"config\.json"):
        create_model(f"local-dir:{tmp_path / 'net'}")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input_size": [3, 4096, 4096], "crop_pct": 0.05}, "images would be resized to 81,920 pixels"),
        ({"input_size": [3, 2, 2]}, r"input_size=\(3, 2, 2\) is below min_input_size=\(3, 8, 8\)"),
    ],
)
def test_images_that_would_take_gigabytes_or_are_too_small_are_refused(tmp_path, fields, message):
    save_pretrained(create_model(NAME), tmp_path / "net")
    config = json.loads((tmp_path / "net" / CONFIG).read_text())
    config["pretrained_cfg"] |= fields
    (tmp_path / "net" / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        create_model(f"local-dir:{tmp_path / 'net'}")


def test_a_folder_whose_name_is_not_unicode_is_written_whole(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/n\xe4t"))
    save_pretrained(create_model(NAME), folder)
    assert sorted(path.name for path in folder.iterdir()) == [CARD, CONFIG, WEIGHTS]


def test_a_compressed_torch_file_is_refused_before_it_fills_the_memory(tmp_path):
    write_deflated(tmp_path / "deflated.pth", 30_000_000)
    assert (tmp_path / "deflated.pth").stat().st_size < 1_000_000
    with pytest.raises(ValueError, match=r"deflated.pth .* would unpack to 120,\d+,\d+ bytes") as caught:
        create_model(NAME, checkpoint_path=tmp_path / "deflated.pth")
    fault(
        "a torch.save file that would unpack to far more", str(caught.value), "the file, untouched", tmp_path
    )


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"data_config": "[1]"}, "data_config must be an object, got [1]"),
        ({"data_config": "nope"}, "Expecting value"),
        ({"data_config": '{"input_size": 5}'}, "input_size must be a list of sizes up to 4096, got 5"),
        ({"data_config": '{"inputsize": [3, 32, 32]}'}, "did you mean 'input_size'"),
        ({"data_config": '{"num_classes": 1000000000}'}, "no field 'num_classes'"),
        ({"class_names": "5"}, "label_names must be a list of texts, got 5"),
    ],
)
def test_metadata_that_cannot_be_are_refused_with_the_files_name(tmp_path, net, metadata, words):
    path = tmp_path / "net.safetensors"
    save_file(net.state_dict(), path, {"architecture": NAME, **metadata})
    result = run("predict", REPOSITORY / "examples" / "photos" / "cat_chelsea.jpg", "--checkpoint", path)
    assert result.exit_code == 1
    assert f"the metadata of {path} are refused: " in result.output
    assert words in result.output
    if words.startswith("data_config must"):
        fault(
            "metadata of a weight file that cannot be", result.output.strip(), "the file, untouched", tmp_path
        )


def run(*arguments: object):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_convert_writes_a_file_that_gives_the_same_logits(tmp_path):
    theirs = lived_in(OriginalNet(40, (12, 12, 12), True, False, 12, num_classes=7))
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "theirs.pth")
    result = run("convert", tmp_path / "theirs.pth", tmp_path / "ours.safetensors", "--model", NAME)
    assert result.exit_code == 0
    assert "7 classes" in result.stdout
    assert read_metadata(tmp_path / "ours.safetensors")["architecture"] == NAME
    assert load_file(tmp_path / "ours.safetensors").keys() == create_model(NAME).state_dict().keys()
    ours = create_model(NAME, num_classes=7, checkpoint_path=tmp_path / "ours.safetensors")
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours.double().eval()(images), theirs.double()(images), rtol=0, atol=1e-9)


def test_convert_writes_a_folder_that_keeps_the_width_of_the_stem(tmp_path):
    names = dict(norm="batch_norm", last_norm="batch_norm_last_layer")
    theirs = lived_in(OriginalNet(40, (12, 12, 12), True, False, 24, **names))
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    target = tmp_path / "ours"
    refused = run("convert", tmp_path / "theirs.pth", target, "--model", NAME)
    assert refused.exit_code == 1
    assert f"it would fit create_model('{NAME}', stem_channels=24)" in refused.stderr
    assert not target.exists()
    done = run("convert", tmp_path / "theirs.pth", target, "--model", NAME, "--stem-channels", 24)
    assert done.exit_code == 0
    ours = create_model(f"local-dir:{target}", pretrained=True)
    assert torch.equal(ours.stem.conv.weight, theirs.features.conv0.weight)


def test_convert_keeps_the_head_of_a_lightning_checkpoint(tmp_path, net):
    state = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "last.ckpt")
    result = run("convert", tmp_path / "last.ckpt", tmp_path / "ours.safetensors", "--model", NAME)
    assert result.exit_code == 0
    assert same(create_model(NAME, num_classes=100, checkpoint_path=tmp_path / "ours.safetensors"), net)


def test_convert_into_a_folder_that_is_not_there_names_it(tmp_path, folder):
    result = run("convert", folder / WEIGHTS, tmp_path / "no" / "x.safetensors", "--model", NAME)
    assert result.exit_code == 1
    assert f"there is no folder {tmp_path / 'no'}" in result.output


def test_convert_overwrites_nothing(tmp_path):
    source = tmp_path / "weights.safetensors"
    save_file(create_model(NAME).state_dict(), source)
    before = source.read_bytes()
    result = run("convert", source, source, "--model", NAME)
    assert result.exit_code == 1
    assert result.stderr == f"Error: {source} is there already and is not overwritten\n"
    assert source.read_bytes() == before


def test_verify_tells_the_sha256_of_every_weight_and_fails_for_a_changed_one(tmp_path, folder):
    result = run("verify")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list_pretrained()
    assert all(len(line.split()[1]) == 64 for line in lines)
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    result = run("verify", f"local-dir:{folder}", list_pretrained()[0])
    assert result.exit_code == 1
    assert "not the file that its configuration names" in result.stderr
    assert result.stdout.startswith(list_pretrained()[0])
