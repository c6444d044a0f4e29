"""Old paths: what the docs have named imports, and is the same object as under its new path."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from sparsenet_models._moved import MOVED

DOCUMENTED = {
    "data.load_image_set": "data.datasets.load_image_set",
    "data.datasets.load_image_set": "data.load_image_set",
    "pretrained.read_metadata": "pretrained.weight_file.read_metadata",
    "analysis.analyze_rule": "analysis.rules.analyze_rule",
    "evaluate.normalised": "data.normalised",
    "devices.select_device": "common.devices.select_device",
    "image_set.ImageSet": "data.ImageSet",
    "model_analysis.analyze_model": "analysis.analyze_model",
    "published.PUBLISHED": "analysis.PUBLISHED",
    "plot.plot_accuracy": "analysis.plot_accuracy",
    "plot.plot_confusion": "analysis.plot_confusion",
    "plot.plot_curves": "analysis.plot_curves",
    "plot.plot_growth": "analysis.plot_growth",
    "plot.plot_pattern": "analysis.plot_pattern",
    "plot.plot_weights": "analysis.plot_weights",
    "export.export_model": "integrations.export.export_model",
    "training.config.TrainConfig": "training.config.TrainConfig",
    "training.loop.train": "training.loop.train",
    "training.precision.autocast": "training.precision.autocast",
}
"""The new path by documented path, both within the package."""


def resolved(path: str) -> object:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(f"sparsenet_models.{module}"), name)


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_a_moved_module_is_the_same_under_both_paths(old, new):
    assert importlib.import_module(f"sparsenet_models.{old}") is importlib.import_module(
        f"sparsenet_models.{new}"
    )


@pytest.mark.parametrize(("documented", "new"), DOCUMENTED.items())
def test_a_documented_name_is_the_same_object_under_both_paths(documented, new):
    assert resolved(documented) is resolved(new)


def test_the_module_for_timm_imports():
    pytest.importorskip("timm")
    assert callable(resolved("integrations.timm.register"))


def test_old_paths_import_before_the_new_ones():
    """In a process of its own, where no new path was imported before."""
    code = """
import sparsenet_models.plot
from sparsenet_models.published import PUBLISHED
from sparsenet_models import analysis
assert sparsenet_models.plot is analysis.plot and sparsenet_models.plot.plot_pattern is analysis.plot_pattern
assert PUBLISHED is analysis.PUBLISHED
"""
    subprocess.run([sys.executable, "-c", code], check=True)
