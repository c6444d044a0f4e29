"""The `sparsenet` command, run as a user runs it."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors import safe_open
from support.command import run, shown_on_a_terminal
from support.repository import REPOSITORY
from torch import nn

from sparsenet_models import create_model, get_pretrained_cfg, list_models, list_pretrained, register_model
from sparsenet_models.cli import main
from sparsenet_models.cli.validate import TEST_SET_SIZES
from sparsenet_models.models.registry import temporary_registry
from sparsenet_models.pretrained.weight_file import save_weights
from sparsenet_models.training.recipes import recipe_summaries

PHOTOS = REPOSITORY / "examples" / "photos"
PHOTO = PHOTOS / "cat_chelsea.jpg"
RUNS = REPOSITORY / "docs" / "runs"
MODEL = "sparsenet_bc_40_k12.cifar10"
USED = f"sparsenet: predicting with {MODEL}: 10 classes, airplane to truck"


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "untrained.safetensors"
    save_weights(create_model(MODEL), path, {})
    return path


def test_predict_answers_for_a_photograph_with_the_bundled_weights():
    result = run("predict", PHOTOS / "cat_chelsea.jpg")
    assert result.exit_code == 0
    assert "cat_chelsea.jpg: " in result.stdout
    assert result.stdout.count("%") == 5
    name = result.stderr.removeprefix("sparsenet: predicting with ").partition(":")[0]
    assert result.stderr == f"sparsenet: predicting with {name}: 10 classes, airplane to truck\n"
    assert get_pretrained_cfg(name).top1 == max(
        row["top1"] for row in list_pretrained("sparsenet_*.cifar10", as_table=True)
    )


def test_predict_json_lists_images_with_labels_and_probabilities_that_fall(untrained):
    photos = [PHOTOS / "cat_chelsea.jpg", PHOTOS / "dog_shepherd.jpg"]
    result = run("predict", *photos, "--json", "--top-k", 10, "--model", MODEL, "--checkpoint", untrained)
    answers = json.loads(result.stdout)
    assert [answer["image"] for answer in answers] == [str(photo) for photo in photos]
    for answer in answers:
        assert answer["model"] == MODEL
        probabilities = [entry["probability"] for entry in answer["predictions"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert len({entry["label"] for entry in answer["predictions"]}) == 10


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weight file of finite numbers whose logits are NaN."""
    path = tmp_path_factory.mktemp("weights") / "overflowing.safetensors"
    net = create_model(MODEL)
    with torch.no_grad():
        net.head.fc.weight.fill_(3e38)[:, ::2].neg_()
    save_weights(net, path, {})
    return path


def test_predict_names_each_image_that_the_net_answers_with_nan_and_prints_plain_json(overflowing):
    photos = [PHOTOS / "cat_chelsea.jpg", PHOTOS / "dog_shepherd.jpg"]
    result = run("predict", *photos, "--json", "--model", MODEL, "--checkpoint", overflowing)
    assert (result.exit_code, json.loads(result.stdout)) == (1, [])
    assert result.stderr.splitlines() == [USED] + [
        f"Error: {MODEL} answers with numbers that are not finite for {photo}" for photo in photos
    ]


def test_validate_refuses_a_net_that_answers_with_nan(tmp_path, overflowing):
    for index, name in enumerate(("airplane", "truck")):
        (tmp_path / "test" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32), (index * 200, 60, 90)).save(tmp_path / "test" / name / "0.png")
    result = run("validate", MODEL, "--checkpoint", overflowing, "--data", tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "not finite for 2 of 2 images" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_predict_names_each_file_that_is_no_image_on_stderr_and_answers_for_the_others(tmp_path, untrained):
    photo = PHOTOS / "cat_chelsea.jpg"
    truncated, empty, text = tmp_path / "truncated.jpg", tmp_path / "empty.png", tmp_path / "text.png"
    truncated.write_bytes(photo.read_bytes()[:5000])
    empty.touch()
    text.write_text("no image")
    floats, large = tmp_path / "floats.tif", tmp_path / "large.png"
    Image.new("F", (8, 8), 0.5).save(floats)
    Image.new("1", (10_000, 9_000)).save(large)
    bad = [tmp_path / "missing.png", truncated, empty, text, floats, large]
    result = run("predict", bad[0], photo, *bad[1:], photo, "--model", MODEL, "--checkpoint", untrained)
    assert result.exit_code == 1
    assert result.stdout.count("cat_chelsea.jpg: ") == 2
    first, *lines = result.stderr.splitlines()
    assert first == USED
    assert len(lines) == len(bad)
    for path, line in zip(bad, lines):
        assert line.startswith("Error: ")
        assert str(path) in line


@pytest.mark.parametrize(
    ("mode", "size"),
    [
        ("RGBA", (40, 30)),
        ("LA", (40, 30)),
        ("L", (40, 30)),
        ("P", (40, 30)),
        ("1", (40, 30)),
        ("I;16", (40, 30)),
        ("CMYK", (40, 30)),
        ("RGB", (1, 1)),
        ("RGB", (1, 500)),
        ("1", (1, 1_000_000)),
        ("RGB", (2000, 1500)),
    ],
)
def test_predict_takes_images_of_any_mode_and_size(tmp_path, untrained, mode, size):
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    Image.new(mode, size).save(path)
    result = run("predict", path, "--model", MODEL, "--checkpoint", untrained)
    assert (result.exit_code, result.stderr) == (0, f"{USED}\n")


def test_predict_escapes_control_characters_of_file_names(tmp_path, untrained):
    names = ["a\x1b[31mb.jpg", "two\nlines.jpg", "caf\udce9.jpg"]
    for name in names:
        shutil.copy(PHOTOS / "cat_chelsea.jpg", tmp_path / name)
    (tmp_path / "no\x07image.jpg").touch()
    files = [tmp_path / name for name in (*names, "no\x07image.jpg")]
    result = run("predict", *files, "--model", MODEL, "--checkpoint", untrained)
    printed = [line.partition(": ")[0] for line in result.stdout.splitlines()]
    escaped = [r"a\x1b[31mb.jpg", r"two\nlines.jpg", r"caf\udce9.jpg"]
    assert printed == [str(tmp_path / name) for name in escaped]
    _, line = result.stderr.splitlines()
    assert r"no\x07image.jpg" in line
    answers = json.loads(run("predict", *files, "--json", "--model", MODEL, "--checkpoint", untrained).stdout)
    assert [answer["image"] for answer in answers] == [str(tmp_path / name) for name in names]


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_a_name_that_the_output_cannot_encode_does_not_end_predict(tmp_path, untrained, encoding):
    files = [tmp_path / name for name in ("\u0416.jpg", "b.jpg")]
    for file in files:
        shutil.copy(PHOTOS / "cat_chelsea.jpg", file)
    arguments = ["predict", *map(str, files), "--model", MODEL, "--checkpoint", str(untrained)]
    result = CliRunner(charset=encoding).invoke(main, arguments)
    assert (result.exit_code, result.stderr) == (0, f"{USED}\n")
    assert len(result.stdout_bytes.splitlines()) == 2


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_predict_with_a_closed_standard_output_has_no_error(untrained, capsys, option):
    arguments = ["predict", str(PHOTOS / "cat_chelsea.jpg"), "--model", MODEL, "--checkpoint", str(untrained)]
    # What Python makes of `sparsenet predict ... >&-`.
    with contextlib.redirect_stdout(None):
        assert main([*arguments, *option], standalone_mode=False) == 0
    assert capsys.readouterr().err == f"{USED}\n"


@pytest.fixture(scope="module")
def trained(colour_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run on two classes, and what the terminal showed of it."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    options = "--resolution 8:3 --batch-size 16 --lr 0.1 --no-compile --precision float32 --device cpu"
    shown = shown_on_a_terminal(
        "train", "sparsenet_bc_40_k12", "--data", colour_folder, "--out", folder, *options.split()
    )
    return folder, shown


def test_training_shows_a_bar_with_its_speed_on_a_terminal(trained):
    _, shown = trained
    assert "epoch 1/3" in shown
    assert "images/s" in shown
    assert "━" in shown


@pytest.mark.parametrize("weights", [("--model", "."), ("--checkpoint", "model.safetensors")])
def test_a_run_and_its_weight_file_name_their_net_and_classes(trained, colour_folder, monkeypatch, weights):
    folder, _ = trained
    monkeypatch.chdir(folder)
    image = next((colour_folder / "test" / "red").iterdir())
    (answer,) = json.loads(run("predict", image, *weights, "--json").stdout)
    assert {entry["label"] for entry in answer["predictions"]} == {"blue", "red"}
    model = weights[1:] if weights[0] == "--model" else weights
    measured = run("validate", *model, "--data", colour_folder)
    top1 = Path("metrics.csv").read_text().splitlines()[-1].split(",")[-1]
    assert f"top-1  {top1}%" in measured.stdout
    assert "was not trained on a set to download: give --data" in run("validate", *model).stderr


def test_predict_draws_bars_on_a_terminal(untrained):
    photo = PHOTOS / "cat_chelsea.jpg"
    shown = shown_on_a_terminal("predict", photo, "--model", MODEL, "--checkpoint", untrained)
    assert "█" in shown
    assert len(shown.splitlines()) == 6


def test_list_takes_a_pattern():
    assert "no model matches 'zzz*'; there are" in run("list", "zzz*").output
    assert "did you mean 'densenet_bc_40_k12'" in run("list", "densnet_bc_40_k12").output
    listed = run("list", "densenet_bc_*").stdout.split()
    assert listed == list_models("densenet_bc_*")
    assert len(listed) == 8


def test_list_pretrained_shows_the_recorded_accuracy():
    lines = run("list", "--pretrained").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list_pretrained()
    assert all("top-1 " in line for line in lines)


def test_info_shows_parameters_tags_and_source():
    shown = run("info", "sparsenet_bc_100_k24").stdout
    assert "1,437,826" in shown
    assert "sparsenet_bc_100_k24.cifar10" in shown
    assert "arXiv:1801.05895" in shown


def test_validate_matches_classes_by_name_whatever_their_order(tmp_path):
    """Class folders that lack classes are numbered otherwise: here, truck is 1. The net answers truck."""
    net = create_model(MODEL)
    with torch.no_grad():
        net.head.fc.weight.zero_()
        net.head.fc.bias.copy_(torch.eye(10)[9])
    save_weights(net, tmp_path / "truck.safetensors", {})
    for index, name in enumerate(("truck", "frog")):
        folder = tmp_path / "test" / name
        folder.mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (32, 32), (index * 200, number * 60, 90)).save(folder / f"{number}.png")
    result = run("validate", MODEL, "--checkpoint", tmp_path / "truck.safetensors", "--data", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert "top-1  50.00%" in result.stdout
    assert "6 images" in result.stdout


def test_validate_shows_the_accuracy_with_flips_beside_the_one_without(colour_folder, untrained):
    model = ("sparsenet_bc_40_k12.cifar10", "--checkpoint", untrained)
    folder = colour_folder.parent / "two_of_ten"
    if not folder.exists():
        for name, colour in (("airplane", "blue"), ("truck", "red")):
            shutil.copytree(colour_folder / "test" / colour, folder / "test" / name)
    plain = run("validate", *model, "--data", folder).stdout.splitlines()
    with_flips = run("validate", *model, "--data", folder, "--tta").stdout.splitlines()
    assert len(with_flips) == len(plain) + 1
    assert with_flips[1:4] == plain[1:4]
    assert with_flips[-1].startswith("top-1 with flips  ")
    found = json.loads(run("validate", *model, "--data", folder, "--tta", "--json").stdout)
    assert (found["images"], found["data"], found["top1_of_card"]) == (20, "two_of_ten", None)
    assert plain[1] == f"top-1  {found['top1']:.2f}%  (error {100 - found['top1']:.2f}%)"
    assert with_flips[-1].startswith(f"top-1 with flips  {found['top1_with_flips']:.2f}%")


def test_validate_shows_the_accuracy_of_the_card_for_the_set_of_the_card(colour_folder, tmp_path):
    for name, colour in (("airplane", "blue"), ("truck", "red")):
        shutil.copytree(colour_folder / "test" / colour, tmp_path / "cifar10" / "test" / name)
    measured = run("validate", MODEL, "--data", tmp_path / "cifar10", "--json")
    top1 = get_pretrained_cfg(MODEL).top1
    assert json.loads(measured.stdout)["top1_of_card"] == top1
    shown = run("validate", MODEL, "--data", tmp_path / "cifar10").stdout
    assert f"card   {top1:.2f}%  (error {100 - top1:.2f}%)" in shown
    assert json.loads(measured.stdout)["top1_minus_card"] is None  # of 20 of its images
    assert "the card" not in shown


def twin(**kwargs) -> nn.Module:
    return create_model("sparsenet_bc_40_k12", **kwargs)


def test_validate_says_whether_a_whole_test_set_gives_the_top1_of_the_card(
    colour_folder, tmp_path, monkeypatch
):
    for name, colour in (("airplane", "blue"), ("truck", "red")):
        shutil.copytree(colour_folder / "test" / colour, tmp_path / "cifar10" / "test" / name)
    words = ("validate", "twin.cifar10", "--data", tmp_path / "cifar10")
    monkeypatch.setitem(TEST_SET_SIZES, "cifar10", 20)
    cfg = get_pretrained_cfg(MODEL)
    measured = json.loads(run("validate", MODEL, *words[2:], "--json").stdout)["top1"]
    for points, line in (
        (0.05, "matches the card"),
        (-0.05, "matches the card"),
        (2.5, "differs from the card by -2.50 points"),
        (-0.06, "differs from the card by +0.06 points"),
    ):
        with temporary_registry():
            register_model(pretrained_cfgs={"cifar10": replace(cfg, top1=measured + points)})(twin)
            shown, found = run(*words), json.loads(run(*words, "--json").stdout)
            assert "the card" not in run(*words, "--precision", "bfloat16").stdout
        assert shown.exit_code == 0
        assert shown.stdout.splitlines()[3] == line
        assert found["top1_minus_card"] == pytest.approx(-points)


@pytest.mark.parametrize("option", ["--checkpoint", "--device", "--precision"])
def test_an_option_of_several_verbs_means_the_same_in_each(option):
    parameters = [
        each for verb in ("predict", "validate", "export", "benchmark") for each in main.commands[verb].params
    ]
    described = [(each.help, each.default, each.type) for each in parameters if option in each.opts]
    assert len(described) > 1
    assert described == described[:1] * len(described)


def test_predict_and_validate_compute_in_bfloat16_where_asked(colour_folder, tmp_path):
    shutil.copytree(colour_folder / "test" / "red", tmp_path / "photos" / "truck")

    def answers(precision: str) -> list[float]:
        options = ("--json", "--precision", precision)
        (predicted,) = json.loads(run("predict", PHOTO, "--model", MODEL, *options).stdout)
        measured = json.loads(run("validate", MODEL, "--data", tmp_path / "photos", *options).stdout)
        return [predicted["predictions"][0]["probability"], measured["loss"]]

    for single, half in zip(answers("float32"), answers("bfloat16"), strict=True):
        assert half != single
        assert half == pytest.approx(single, rel=0.1)


def test_recipes_are_listed_with_their_first_lines():
    lines = run("recipes").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(recipe_summaries())


def test_validate_refuses_a_class_that_the_net_does_not_have(tmp_path, untrained):
    folder = tmp_path / "val" / "trucks"
    folder.mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(folder / "0.png")
    result = run("validate", MODEL, "--checkpoint", untrained, "--data", tmp_path)
    assert result.exit_code == 1
    assert "'trucks'" in result.stderr
    assert "did you mean 'truck'?" in result.stderr


def test_predict_and_validate_agree_on_the_same_images(cifar10_folder, tmp_path):
    count = 100
    agree_on(cifar10_folder, tmp_path, count)


@pytest.mark.slow
def test_predict_and_validate_agree_on_a_thousand_images(cifar10_folder, tmp_path):
    agree_on(cifar10_folder, tmp_path, 1000)


def agree_on(cifar10_folder: Path, folder: Path, count: int) -> None:
    import datasets

    rows = datasets.load_dataset(str(cifar10_folder), split=f"test[:{count}]")
    names = rows.features["label"].names
    for index, row in enumerate(rows):
        target = folder / "test" / names[row["label"]] / f"{index:05}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        row["img"].save(target)
    images = sorted((folder / "test").rglob("*.png"))
    answers = json.loads(run("predict", *images, "--json", "--model", MODEL).stdout)
    right = sum(Path(a["image"]).parent.name == a["predictions"][0]["label"] for a in answers)
    measured = run("validate", MODEL, "--data", folder).stdout
    assert f"top-1  {100 * right / count:.2f}%" in measured
    assert right > count / 2


@pytest.mark.slow
@pytest.mark.parametrize("name", list_pretrained())
def test_validate_reproduces_the_card_of_every_bundled_weight(cifar10_folder, name):
    from sparsenet_models import get_pretrained_cfg

    cfg = get_pretrained_cfg(name)
    with safe_open(cfg.file, framework="pt") as file:
        assert file.metadata()["top1"] == f"{cfg.top1:.2f}"
    data = cifar10_folder.parent / cfg.data
    if cfg.data == "tiny-imagenet" and not data.exists():
        pytest.skip(
            "SPARSENET_DATA has no tiny-imagenet/, the folder tiny-imagenet-200 of "
            "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
        )
    measured = run("validate", name, "--data", data, "--tta").stdout
    assert f"\ncard   {cfg.top1:.2f}%" in measured
    assert "\nmatches the card\n" in measured
    single, with_flips = (float(number) for number in re.findall(r"^top-1.*?([\d.]+)%", measured, re.M))
    assert single == pytest.approx(cfg.top1, abs=0.05)
    results = [json.loads(path.read_text()) for path in (RUNS / name).glob("*/result.json")]
    (recorded,) = (result["top1_with_flips"] for result in results if result["sha256"] == cfg.sha256)
    assert with_flips == pytest.approx(recorded, abs=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("info", "sparsenet_bc_100_k42"), "did you mean"),
        (("predict", PHOTO, "--model", "sparsenet_bc_40_k12.cifar1"), "did you mean 'cifar10'"),
        (("predict", PHOTO, "--model", "densenet_40_k12"), "no pretrained weights"),
        (("predict", PHOTO, "--top-k", "0"), "top_k must be at least 1"),
        (("predict", PHOTO, "--checkpoint", "gone.safetensors"), "gone.safetensors"),
        (("validate", MODEL, "--data", "nowhere"), "data folder not found: nowhere"),
        (("train", "sparsenet_bc_40_k12", "--data", "nowhere", "--out", "run"), "nowhere"),
        (("train", "sparsenet_bc_40_k13", "--data", ".", "--out", "run"), "did you mean"),
        (("train", MODEL, "--data", "d", "--out", "run", "--lr", "-1"), "lr must be at least 0"),
        (("train", MODEL, "--data", ".", "--out", "run", "--device", "tpu"), "device must be one of"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_leaves_nothing_behind(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert list(tmp_path.iterdir()) == []
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("Error: ")


def test_a_misspelt_option_gets_the_nearest():
    assert "--top-k" in run("predict", "x.png", "--topk", "3").stderr


@pytest.mark.skipif(version("click").startswith(("8.1.", "8.2.")), reason="click 8.3 began to hint")
def test_a_misspelt_verb_gets_the_nearest():
    assert "predict" in run("predikt", "x.png").stderr


def test_a_failed_download_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("urllib.request._opener", None)  # it keeps the proxies of the first download
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    result = run("train", "sparsenet_bc_40_k12", "--data", "cifar10", "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert "cifar10 could not be downloaded" in result.stderr
    assert len(result.stderr.splitlines()) == 1
