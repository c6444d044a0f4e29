"""The examples run as they stand: every cell of the notebook, and the course project's comparison."""

from __future__ import annotations

import ast
import json
import os
import re
import resource
import shutil
import subprocess
import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from support.command import run
from support.repository import REPOSITORY

from sparsenet_models import create_model, create_transform, get_pretrained_cfg, resolve_data_config

EXAMPLES = REPOSITORY / "examples"


def test_every_cell_of_the_tour_runs_and_shows_what_its_text_says(monkeypatch, capsys):
    notebook = json.loads((EXAMPLES / "tour.ipynb").read_text(encoding="utf-8"))
    monkeypatch.chdir(EXAMPLES)
    namespace: dict[str, object] = {}
    values = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            *statements, last = ast.parse("".join(cell["source"])).body
            if not isinstance(last, ast.Expr):
                statements, last = [*statements, last], None
            exec(compile(ast.Module(statements, []), "tour.ipynb", "exec"), namespace)
            if last is not None:
                values.append(eval(compile(ast.Expression(last.value), "tour.ipynb", "eval"), namespace))
    assert values[0] == [(0,), (1, 0), (4, 3, 1), (7, 6, 4, 0), (15, 14, 12, 8, 0)]
    assert min(namespace["pattern"].size) > 300
    assert namespace["difference"] > 0
    whole, column = values[-1]
    assert column < whole == 13_325_322
    printed = capsys.readouterr().out
    assert "sparse  N =  1024:   9,228 links, longest gradient path 10" in printed
    assert "horse_herd.jpg horse" in printed


def comparison(*arguments: str, data: str | None = None) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "SPARSENET_DATA"}
    environment |= {"PYTHONPATH": str(REPOSITORY)} | ({"SPARSENET_DATA": data} if data else {})
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "course_comparison.py"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.slow
def test_the_comparison_has_the_projects_fourteen_nets_with_its_stem_and_its_errors():
    shown = comparison()
    rows = {
        line.split()[0]: line.split() for line in shown.splitlines() if re.match(r"(sparse|dense)net_", line)
    }
    assert len(rows) == 14
    assert rows["sparsenet_bc_100_k16_32_64"][1] == "4,333,682"
    assert rows["densenet_bc_100_k16_32_64"][1] == "7,741,786"
    error = 100 - get_pretrained_cfg("sparsenet_bc_40_k12.cifar10").top1
    assert rows["sparsenet_bc_40_k12"][1:5] == ["124,246", "54M", "17", f"{error:.2f}"]
    assert rows["densenet_bc_100_k24"][-2:] == ["35", "-"]
    assert "steps" not in shown


@pytest.mark.slow
@pytest.mark.parametrize("with_data", [True, False])
def test_quick_trains_every_net_on_both_sets_within_two_minutes_of_two_cores(request, with_data):
    data = str(request.getfixturevalue("cifar10_folder").parent) if with_data else None
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = comparison("--quick", data=data)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 240
    losses = re.findall(r"loss (\d+\.\d+) -> (\d+\.\d+)", shown)
    assert len(losses) == 28
    fell = sum(float(last) < float(first) for first, last in losses)
    assert fell >= 24  # three steps on eight images; a step may overshoot
    assert ("random images" in shown) == (not with_data)


@pytest.mark.slow
def test_the_transfer_example_writes_a_row_for_each_net_and_trains_no_run_twice(colour_folder, tmp_path):
    photographs = tmp_path / "photographs"
    shutil.copytree(colour_folder / "train", photographs)
    shutil.copy(photographs / "red" / "000.png", photographs / "red" / "copy.png")
    options = ("--images", "20", "--images", "0", "--size", "16", "--seeds", "2")
    nets = ("--net", "sparsenet_bc_40_k12.cifar10", "--net", "sparsenet_bc_40_k12")
    command = [sys.executable, str(EXAMPLES / "transfer.py"), "--data", str(photographs), *nets, *options]
    command += ["--out", str(tmp_path / "out")]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    subprocess.run(command, env=environment, check=True)
    table = tmp_path / "out" / "table.md"
    first = table.read_text()
    assert first.startswith(
        "Error on 19 test images of 2 classes (chance: 50); seeds: 2; copies left out: 1."
    )
    rows = re.findall(r"^\| (sparsenet\S+) \| 16 \| (20|all) \| ([\d.]+) ± [\d.]+ \|", first, re.MULTILINE)
    assert [cells[:2] for cells in rows] == [(net, amount) for amount in ("20", "all") for net in nets[1::2]]
    assert float(rows[0][2]) < 20  # the colours are easy
    weights = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("model.safetensors")}
    assert len(weights) == 8
    subprocess.run(command, env=environment, check=True)
    assert table.read_text() == first
    assert {path: path.stat().st_mtime_ns for path in weights} == weights


@pytest.mark.slow
def test_soft_labels_of_a_net_from_timm_are_right_and_a_net_learns_them(colour_folder, tmp_path):
    timm = pytest.importorskip("timm")
    data = tmp_path / "data"
    shutil.copytree(colour_folder, data)
    for index in range(5):
        shutil.copy(data / "train" / "red" / f"{index:03}.png", data / "train" / "blue" / f"red{index}.png")
        (data / "train" / "red" / f"{index:03}.png").unlink()
    torch.manual_seed(0)
    torch.save(timm.create_model("test_efficientnet").state_dict(), tmp_path / "teacher.pth")
    command = [sys.executable, str(EXAMPLES / "soft_labels.py"), str(data), "--side", "32"]
    command += ["--teacher", "test_efficientnet", "--checkpoint", str(tmp_path / "teacher.pth")]
    command += ["--out", str(tmp_path / "soft.safetensors")]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert float(re.search(r"is right for ([\d.]+)% of the training images", shown).group(1)) > 85
    soft_labels = load_file(tmp_path / "soft.safetensors")["soft_labels"]
    mislabelled = soft_labels[32:37]  # red images among the blue ones
    assert mislabelled[:, 0].mean() < 0.5  # a head that had seen their labels would have learned them
    learning = ["train", "resnet_20", "--data", str(data), "--out", str(tmp_path / "run")]
    learning += ["--soft-labels", str(tmp_path / "soft.safetensors"), "--distill-weight", "1"]
    learning += ["--size", "16", "--epochs", "8", "--batch-size", "32", "--lr", "0.1"]
    shown = run(*learning, "--no-compile", "--precision", "float32").stdout
    assert float(re.search(r"top-1 ([\d.]+)% \(error", shown).group(1)) > 90


@pytest.mark.slow
def test_soft_labels_by_a_net_of_ours_are_its_probabilities_at_the_temperature(ten_class_folder, tmp_path):
    teacher = "resnet_20.cifar10"
    command = [sys.executable, str(EXAMPLES / "soft_labels_by_ours.py"), str(ten_class_folder)]
    command += ["--teacher", teacher, "--temperature", "2", "--out", str(tmp_path / "soft.safetensors")]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert re.search(r"is right for [\d.]+% of the training images", shown)
    written = load_file(tmp_path / "soft.safetensors")
    model = create_model(teacher, pretrained=True).eval()
    transform = create_transform(**resolve_data_config(model))
    images = [Image.open(file) for file in sorted((ten_class_folder / "train").glob("*/*.png"))]
    with torch.inference_mode():
        logits = model(torch.stack([transform(image) for image in images]))
    torch.testing.assert_close(written["soft_labels"].float(), (logits / 2).softmax(1), atol=1e-3, rtol=0)
    run_folder = tmp_path / "run"
    learning = ["train", "resnet_20", "--data", str(ten_class_folder), "--out", str(run_folder)]
    learning += ["--soft-labels", str(tmp_path / "soft.safetensors"), "--size", "16", "--epochs", "1"]
    run(*learning, "--batch-size", "32", "--no-compile", "--precision", "float32")
    assert (run_folder / "model.safetensors").is_file()


@pytest.mark.slow
def test_a_detector_on_the_maps_of_an_imagenet_net_learns_and_its_maps_have_the_strides_promised():
    script = [sys.executable, str(EXAMPLES / "detection.py")]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    shown = subprocess.run(script, env=environment, capture_output=True, text=True, check=True).stdout
    assert "strides [4, 8, 16], maps of [16, 8, 4] pixels" in shown
    begun, ended = map(float, re.search(r"loss ([\d.]+) -> ([\d.]+)", shown).groups())
    assert ended < 0.7 * begun
    assert int(re.search(r"(\d+)% of the objects found", shown).group(1)) > 50
