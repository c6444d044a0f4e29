"""The wheel: it carries the weights and works where the repository is not."""

from __future__ import annotations

import csv
import os
import shlex
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from support.repository import REPOSITORY

from sparsenet_models import list_pretrained
from sparsenet_models.common.extras import EXTRAS, pip_install


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel") / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps"]
    # pip builds the wheel first; without isolation, which would download hatchling.
    install = ["--no-build-isolation", "--no-compile", "--target", str(target), str(REPOSITORY)]
    subprocess.run([*pip, *install], check=True, capture_output=True)
    return target


def test_the_installed_wheel_predicts_with_its_own_weights_and_no_network(installed, tmp_path):
    """A proxy that nobody listens at stands for the missing network."""
    photo = REPOSITORY / "examples" / "photos" / "cat_chelsea.jpg"
    script = installed / "bin" / "sparsenet"
    # One interpreter for both, as importing torch takes seconds.
    code = (
        "import runpy, sys, sparsenet_models as s\n"
        "print(s.__file__); print(*s.list_pretrained(), flush=True)\n"
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, str(script), "predict", str(photo)],
        cwd=tmp_path,
        env=os.environ
        | {
            "PYTHONPATH": str(installed),
            "http_proxy": "http://127.0.0.1:9",
            "https_proxy": "http://127.0.0.1:9",
            "HF_HUB_OFFLINE": "1",
        },
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert shown[0].startswith(str(installed))
    assert shown[1].split() == list_pretrained()
    assert "cat_chelsea.jpg: " in shown[2]


def test_the_wheel_carries_every_weight_with_its_card_their_table_and_the_typing_marker(installed):
    package = installed / "sparsenet_models"
    for name in list_pretrained():
        for suffix in ("safetensors", "json", "md"):
            assert (package / "weights" / f"{name}.{suffix}").is_file()
    with (package / "weights" / "results.csv").open(encoding="utf-8") as file:
        assert [row["name"] for row in csv.DictReader(file)] == list_pretrained()
    assert (package / "py.typed").is_file()


def test_the_bundled_weights_stay_under_32_mebibytes():
    weights = (REPOSITORY / "sparsenet_models" / "weights").glob("*.safetensors")
    assert 0 < sum(path.stat().st_size for path in weights) <= 32 * 2**20


@pytest.mark.parametrize("extra", EXTRAS)
def test_what_a_message_says_to_install_is_what_the_extra_has(extra):
    marked = [requirement.split("; extra == ") for requirement in requires("sparsenet-models")]
    declared = {package for package, *marker in marked if marker in ([f"'{extra}'"], [f'"{extra}"'])}
    assert declared == set(EXTRAS[extra])
    assert shlex.split(pip_install(extra)) == ["pip", "install", *EXTRAS[extra]]
