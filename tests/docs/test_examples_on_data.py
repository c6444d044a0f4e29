"""The examples on real data: the figures that they print are above their baselines."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from support.repository import REPOSITORY

from sparsenet_models import get_pretrained_cfg

pytestmark = pytest.mark.slow


def shown_by(example: str, *arguments: str) -> str:
    command = [sys.executable, str(REPOSITORY / "examples" / example), *arguments]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def figures(pattern: str, shown: str) -> list[float]:
    """Return the number that the group of ``pattern`` finds on each line that has it."""
    return [float(number.replace(",", "")) for number in re.findall(pattern, shown, re.MULTILINE)]


def test_frozen_features_have_nearer_neighbours_than_pixels(cifar10_folder: Path):
    pixels, features = figures(r"top-1 ([\d.]+)%", shown_by("knn.py"))
    assert 1 < pixels < 100  # one in a hundred is chance
    assert features - pixels >= 8


def test_a_pretrained_backbone_segments_better_than_a_random_one(cifar10_folder: Path, tmp_path):
    picture = tmp_path / "mosaics.png"
    shown = shown_by("segmentation.py", "--picture", str(picture))
    random, pretrained = figures(r"mean IoU ([\d.]+)%", shown)
    assert random > 0
    assert pretrained - random >= 10
    with Image.open(picture) as drawn:
        assert min(drawn.size) > 500
        assert len(drawn.convert("RGB").getcolors(2**24)) > 1000  # photographs, not an empty page


def test_a_unet_on_a_pretrained_encoder_segments_better_and_its_maps_have_the_strides_promised(
    cifar10_folder,
):
    pytest.importorskip("segmentation_models_pytorch", reason="pip install segmentation-models-pytorch")
    shown = shown_by("unet.py")
    assert shown.count("strides [2, 4, 8, 16, 32]") == 2
    begun, ended = (figures(pattern, shown) for pattern in (r"loss ([\d.]+)", r"-> ([\d.]+)"))
    assert all(after < 0.9 * before for before, after in zip(begun, ended, strict=True))
    random, pretrained = figures(r"mean IoU ([\d.]+)%", shown)
    assert random > 0
    assert pretrained - random >= 8


def test_finetuning_beats_random_initialisation(cifar10_folder: Path):
    shown = shown_by("finetune.py", "--data", str(cifar10_folder.parent / "cifar100"))
    for column in (r"([\d.]+) \|", r"[\d.]+ \| ([\d.]+) \|"):
        (pretrained,) = figures(rf"\| pretrained on CIFAR-10 \| {column}", shown)
        (random,) = figures(rf"\| random initialisation \| {column}", shown)
        assert 0 < pretrained < random < 95  # 19 in 20 is chance


def test_the_benchmark_times_a_training_step_of_every_net_that_it_is_given():
    nets = ("resnet_20", "sparsenet_bc_40_k12")
    few = ("--rounds", "2", "--batch", "4", "--engines", "eager", "--device", "cpu", "--json")
    shown = json.loads(shown_by("benchmarks/training_speed.py", *nets, *few))
    assert shown["mode"] == "training step"
    assert [(row["net"], row["parameters"]) for row in shown["rows"]] == [
        (name, get_pretrained_cfg(name).num_params) for name in nets
    ]
    assert all(row["images_per_second"] > 0 for row in shown["rows"])


def test_onnxruntime_serves_the_answers_of_predict():
    pytest.importorskip("onnxruntime", reason="pip install onnx onnxscript onnxruntime")
    shown = shown_by("onnx_serving.py")
    photos = list((REPOSITORY / "examples" / "photos").glob("*.jpg"))
    assert shown.count("predict: ") == len(photos)
    served, predicted = figures(r"([\d.]+)%   predict", shown), figures(r"predict: +([\d.]+)%", shown)
    assert served == pytest.approx(predicted, abs=0.11)
    (right,) = figures(rf"(\d+) of {len(photos)} right", shown)
    assert right > len(photos) / 10
