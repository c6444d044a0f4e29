"""A pretrained net on a user's folder of images, in one command."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sparsenet_models import create_model, get_pretrained_cfg, register_model_deprecations, save_pretrained
from sparsenet_models.cli import main
from sparsenet_models.data.image_set import ImageSet
from sparsenet_models.pretrained.weight_file import read_state_dict, save_weights
from sparsenet_models.training.build import start_from
from sparsenet_models.training.hold_out import hold_out

MODEL = "sparsenet_bc_40_k12.cifar10"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def finetune(data: Path, out: Path, *options: object) -> Result:
    common = ("--recipe", "finetune", "--epochs", 3, "--precision", "float32", "--device", "cpu")
    return run("train", MODEL, "--data", data, "--out", out, *common, *options)


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images a class, in class folders without train/ or val/: two colours of 40x50 pixels."""
    folder = tmp_path_factory.mktemp("flowers")
    random = np.random.default_rng(0)
    for name, channel in (("poppy", 0), ("violet", 2)):
        (folder / name).mkdir()
        for index in range(10):
            pixels = random.integers(0, 120, (40, 50, 3), dtype=np.uint8)
            pixels[..., channel] += 100
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def finetuned(flowers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "flowers"
    made = finetune(flowers, out, "--epochs", 8, "--batch-size", 4, "--size", 24)
    assert made.exit_code == 0, made.stderr
    assert "starting from sparsenet_bc_40_k12.cifar10.safetensors, with a new head" in made.stdout
    assert "20% of each class are held out to score on" in made.stdout
    return out


def test_without_out_a_run_is_named_after_the_net_and_the_data(flowers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = run("train", MODEL, "--recipe", "finetune", "--data", flowers, "--epochs", 1, "--size", 16)
    assert made.exit_code == 0, made.stderr
    assert (tmp_path / "runs" / f"{MODEL}-{flowers.name}" / "model.safetensors").exists()


def test_the_weights_of_a_registered_name_come_before_a_file_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(MODEL).write_text("no weights")
    net = create_model(MODEL)
    start_from(MODEL, net, get_pretrained_cfg(MODEL).label_names)
    pretrained = create_model(MODEL, pretrained=True).state_dict()
    assert all(torch.equal(tensor, pretrained[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("name", [MODEL, "old_name"])
@pytest.mark.usefixtures("own_models")
def test_a_file_that_is_named_after_a_net_is_a_file(name, tmp_path, monkeypatch):
    register_model_deprecations({"old_name": "sparsenet_bc_40_k12"})
    monkeypatch.chdir(tmp_path)
    source, net = create_model(MODEL), create_model(MODEL)
    save_weights(source, Path(f"{name}.safetensors"), {})
    start_from(f"{name}.safetensors", net, get_pretrained_cfg(MODEL).label_names)
    assert torch.equal(net.stem.conv.weight, source.stem.conv.weight)


def test_a_run_starts_from_a_folder_whose_name_begins_like_that_of_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path(f"{get_pretrained_cfg(MODEL).name}-flowers")
    source, net = create_model(MODEL), create_model(MODEL)
    save_pretrained(source, folder)
    start_from(str(folder), net, get_pretrained_cfg(MODEL).label_names)
    assert torch.equal(net.stem.conv.weight, source.stem.conv.weight)


@pytest.mark.parametrize("prefix", ["", "local-dir:"])
def test_a_run_starts_from_the_folder_of_another_or_of_a_saved_model(tmp_path, prefix):
    source, names = create_model(MODEL, pretrained=True), get_pretrained_cfg(MODEL).label_names
    save_pretrained(source, tmp_path / "saved")
    (tmp_path / "run").mkdir()
    save_weights(source, tmp_path / "run" / "model.safetensors", {"architecture": "sparsenet_bc_40_k12"})
    for folder in ("saved", "run"):
        net = create_model(MODEL)
        start_from(f"{prefix}{tmp_path / folder}", net, names)
        assert torch.equal(net.head.fc.weight, source.head.fc.weight)


def test_predict_prints_the_users_own_classes(flowers, finetuned):
    image = flowers / "poppy" / "0.png"
    for model in (("--model", finetuned), ("--checkpoint", finetuned / "model.safetensors")):
        (answer,) = json.loads(run("predict", image, *model, "--json").stdout)
        assert {entry["label"] for entry in answer["predictions"]} == {"poppy", "violet"}
        assert answer["predictions"][0]["label"] == "poppy"


def test_predict_takes_the_folder_of_a_run_with_its_options_in_config_json(flowers, finetuned, tmp_path):
    old = shutil.copytree(finetuned, tmp_path / "old")
    (old / "run.json").rename(old / "config.json")
    image = flowers / "violet" / "0.png"
    answers = [run("predict", image, "--model", folder, "--json").stdout for folder in (finetuned, old)]
    assert answers[0] == answers[1]
    assert json.loads(answers[1])[0]["predictions"][0]["label"] == "violet"


def test_validate_takes_the_folder_of_a_run(flowers, finetuned, tmp_path):
    shutil.copytree(flowers, tmp_path / "set" / "val")
    told = run("validate", finetuned, "--data", tmp_path / "set").stdout
    assert "20 images" in told
    assert "top-1  100.00%" in told


def test_the_best_epoch_is_what_is_written(finetuned):
    with (finetuned / "metrics.csv").open(newline="") as file:
        scores = [float(row["top1"]) for row in csv.DictReader(file)]
    checkpoint = torch.load(finetuned / "checkpoint.pt", weights_only=True)
    assert checkpoint["best"]["epoch"] == scores.index(max(scores)) + 1
    written = read_state_dict(finetuned / "model.safetensors")
    assert all(torch.equal(written[name], tensor) for name, tensor in checkpoint["best"]["state"].items())


def test_the_size_and_normalisation_of_training_are_those_of_predicting(finetuned):
    model = create_model(f"local-dir:{finetuned}", pretrained=True)
    assert model.pretrained_cfg["architecture"] == "sparsenet_bc_40_k12"
    assert model.pretrained_cfg["input_size"] == (3, 24, 24)
    assert model.pretrained_cfg["mean"] == create_model(MODEL, device="meta").pretrained_cfg["mean"]


def test_a_net_is_finetuned_on_grey_images_and_answers_for_colour_ones(flowers, tmp_path):
    out = tmp_path / "grey"
    made = finetune(flowers, out, "--in-chans", 1, "--size", 32, "--batch-size", 4, "--no-compile")
    assert made.exit_code == 0, made.output
    written = read_state_dict(out / "model.safetensors")["stem.conv.weight"]
    pretrained = create_model(MODEL, pretrained=True, in_chans=1).stem.conv.weight
    assert written.shape == pretrained.shape == (12, 1, 3, 3)
    assert torch.nn.functional.cosine_similarity(written.flatten(), pretrained.flatten(), dim=0) > 0.95
    (answer,) = json.loads(run("predict", flowers / "poppy" / "0.png", "--model", out, "--json").stdout)
    assert {entry["label"] for entry in answer["predictions"]} == {"poppy", "violet"}
    shutil.copytree(flowers, tmp_path / "set" / "val")
    assert "20 images" in run("validate", out, "--data", tmp_path / "set").stdout


def test_a_run_tells_its_pictures_what_was_scored_and_which_epoch_was_kept(finetuned, tmp_path):
    told = json.loads((finetuned / "run.json").read_text())
    best = torch.load(finetuned / "checkpoint.pt", weights_only=True)["best"]
    assert (told["scored_on"], told["kept_epoch"]) == ("held-out images", best["epoch"])
    drawn = run("plot", "curves", finetuned / "metrics.csv", "--out", tmp_path / "again.png")
    assert drawn.exit_code == 0, drawn.stderr
    assert (tmp_path / "again.png").read_bytes() == (finetuned / "curves.png").read_bytes()


def test_curves_and_confusions_are_pictures(finetuned):
    for name in ("curves.png", "confusion.png"):
        with Image.open(finetuned / name) as picture:
            assert min(picture.size) > 300


@given(
    st.lists(st.integers(2, 30), min_size=2, max_size=6),
    st.floats(0.01, 0.99),
    st.integers(0, 3),
)
@settings(max_examples=100, deadline=None)
def test_what_is_held_out_is_a_share_of_every_class_and_nothing_is_lost(sizes, share, seed):
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
    images = torch.arange(len(labels)).view(-1, 1, 1, 1).to(torch.uint8)
    names = tuple(map(str, range(len(sizes))))
    rest, held = hold_out(ImageSet(images, labels, names, "set"), share, seed)
    assert sorted([*rest.images.flatten().tolist(), *held.images.flatten().tolist()]) == list(
        range(len(labels))
    )
    for size, kept, out in zip(sizes, rest.labels.bincount(), held.labels.bincount()):
        assert kept >= 1
        assert out >= 1
        assert abs(out - share * size) <= 1
    again = hold_out(ImageSet(images, labels, names, "set"), share, seed)
    assert torch.equal(again[1].images, held.images)


@pytest.mark.parametrize(
    ("images_by_class", "said"),
    [
        ({}, "neither class folders"),
        ({"a": 0, "b": 0}, "no image in any of them"),
        ({"a": 5}, "has one class, 'a'"),
        ({"a": 5, "b": 1}, "class 'b' of set has too few images, 1"),
        ({"a": 5, "b": 0}, "class 'b' of set has too few images, 0"),
    ],
)
def test_folders_that_are_too_small_are_refused_in_one_line(tmp_path, images_by_class, said):
    data = tmp_path / "set"
    data.mkdir()
    for name, count in images_by_class.items():
        (data / name).mkdir()
        for index in range(count):
            Image.new("RGB", (20, 20), (index, 0, 0)).save(data / name / f"{index}.png")
    result = finetune(data, tmp_path / "out")
    assert result.exit_code == 1
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("loader", ["memory", "stream"])
def test_a_class_without_a_training_image_is_named(tmp_path, loader):
    for split, counts in (("train", {"a": 2, "b": 0}), ("val", {"a": 1, "b": 1})):
        for name, count in counts.items():
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (20, 20)).save(tmp_path / "set" / split / name / f"{index}.png")
    result = finetune(tmp_path / "set", tmp_path / "out", "--loader", loader)
    assert result.exit_code == 1
    assert result.stderr == ("Error: class 'b' of set has no training image: add some, or remove the class\n")
    assert not (tmp_path / "out").exists()


def test_a_folder_or_repository_as_the_net_to_train_is_refused_with_the_right_option(flowers, tmp_path):
    for name in ("local-dir:runs/a", "hf-hub:org/name", "runs/a"):
        result = run("train", name, "--data", flowers, "--out", tmp_path / "out")
        assert result.exit_code == 1
        assert result.stderr == (
            f"Error: model must be a name from list_models(), got {name!r}: to continue from the weights of "
            "a folder or of the Hub, name their architecture and pass them with --init-from\n"
        )


def two_images_each(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        for index in range(2):
            Image.new("RGB", (20, 20), (index, 0, 0)).save(folder / name / f"{index}.png")
    return folder


def test_two_images_a_class_are_enough_whatever_the_classes_are_called(tmp_path):
    two_images_each(tmp_path / "set", "$_$", "50% {off}")  # to matplotlib a broken formula
    result = finetune(tmp_path / "set", tmp_path / "out", "--epochs", 1)
    assert result.exit_code == 0, result.stderr
    assert "of 2 held-out images, on which the epoch was chosen" in result.stdout
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"model.safetensors", "curves.png", "confusion.png"} <= names


def test_a_missing_folder_is_all_that_is_said(tmp_path):
    result = finetune(tmp_path / "nothere", tmp_path / "out")
    assert "held out" not in result.stdout
    assert "data folder not found" in result.stderr


def test_a_resolution_below_the_least_of_the_net_is_refused(tmp_path):
    data = two_images_each(tmp_path / "set", "a", "b")
    result = run("train", "fractalnet_c2", "--data", data, "--out", tmp_path / "out", "--resolution", "16:1")
    assert result.exit_code == 1
    assert result.stderr == "Error: resolution must be at least 32 for 'fractalnet_c2', got 16\n"


def test_validate_takes_the_folder_that_train_took(flowers, finetuned):
    result = run("validate", finetuned, "--data", flowers)
    assert f"{flowers} has neither test/ nor val/: all its images are measured" in result.stderr
    assert "on 20 images" in result.stdout


def test_validate_takes_a_weight_file_that_tells_its_net(flowers, finetuned, tmp_path):
    shutil.copytree(flowers, tmp_path / "set" / "test")
    shutil.copytree(flowers, tmp_path / "set" / "train")
    weights = finetuned / "model.safetensors"
    result = run("validate", "--checkpoint", weights, "--data", tmp_path / "set", "--device", "cpu")
    assert result.stdout.startswith(f"{weights} on 20 images of set\n")
    assert "name a model, or give a weight file" in run("validate", "--data", flowers).stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--size", 4), "size must be 0 or at least 8, got 4"),
        (("--init-from", "x"), "give one of pretrained and init_from"),
        (("--eval-every", 0), "keep_best needs a score of the epochs"),
        (("--eval-every", 4), "eval_every must be at least 1 and at most epochs=3, got 4"),
        (("--seed", 2**63), "seed must be at least 0 and below 2**63"),
    ],
)
def test_options_that_do_not_go_together_are_refused(flowers, tmp_path, options, said):
    result = finetune(flowers, tmp_path / "out", *options)
    assert result.exit_code == 1
    assert said in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_head_for_other_classes_of_the_same_number_is_not_kept(tmp_path, flowers):
    """Ten classes of one's own are not CIFAR-10's ten."""
    for index in range(5):
        for name in ("poppy", "violet"):
            shutil.copytree(flowers / name, tmp_path / "set" / f"{name}{index}")
    made = finetune(tmp_path / "set", tmp_path / "out", "--epochs", 1, "--size", 32)
    assert made.exit_code == 0, made.stderr
    assert "with a new head" in made.stdout


def test_a_tag_of_other_classes_needs_pretrained(flowers, tmp_path):
    result = run("train", MODEL, "--data", flowers, "--out", tmp_path / "out")
    assert "or start from its weights with --pretrained" in result.stderr
