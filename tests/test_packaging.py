"""The wheel: it carries the weights and works where the repository is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.repository import REPOSITORY

from sparsenet_models import list_pretrained


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(REPOSITORY)]
    subprocess.run([*pip, *build], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    target = folder / "site"
    subprocess.run(
        [*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True, capture_output=True
    )
    return target


def test_the_installed_wheel_predicts_with_its_own_weights_and_no_network(installed, tmp_path):
    """A proxy that nobody listens at stands for the missing network."""
    photo = REPOSITORY / "examples" / "photos" / "cat_chelsea.jpg"
    environment = os.environ | {
        "PYTHONPATH": str(installed),
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
        "HF_HUB_OFFLINE": "1",
    }
    script = installed / "bin" / "sparsenet"
    answer = subprocess.run(
        [sys.executable, str(script), "predict", str(photo)],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "cat_chelsea.jpg: " in answer.stdout
    code = "import sparsenet_models as s; print(s.__file__); print(*s.list_pretrained())"
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert shown[0].startswith(str(installed))
    assert shown[1].split() == list_pretrained()


def test_the_wheel_carries_every_weight_with_its_card_and_the_typing_marker(installed):
    package = installed / "sparsenet_models"
    for name in list_pretrained():
        for suffix in ("safetensors", "json", "md"):
            assert (package / "weights" / f"{name}.{suffix}").is_file()
    assert (package / "py.typed").is_file()


def test_the_bundled_weights_stay_under_32_mebibytes():
    weights = (REPOSITORY / "sparsenet_models" / "weights").glob("*.safetensors")
    assert 0 < sum(path.stat().st_size for path in weights) <= 32 * 2**20
