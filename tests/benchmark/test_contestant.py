"""What a contestant answers, with which engines are compared before they are timed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.command import run

from sparsenet_models import create_model
from sparsenet_models.benchmark.contestant import contestant
from sparsenet_models.benchmark.engines import Setting
from sparsenet_models.benchmark.nets import Net

NAME = "sparsenet_40_k12"


@pytest.fixture(autouse=True)
def restored_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))


def answers(engine: str, setting: Setting, folder: Path) -> list[np.ndarray]:
    return next(contestant(Net("", NAME), engine, setting, None, folder)).answers


def test_a_forward_pass_is_compared_by_its_logits(tmp_path):
    setting = Setting(batch=2, side=8)
    (eager,), (optimized,) = answers("eager", setting, tmp_path), answers("optimize", setting, tmp_path)
    assert eager.shape == (2, 10)
    assert np.abs(eager - optimized).max() < 1e-4 * np.abs(eager).max()


def test_a_training_step_is_compared_by_its_gradients_too(tmp_path):
    logits, norms = answers("eager", Setting(batch=2, side=8, train=True), tmp_path)
    assert logits.shape == (2, 10)
    assert len(norms) == len(list(create_model(NAME).parameters()))
    assert norms.all()


@pytest.mark.slow
def test_the_rounding_that_batch_norm_amplifies_in_training_is_no_difference():
    shown = run(
        *("benchmark", "sparsenet_bc_40_k12", "--depths", "40,70", "--train", "--batch", 4),
        *("--engines", "eager,channels_last", "--rounds", 1, "--device", "cpu", "--json"),
    )
    assert [row["note"] for row in json.loads(shown.stdout)["rows"]] == [""] * 4
