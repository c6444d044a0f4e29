"""From a run to a bundled weight: the files that are written, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file

from sparsenet_models import create_model, get_pretrained_cfg, list_pretrained, resolve_data_config
from sparsenet_models.analysis.nets import analyze_model
from sparsenet_models.common.files import sha256_of
from sparsenet_models.data import load_image_set
from sparsenet_models.data.tiny_imagenet_classes import TINY_IMAGENET_CLASSES
from sparsenet_models.models.registry import register_cards
from sparsenet_models.pretrained.weight_file import read_metadata, read_state_dict
from sparsenet_models.training import release
from sparsenet_models.training.config import TrainConfig
from sparsenet_models.training.loop import train
from sparsenet_models.training.recipes import recipe_options
from sparsenet_models.training.soft_labels import save_soft_labels

NAME = "sparsenet_bc_40_k12"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory, ten_class_folder: Path) -> Path:
    out = tmp_path_factory.mktemp("runs") / "seed0"
    options = dict(epochs=1, batch_size=32, resolution=((8, 1),), precision="float32", compile=False)
    train(TrainConfig(NAME, str(ten_class_folder), str(out), device="cpu", **options))
    out.with_suffix(".log").write_text(f"W1124 noise\nGenerating train split: 1\nweights: {out}/model\n")
    return out


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    weights, runs = tmp_path / "weights", tmp_path / "docs"
    weights.mkdir()
    monkeypatch.setattr(release, "WEIGHTS_DIR", weights)
    monkeypatch.setattr(release, "RUNS_DIR", runs)
    return weights, runs


def released(run: Path, data: Path, *options: str):
    log = str(run.with_suffix(".log"))
    words = [str(run), "--log", log, "--data", str(data), "--machine", "a test", *options]
    return CliRunner().invoke(release.main, words)


def test_a_run_becomes_a_weight_a_card_and_its_evidence(run_folder, ten_class_folder, places):
    weights, runs = places
    told = released(run_folder, ten_class_folder)
    assert told.exit_code == 0, told.output
    stored = weights / f"{NAME}.cifar10.safetensors"
    fields = json.loads((weights / f"{NAME}.cifar10.json").read_text())
    assert fields["top1"] == float(read_metadata(stored)["top1"])
    state, run_state = read_state_dict(stored), read_state_dict(run_folder / "model.safetensors")
    assert state["stem.conv.weight"].dtype == torch.float16
    assert state["norm.weight"].dtype == torch.float32
    assert state.keys() == run_state.keys()
    card = (weights / f"{NAME}.cifar10.md").read_text()
    assert "Trained here from random initialisation on all training images" in card
    evidence = runs / f"{NAME}.cifar10" / "seed0"
    assert (evidence / "log.txt").read_text() == "weights: runs/seed0/model\n"
    result = json.loads((evidence / "result.json").read_text())
    assert 0 <= result.pop("top1_with_flips") <= 100
    assert result == fields
    assert {path.name for path in evidence.iterdir()} == {
        "run.json", "curves.png", "log.txt", "metrics.csv", "result.json"
    }  # fmt: skip


def test_the_card_names_the_soft_labels_that_a_run_learned_from(ten_class_folder, places, tmp_path):
    image_set = load_image_set(ten_class_folder, "train", resolve_data_config(create_model(NAME)))
    save_soft_labels(tmp_path / "soft", image_set, torch.full((len(image_set), 10), 0.1))
    run, soft_labels = tmp_path / "seed0", str(tmp_path / "soft")
    options = dict(epochs=1, batch_size=32, resolution=((8, 1),), precision="float32", compile=False)
    train(
        TrainConfig(NAME, str(ten_class_folder), str(run), soft_labels=soft_labels, device="cpu", **options)
    )
    run.with_suffix(".log").touch()
    told = released(run, ten_class_folder)
    assert told.exit_code == 0, told.output
    card = (places[0] / f"{NAME}.cifar10.md").read_text()
    assert f"images, with soft labels, sha256 `{sha256_of(tmp_path / 'soft')}`." in card
    assert f"--soft-labels {soft_labels} " in card
    assert "sha256 " not in card.partition("repeat the training with")[2]


def test_the_card_says_in_how_many_processes_its_run_was_trained(
    run_folder, ten_class_folder, places, tmp_path
):
    run = shutil.copytree(run_folder, tmp_path / "seed0")
    shutil.copy(run_folder.with_suffix(".log"), run.with_suffix(".log"))
    sentence = "in 2 processes (`torchrun --nproc-per-node 2 -m sparsenet_models` in place of `sparsenet`)"
    for processes, told in ((1, False), (2, True)):
        options = json.loads((run / "run.json").read_text())
        options["environments"][0]["processes"] = processes
        (run / "run.json").write_text(json.dumps(options))
        answer = released(run, ten_class_folder, "--replace")
        assert answer.exit_code == 0, answer.output
        assert (sentence in (places[0] / f"{NAME}.cifar10.md").read_text()) is told


def test_the_card_of_a_run_scored_on_held_out_images_says_so_and_names_its_weights(
    ten_class_folder, places, tmp_path
):
    run = tmp_path / "seed0"
    options = dict(epochs=1, batch_size=32, resolution=((8, 1),), precision="float32", compile=False)
    options |= dict(validation=0.25, pretrained=True)
    data = shutil.copytree(ten_class_folder, tmp_path / "ten")
    for folder in (data / "train").iterdir():  # two of each class at least
        shutil.copy(next(folder.iterdir()), folder / "again.png")
    train(TrainConfig(f"{NAME}.cifar10", str(data), str(run), device="cpu", **options))
    assert read_metadata(run / "model.safetensors")["scored_on"] == "held-out images"
    run.with_suffix(".log").touch()
    told = released(run, data)
    assert told.exit_code == 0, told.output
    card = (places[0] / f"{NAME}.cifar10.md").read_text()
    assert f"Trained here from the pretrained weights {NAME}.cifar10, sha256 `" in card
    assert "on all training images but 25% of each class." in card
    assert "test images were scored once, at the end" in card
    assert f"sparsenet train {NAME}.cifar10 --data" in card
    assert "--model" not in card
    assert read_metadata(places[0] / f"{NAME}.cifar10.safetensors")["scored_on"] == "test images"


def test_a_run_without_curves_is_refused_before_anything_is_written(
    run_folder, ten_class_folder, places, tmp_path
):
    run = shutil.copytree(run_folder, tmp_path / "plain")
    shutil.copy(run_folder.with_suffix(".log"), run.with_suffix(".log"))
    (run / "curves.png").unlink()
    told = released(run, ten_class_folder)
    assert told.exit_code == 1
    assert "has no curves.png" in told.output
    assert list(places[0].iterdir()) == []
    assert not places[1].exists()


def test_a_replacement_that_fails_leaves_weights_and_card_as_they_were(
    run_folder, ten_class_folder, places, monkeypatch
):
    weights, _ = places
    assert released(run_folder, ten_class_folder).exit_code == 0
    before = {path: path.read_bytes() for path in weights.iterdir()}

    def interrupted(*args: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(release, "weight_card", interrupted)
    assert released(run_folder, ten_class_folder, "--replace", "--epochs-before", "3").exit_code == 1
    assert {path: path.read_bytes() for path in weights.iterdir()} == before


def test_a_record_that_cannot_be_written_leaves_weights_card_and_the_rest_of_it_as_they_were(
    run_folder, ten_class_folder, places
):
    weights, runs = places
    assert released(run_folder, ten_class_folder).exit_code == 0
    record = runs / f"{NAME}.cifar10" / "seed0"
    (record / "log.txt").unlink()
    (record / "log.txt").mkdir()  # a write into it fails
    (record / "metrics.csv").write_text("of an earlier run")
    before = {path: path.read_bytes() for path in (*weights.iterdir(), *record.iterdir()) if path.is_file()}
    assert released(run_folder, ten_class_folder, "--replace", "--epochs-before", "3").exit_code == 1
    after = {path: path.read_bytes() for path in (*weights.iterdir(), *record.iterdir()) if path.is_file()}
    assert after == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tag": ""}, f"has classes of its own, for which {NAME} has no tag: share its weights by"),
        ({"architecture": None, "tag": None}, "model.safetensors was not written by sparsenet train"),
        ({"recipe": None}, "model.safetensors was not written by sparsenet train"),
    ],
)
def test_weights_of_own_classes_or_of_another_origin_are_refused_in_one_line(
    run_folder, ten_class_folder, places, tmp_path, changes, message
):
    run = shutil.copytree(run_folder, tmp_path / "seed0")
    shutil.copy(run_folder.with_suffix(".log"), run.with_suffix(".log"))
    changed = read_metadata(run / "model.safetensors") | changes
    metadata = {key: text for key, text in changed.items() if text is not None}
    save_file(read_state_dict(run / "model.safetensors"), run / "model.safetensors", metadata)
    for options in ((), ("--no-bundle",), ("--tag", "cifar10_kd")):
        told = released(run, ten_class_folder, *options)
        assert told.exit_code == 1
        (line,) = told.output.splitlines()
        assert line.startswith(f"Error: {run}")
        assert message in line
    assert list(places[0].iterdir()) == []
    assert not places[1].exists()


def test_a_run_with_its_options_in_config_json_is_released(run_folder, ten_class_folder, places, tmp_path):
    old = shutil.copytree(run_folder, tmp_path / "old" / "seed0")
    (old / "run.json").rename(old / "config.json")
    shutil.copy(run_folder.with_suffix(".log"), old.with_suffix(".log"))
    answer = released(old, ten_class_folder, "--no-bundle")
    assert answer.exit_code == 0, answer.output
    options = json.loads((places[1] / f"{NAME}.cifar10" / "seed0" / "run.json").read_text())
    assert options["model"] == NAME
    assert options["environments"][0]["precision"] == "float32"


def test_weights_that_lose_accuracy_in_half_precision_are_stored_in_single(
    run_folder, ten_class_folder, places, monkeypatch
):
    monkeypatch.setattr(release, "MOST_LOST_TO_HALF", -1.0)
    weights, _ = places
    assert released(run_folder, ten_class_folder).exit_code == 0
    stored = read_state_dict(weights / f"{NAME}.cifar10.safetensors")
    trained = read_state_dict(run_folder / "model.safetensors")
    assert all(torch.equal(tensor, trained[name]) for name, tensor in stored.items())
    assert {tensor.dtype for tensor in stored.values() if tensor.is_floating_point()} == {torch.float32}
    assert "| stored in | single precision |" in (weights / f"{NAME}.cifar10.md").read_text()


def test_weights_that_are_bundled_are_replaced_on_demand_alone(run_folder, ten_class_folder, places):
    weights, _ = places
    assert released(run_folder, ten_class_folder).exit_code == 0
    before = {path: path.read_bytes() for path in weights.iterdir()}
    told = released(run_folder, ten_class_folder)
    assert told.exit_code == 1
    assert f"{NAME}.cifar10 has weights: give --tag" in told.output
    assert {path: path.read_bytes() for path in weights.iterdir()} == before
    assert released(run_folder, ten_class_folder, "--replace").exit_code == 0


def test_the_epochs_of_the_weights_that_a_run_began_with_are_told(run_folder, ten_class_folder, places):
    weights, _ = places
    assert released(run_folder, ten_class_folder, "--epochs-before", "39").exit_code == 0
    fields = json.loads((weights / f"{NAME}.cifar10.json").read_text())
    assert (fields["epochs_before"], fields["epochs"]) == (39, 1)
    stored = create_model(f"local-dir:{weights / NAME}.cifar10.safetensors", pretrained=True)
    assert (stored.pretrained_cfg["epochs_before"], stored.pretrained_cfg["epochs"]) == (39, 1)
    assert "| training | 39 + 1 epochs, seed 0," in (weights / f"{NAME}.cifar10.md").read_text()


def test_a_variant_has_a_tag_of_its_own_that_the_registry_takes(
    run_folder, ten_class_folder, places, monkeypatch, own_models
):
    weights, _ = places
    told = released(run_folder, ten_class_folder, "--tag", "cifar100_kd")
    assert "--tag of this run must be cifar10_..., got 'cifar100_kd'" in told.output
    told = released(run_folder, ten_class_folder, "--tag", "cifar10_kd")
    assert told.exit_code == 0, told.output
    assert {path.stem for path in weights.iterdir()} == {f"{NAME}.cifar10_kd"}
    register_cards(weights)
    model = create_model(f"{NAME}.cifar10_kd", pretrained=True)
    assert model.pretrained_cfg["tag"] == "cifar10_kd"
    assert model.pretrained_cfg["label_names"][0] == "airplane"
    assert f"{NAME}.cifar10_kd" in list_pretrained()


@pytest.mark.slow
def test_a_weight_for_tiny_imagenet_has_200_classes_in_words_half_precision_and_the_terms_of_its_images(
    tmp_path, places, monkeypatch, own_models
):
    data, out = tmp_path / "tiny", tmp_path / "seed0"
    numbers = [f"n{index:08}" for index in range(200)]
    (data / "val" / "images").mkdir(parents=True)
    (data / "wnids.txt").write_text("\n".join(numbers))
    (data / "words.txt").write_text(
        "".join(f"{number}\t{name}, more\n" for number, name in zip(numbers, TINY_IMAGENET_CLASSES))
    )
    (data / "val" / "val_annotations.txt").write_text(
        "".join(f"{number}.JPEG\t{number}\t0\t0\t9\t9\n" for number in numbers)
    )
    for index, number in enumerate(numbers):
        image = Image.new("RGB", (64, 64), (index, 255 - index, index // 2))
        (data / "train" / number / "images").mkdir(parents=True)
        image.save(data / "train" / number / "images" / "0.JPEG")
        image.save(data / "val" / "images" / f"{number}.JPEG")
    options = recipe_options("tiny-imagenet") | dict(size=32, resolution=((32, 1),), epochs=1, compile=False)
    train(TrainConfig("sparsenet121", str(data), str(out), precision="float32", device="cpu", **options))
    out.with_suffix(".log").write_text("weights\n")
    told = released(out, data, "--tag", "tiny_imagenet_kd")
    assert told.exit_code == 0, told.output

    weights, _ = places
    name = "sparsenet121.tiny_imagenet_kd"
    card = (weights / f"{name}.md").read_text()
    assert "top-1 error on the 200 validation images of tiny-imagenet |" in card
    assert "| training images | photographs of ImageNet, whose terms" in card
    assert "| licence | Apache-2.0 |" in card
    assert (weights / f"{name}.safetensors").stat().st_size < 6.6 * 2**20
    register_cards(weights)
    model = create_model(name, pretrained=True)
    assert model.pretrained_cfg["label_names"] == TINY_IMAGENET_CLASSES
    assert model.pretrained_cfg["input_size"] == (3, 32, 32)
    costs = analyze_model("sparsenet121.tiny_imagenet", (3, 32, 32)).costs
    assert get_pretrained_cfg(name).macs == costs.macs
