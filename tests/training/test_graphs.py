"""Steps as CUDA graphs: where they cannot be captured, and that they learn what plain steps learn."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from support.trainer import TINY_NET, register_tiny_net

from sparsenet_models.training.config import TrainConfig
from sparsenet_models.training.loop import train

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


@pytest.fixture
def options(colour_folder, tmp_path, own_models):
    register_tiny_net()
    return dict(
        model=TINY_NET, data=str(colour_folder), out=str(tmp_path / "run"), epochs=2, batch_size=8, lr=0.05,
        cuda_graphs=True, precision="float32",
    )  # fmt: skip


def losses(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_graphs_are_refused_without_a_gpu(options):
    with pytest.raises(ValueError, match="cuda_graphs needs an NVIDIA GPU, the device is cpu"):
        train(TrainConfig(**options, device="cpu"))


@on_gpu
@pytest.mark.parametrize(
    ("changes", "message"),
    [(dict(accumulate=2), "accumulate=1, got 2"), (dict(drop_path_rate=0.1), "drop_path_rate=0.1")],
)
def test_graphs_are_refused_where_steps_differ(options, changes, message):
    with pytest.raises(ValueError, match=message):
        train(TrainConfig(**options | changes, device="cuda"))


@on_gpu
def test_a_run_with_graphs_learns_what_one_without_learns(options, tmp_path):
    sizes = dict(resolution=((8, 1), (16, 1)), device="cuda")
    train(TrainConfig(**options | sizes))
    plain = options | sizes | dict(out=str(tmp_path / "plain"), cuda_graphs=False, compile=False)
    train(TrainConfig(**plain))
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "plain"), rel=1e-3)
