"""Fixtures of several test files: the CIFAR folder, small image sets, a registry that is restored."""

from __future__ import annotations

import os

# Before torch is imported, for subprocesses too: the nets here are too small for a second thread, and the
# workers of pytest-xdist share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparsenet_models.models.registry import temporary_registry


def pytest_xdist_auto_num_workers() -> int:
    """Return the workers of ``-n auto``; more than eight gain little and each takes a gigabyte."""
    return min(os.cpu_count() or 1, 8)


@pytest.fixture(scope="session")
def cifar10_folder() -> Path:
    folder = os.environ.get("SPARSENET_DATA")
    if folder is None:
        pytest.skip(
            "SPARSENET_DATA is not set; it names a folder with the Parquet files of CIFAR-10 in cifar10/: "
            "hf download uoft-cs/cifar10 --repo-type dataset --local-dir $SPARSENET_DATA/cifar10"
        )
    return Path(folder) / "cifar10"


@pytest.fixture(scope="session")
def colour_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of two easy classes, noisy red and noisy blue: 64 + 32 training, 20 test images."""
    folder = tmp_path_factory.mktemp("colours")
    random = np.random.default_rng(0)
    for split, class_name, count in (
        ("train", "blue", 32),
        ("train", "red", 64),
        ("test", "blue", 10),
        ("test", "red", 10),
    ):
        target = folder / split / class_name
        target.mkdir(parents=True)
        for index in range(count):
            pixels = random.integers(0, 120, (32, 32, 3), dtype=np.uint8)
            pixels[..., 0 if class_name == "red" else 2] += 100
            Image.fromarray(pixels).save(target / f"{index:03}.png")
    return folder


@pytest.fixture(scope="session")
def ten_class_folder(tmp_path_factory: pytest.TempPathFactory, colour_folder: Path) -> Path:
    """The two colours under two of CIFAR-10's class names, and eight more classes of one image each."""
    folder = tmp_path_factory.mktemp("ten")
    names = "airplane automobile bird cat deer dog frog horse ship truck".split()
    for split in ("train", "test"):
        for source, name in (("blue", "airplane"), ("red", "truck")):
            shutil.copytree(colour_folder / split / source, folder / split / name)
        for name in names[1:-1]:
            target = folder / split / name
            target.mkdir()
            shutil.copy(colour_folder / split / "red" / "000.png", target / "0.png")
    return folder


@pytest.fixture
def own_models() -> Iterator[None]:
    """Undo the registrations of the test afterwards."""
    with temporary_registry():
        yield
