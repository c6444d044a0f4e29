"""The examples on real data: each asserts its own figure above a named baseline."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.repository import REPOSITORY

pytestmark = pytest.mark.slow


def shown_by(example: str, *arguments: str) -> str:
    command = [sys.executable, str(REPOSITORY / "examples" / example), *arguments]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def test_frozen_features_have_nearer_neighbours_than_pixels(cifar10_folder: Path):
    assert shown_by("knn.py").count("top-1") == 2


def test_a_pretrained_backbone_segments_better_than_a_random_one(cifar10_folder: Path, tmp_path):
    picture = tmp_path / "mosaics.png"
    assert shown_by("segmentation.py", "--picture", str(picture)).count("mean IoU") == 2
    assert picture.stat().st_size > 10_000


def test_finetuning_beats_random_initialisation(cifar10_folder: Path):
    shown = shown_by("finetune.py", "--data", str(cifar10_folder.parent / "cifar100"))
    assert shown.count("initialisation |") == 1


def test_the_benchmark_times_every_net_that_it_is_given():
    few = ("--rounds", "2", "--batch-size", "4", "--no-compile", "--device", "cpu")
    shown = shown_by("benchmarks/training_speed.py", "resnet_20", "sparsenet_bc_40_k12", *few)
    assert shown.count("images/s") == 2


def test_onnxruntime_serves_the_answers_of_predict():
    pytest.importorskip("onnxruntime", reason="pip install 'sparsenet-models[export]'")
    assert "equal answers" in shown_by("onnx_serving.py")
