"""Weights of a user's own run: their classes, image configuration and metrics go through every door."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from support.nets import DATA_CONFIG

from sparsenet_models import (
    PretrainedCfg,
    create_model,
    load_checkpoint,
    register_model_deprecations,
    resolve_data_config,
    save_pretrained,
)
from sparsenet_models.cli import main
from sparsenet_models.integrations.convert import convert_checkpoint
from sparsenet_models.integrations.export import METADATA_FILE, export_metadata, export_model
from sparsenet_models.models.pretrained_cfg import pretrained_cfg_of
from sparsenet_models.pretrained.weight_file import (
    read_metadata,
    read_state_dict,
    read_weight_description,
    save_weights,
    weight_description,
)

NAME = "sparsenet_bc_40_k12"
FLOWERS = tuple("aster crocus daisy hyacinth iris lily orchid poppy rose violet".split())
"""Ten classes, as many as CIFAR-10 has, so that no number of classes tells them apart."""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of a run on ten flowers, as `sparsenet train` leaves it."""
    folder = tmp_path_factory.mktemp("flowers") / "run"
    folder.mkdir()
    cfg = PretrainedCfg(
        architecture=NAME,
        label_names=FLOWERS,
        data="flowers",
        recipe='{"epochs": 5}',
        epochs=5,
        seed=3,
        top1=87.5,
        library_version="0.1",
        git_commit="0" * 40,
        license="Apache-2.0",
        **DATA_CONFIG,
    )
    metadata = weight_description(cfg, with_metrics=True)
    torch.manual_seed(0)
    save_weights(create_model(NAME, num_classes=10), folder / "model.safetensors", metadata)
    (folder / "run.json").write_text(json.dumps({"model": NAME}))
    return folder


def by_name_and_file(run, _):
    return create_model(NAME, checkpoint_path=run / "model.safetensors")


def by_a_tag_and_file(run, _):
    return create_model(f"{NAME}.cifar10", checkpoint_path=run / "model.safetensors")


def by_the_run(run, _):
    return create_model(f"local-dir:{run}", pretrained=True)


def by_the_file(run, _):
    return create_model(f"local-dir:{run / 'model.safetensors'}", pretrained=True)


def by_an_older_run(run, folder):
    shutil.copytree(run, folder / "old")
    (folder / "old" / "run.json").rename(folder / "old" / "config.json")
    return create_model(f"local-dir:{folder / 'old'}", pretrained=True)


def into_a_net(run, _):
    net = create_model(f"{NAME}.cifar10", pretrained=True)
    load_checkpoint(net, run / "model.safetensors")
    return net


def through_a_saved_folder(run, folder):
    save_pretrained(by_the_run(run, folder), folder / "saved")
    return create_model(f"local-dir:{folder / 'saved'}", pretrained=True)


def through_the_file_of_a_saved_folder(run, folder):
    through_a_saved_folder(run, folder)
    return create_model(NAME, checkpoint_path=folder / "saved" / "model.safetensors")


def through_a_converted_file(run, folder):
    convert_checkpoint(run / "model.safetensors", folder / "new.safetensors", NAME)
    return create_model(f"local-dir:{folder / 'new.safetensors'}", pretrained=True)


def through_a_converted_folder(run, folder):
    convert_checkpoint(run / "model.safetensors", folder / "new", NAME)
    return create_model(f"local-dir:{folder / 'new'}", pretrained=True)


def through_timm(run, folder):
    timm = pytest.importorskip("timm")
    from sparsenet_models.integrations.timm import register

    register()
    save_pretrained(by_the_run(run, folder), folder / "saved")
    return timm.create_model(f"local-dir:{folder / 'saved'}", pretrained=True)


DOORS = [
    by_name_and_file,
    by_a_tag_and_file,
    by_the_run,
    by_the_file,
    by_an_older_run,
    into_a_net,
    through_a_saved_folder,
    through_the_file_of_a_saved_folder,
    through_a_converted_file,
    through_a_converted_folder,
    through_timm,
]


@pytest.mark.parametrize("door", DOORS)
def test_weights_keep_their_classes_and_their_image_configuration(run, tmp_path, door):
    net = door(run, tmp_path)
    assert tuple(net.pretrained_cfg["label_names"]) == FLOWERS
    # timm leaves lists of a config.json as they are.
    assert json.dumps(resolve_data_config(net)) == json.dumps(DATA_CONFIG)
    assert net.pretrained_cfg["architecture"] == NAME
    expected = read_state_dict(run / "model.safetensors")
    assert all(torch.equal(tensor, expected[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("door", [door for door in DOORS if door is not through_timm])
def test_weights_keep_the_metrics_that_were_measured_on_test_images(run, tmp_path, door):
    cfg = door(run, tmp_path).pretrained_cfg
    assert (cfg["data"], cfg["top1"], cfg["epochs"], cfg["seed"]) == ("flowers", 87.5, 5, 3)


def test_saved_weights_keep_the_epochs_that_they_began_with(tmp_path):
    save_pretrained(create_model(f"{NAME}.cifar100", pretrained=True), tmp_path / "net")
    saved = create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True)
    assert pretrained_cfg_of(saved).epochs_text == "39 + 8"


def test_weights_take_over_nothing_that_was_measured_on_those_of_the_tag(run, tmp_path):
    tagged = create_model(f"{NAME}.cifar10", device="meta").pretrained_cfg
    cfg = by_a_tag_and_file(run, tmp_path).pretrained_cfg
    for key in ("machine", "train_seconds", "sha256", "macs", "pool_size"):
        assert tagged[key] is not None
        assert cfg[key] is None, key


def test_a_score_on_held_out_images_is_no_score_on_test_images(run, tmp_path):
    metadata = read_metadata(run / "model.safetensors") | {"scored_on": "held-out images"}
    save_weights(by_the_run(run, tmp_path), tmp_path / "held.safetensors", metadata)
    cfg = create_model(f"local-dir:{tmp_path / 'held.safetensors'}", pretrained=True).pretrained_cfg
    assert (cfg["top1"], cfg["epochs"]) == (None, 5)


def test_changed_weights_keep_their_classes_and_lose_their_metrics(run, tmp_path):
    net = by_the_run(run, tmp_path)
    with torch.no_grad():
        net.head.fc.bias += 1
    save_pretrained(net, tmp_path / "changed")
    cfg = create_model(f"local-dir:{tmp_path / 'changed'}", pretrained=True).pretrained_cfg
    assert cfg["label_names"] == FLOWERS
    assert cfg["top1"] is None
    assert "top1" not in read_metadata(tmp_path / "changed" / "model.safetensors")


def test_another_number_of_classes_makes_a_new_head_without_names(run):
    net = create_model(NAME, checkpoint_path=run / "model.safetensors", num_classes=4)
    assert net.num_classes == 4
    assert net.pretrained_cfg["label_names"] is None
    assert net.pretrained_cfg["top1"] is None
    assert resolve_data_config(net) == DATA_CONFIG


def test_an_overlay_has_the_last_word(run):
    overlay = {"mean": (0.7, 0.7, 0.7)}
    net = create_model(NAME, checkpoint_path=run / "model.safetensors", pretrained_cfg_overlay=overlay)
    assert resolve_data_config(net) == {**DATA_CONFIG, **overlay}
    assert net.pretrained_cfg["label_names"] == FLOWERS


def test_a_file_without_metadata_gets_class_names_from_a_tag_alone(run, tmp_path):
    save_file(read_state_dict(run / "model.safetensors"), tmp_path / "plain.safetensors")
    with_tag = create_model(f"{NAME}.cifar10", checkpoint_path=tmp_path / "plain.safetensors")
    without = create_model(NAME, checkpoint_path=tmp_path / "plain.safetensors")
    assert with_tag.pretrained_cfg["label_names"][0] == "airplane"
    assert without.pretrained_cfg["label_names"] is None
    assert without.pretrained_cfg["top1"] is None


def pt2_metadata(path: Path) -> dict[str, str]:
    files = {METADATA_FILE: ""}
    torch.export.load(path, extra_files=files)
    return json.loads(files[METADATA_FILE])


def onnx_metadata(path: Path) -> dict[str, str]:
    onnx = pytest.importorskip("onnx")
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def assert_names_the_flowers(metadata: dict[str, str]) -> None:
    assert tuple(json.loads(metadata["class_names"])) == FLOWERS
    assert tuple(json.loads(metadata["mean"])) == DATA_CONFIG["mean"]
    assert metadata["interpolation"] == "bilinear"


def test_the_metadata_of_an_export_name_the_classes_and_the_image_configuration(run, tmp_path):
    assert_names_the_flowers(export_metadata(by_the_run(run, tmp_path), (64, 64)))


@pytest.mark.slow
@pytest.mark.parametrize(("file_format", "metadata_of"), [("pt2", pt2_metadata), ("onnx", onnx_metadata)])
def test_an_exported_run_names_its_classes_and_image_configuration(run, tmp_path, file_format, metadata_of):
    path = tmp_path / f"net.{file_format}"
    export_model(by_the_run(run, tmp_path), path, file_format, (32, 32))
    assert_names_the_flowers(metadata_of(path))


def test_a_weight_file_that_names_no_net_is_refused_with_both_ways_to_name_it(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "plain.safetensors")
    with pytest.raises(ValueError, match=r"does not name its net.*checkpoint_path.*--model NAME"):
        create_model(f"local-dir:{tmp_path / 'plain.safetensors'}", pretrained=True)


def test_a_local_file_that_names_a_repository_as_its_net_never_asks_the_hub(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    path = tmp_path / "evil.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"architecture": "hf-hub:evil/repo"})
    with pytest.raises(ValueError, match=r"metadata of .*evil\.safetensors are refused: .*hf-hub:evil/repo"):
        create_model(f"local-dir:{path}", pretrained=True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("class_names", "[" * 200_000),
        ("epochs", "9" * 400),
        ("epochs", "9" * 5000),
        ("epochs", "many"),
        ("top1", "nan"),
        ("data_config", '{"crop_pct": 5e-324}'),
        ("data_config", '{"input_size": [3, 65536, 65536]}'),
        ("data_config", '{"mean": [1e400, 0, 0]}'),
        ("data_config", '{"input_size": [3, 4096, 4096], "crop_pct": 0.05}'),
        ("class_names", '["cat", "dog", "cat"]'),
        ("class_names", json.dumps([str(number) for number in range(1_000_001)])),
    ],
)
def test_hostile_metadata_are_refused_in_one_short_line(tmp_path, key, value):
    path = tmp_path / "hostile.safetensors"
    metadata = {"architecture": NAME, "scored_on": "test images", key: value}
    save_file(create_model(NAME).state_dict(), path, metadata)
    with pytest.raises(ValueError, match=r"the metadata of .* are refused") as caught:
        create_model(NAME, checkpoint_path=path)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


METADATA_OF_OTHERS = (
    {"epochs": "10.0"},
    {"seed": "None"},
    {"class_names": "cat,dog"},
    {"class_names": "['cat', 'dog']"},
    {"data_config": "cifar.yaml"},
)


@pytest.mark.parametrize("metadata", METADATA_OF_OTHERS)
def test_metadata_of_other_code_do_not_keep_a_file_from_loading(tmp_path, metadata):
    path = tmp_path / "theirs.safetensors"
    save_file(create_model(NAME).state_dict(), path, metadata)
    assert create_model(NAME, checkpoint_path=path).pretrained_cfg["epochs"] is None


def test_the_metadata_of_a_saved_file_are_read_back(run, tmp_path):
    save_pretrained(by_the_run(run, tmp_path), tmp_path / "saved")
    assert read_weight_description(tmp_path / "saved" / "model.safetensors") == read_weight_description(
        run / "model.safetensors"
    )


def test_a_registered_name_comes_before_a_folder_of_that_name(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / NAME)
    plain, folder = (CliRunner().invoke(main, ["info", name]).output for name in (NAME, f"./{NAME}"))
    assert "airplane" in plain
    assert "hyacinth" in folder


@pytest.mark.parametrize(
    "folder", [f"{NAME}-flowers", f"{NAME}.cifar10-flowers", f"{NAME}.safetensors", "old_name.flowers"]
)
@pytest.mark.usefixtures("own_models")
def test_a_path_that_only_begins_like_a_registered_name_is_a_path(folder, run, tmp_path, monkeypatch):
    register_model_deprecations({"old_name": NAME})
    monkeypatch.chdir(tmp_path)
    if folder.endswith(".safetensors"):
        shutil.copy(run / "model.safetensors", folder)
    else:
        shutil.copytree(run, folder)
    told = CliRunner().invoke(main, ["info", folder])
    assert told.exit_code == 0, told.output
    assert "hyacinth" in told.output


def test_a_tilde_is_the_home_of_the_user_in_every_path(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    shutil.copytree(run, tmp_path / "run")
    net = create_model("local-dir:~/run", pretrained=True)
    assert create_model(NAME, checkpoint_path="~/run/model.safetensors").num_classes == 10
    load_checkpoint(net, "~/run/model.safetensors")
    save_pretrained(net, "~/saved")
    convert_checkpoint(Path("~/run/model.safetensors"), Path("~/new.safetensors"), NAME)
    assert (tmp_path / "saved" / "config.json").exists()
    assert (tmp_path / "new.safetensors").exists()
    with pytest.raises(ValueError, match="cannot be expanded"):
        create_model("local-dir:~nobody_of_that_name/run")
