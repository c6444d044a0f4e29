"""Training steps as CUDA graphs: where they are refused, and that they learn what plain steps learn."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from support.trainer import TINY_NET, register_tiny_net

from sparsenet_models import create_model
from sparsenet_models.training.build import check_net_for_graphs, check_place_for_graphs
from sparsenet_models.training.config import TrainConfig
from sparsenet_models.training.distributed import Processes
from sparsenet_models.training.loop import train

GPU = torch.device("cuda")


@pytest.fixture
def options(colour_folder, tmp_path, own_models):
    register_tiny_net()
    return dict(
        model=TINY_NET, data=str(colour_folder), out=str(tmp_path / "run"), epochs=2, batch_size=8, lr=0.05,
        cuda_graphs=True, compile=False, precision="float32",
    )  # fmt: skip


def losses(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_graphs_are_refused_without_a_gpu_before_an_image_is_read(options, tmp_path):
    options["data"] = str(tmp_path / "no-such-folder")
    with pytest.raises(ValueError, match="cuda_graphs needs an NVIDIA GPU, the device is cpu"):
        train(TrainConfig(**options, device="cpu"))
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [(dict(accumulate=2), "accumulate=1, got 2"), (dict(drop_path_rate=0.1), "drop_path_rate=0, got 0.1")],
)
def test_graphs_are_refused_where_steps_differ(changes, message):
    with pytest.raises(ValueError, match=f"cuda_graphs needs {message}"):
        TrainConfig("m", "d", "o", cuda_graphs=True, **changes)


def test_graphs_are_refused_in_several_processes():
    check_place_for_graphs(Processes(1), GPU)
    with pytest.raises(ValueError, match="cuda_graphs needs one process, there are 2"):
        check_place_for_graphs(Processes(2), GPU)


def test_graphs_are_refused_for_a_net_that_skips_layers_and_for_oblong_images():
    plain = create_model("sparsenet_bc_40_k12", device="meta")
    check_net_for_graphs(plain, (3, 32, 32))
    with pytest.raises(ValueError, match="cuda_graphs needs a net that skips no layers"):
        check_net_for_graphs(create_model("fractalnet_c2", device="meta", global_drop_path=0.5), (3, 32, 32))
    with pytest.raises(ValueError, match="cuda_graphs needs square images, the net's have 64 x 128 pixels"):
        check_net_for_graphs(plain, (3, 64, 128))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-3), ("bfloat16", 2e-2)])
def test_a_run_with_graphs_learns_what_one_without_learns(options, tmp_path, precision, tolerance):
    common = options | dict(resolution=((8, 1), (16, 1)), device="cuda", precision=precision)
    train(TrainConfig(**common))
    train(TrainConfig(**common | dict(out=str(tmp_path / "plain"), cuda_graphs=False)))
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "plain"), rel=tolerance)
