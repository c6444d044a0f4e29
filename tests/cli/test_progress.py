"""Bars of the verbs that take minutes: on a terminal alone, and nothing of them in the output."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from support.command import run, shown_on_a_terminal

from sparsenet_models import create_model
from sparsenet_models.data.datasets import load_image_set
from sparsenet_models.data.evaluate import evaluate
from sparsenet_models.data.transforms import resolve_data_config
from sparsenet_models.integrations.export import STEPS, export_model

MODEL = "sparsenet_bc_40_k12.cifar10"


@pytest.fixture(scope="module")
def two_of_ten(colour_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two_of_ten")
    for name, colour in (("airplane", "blue"), ("truck", "red")):
        shutil.copytree(colour_folder / "test" / colour, folder / "test" / name)
    return folder


def test_validate_shows_reading_and_both_passes_on_a_terminal(two_of_ten, capsys):
    shown = shown_on_a_terminal(
        "validate", MODEL, "--data", two_of_ten, "--tta", "--batch-size", 4, stream="stderr"
    )
    assert "reading" in shown
    measuring = shown[shown.index("measuring") :]
    # Half of the bar is left for the pass over the mirror images.
    assert "50%" in measuring
    assert "100%" in measuring
    assert "measuring" not in capsys.readouterr().out


def test_validate_prints_no_bar_where_stderr_is_no_terminal(two_of_ten):
    result = run("validate", MODEL, "--data", two_of_ten)
    assert (result.exit_code, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) == 5


@pytest.mark.slow
def test_export_shows_each_step_on_a_terminal(tmp_path):
    shown = shown_on_a_terminal(
        "export", "resnet_20.cifar10", "--format", "pt2", "--out", tmp_path / "net.pt2", stream="stderr"
    )
    positions = [shown.index(step) for step in STEPS]
    assert positions == sorted(positions)


def test_evaluate_tells_its_progress_only_to_a_caller_that_asks(two_of_ten, capfd):
    net = create_model(MODEL)
    config = resolve_data_config(net)
    images = load_image_set(two_of_ten, "test", config)
    counts: list[int] = []
    settings = {"mean": config["mean"], "std": config["std"], "batch_size": 7}
    asked = evaluate(net, images, on_batch=counts.append, **settings)
    assert counts == [len(part) for part in torch.arange(len(images)).split(7)]
    assert asked.top1 == evaluate(net, images, **settings).top1
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_export_model_tells_its_steps_only_to_a_caller_that_asks(tmp_path, capfd):
    net = create_model("resnet_20")
    steps: list[str] = []
    export_model(net, tmp_path / "net.pt2", "pt2", (8, 8), steps.append)
    assert tuple(steps) == STEPS
    assert capfd.readouterr() == ("", "")
