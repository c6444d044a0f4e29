"""The examples in docstrings that need nothing but their own module."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

MODULES = ("analysis.accuracy", "analysis.rules", "models.features", "training.schedule", "training.step")


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_docstring_are_right(name):
    failed, attempted = doctest.testmod(import_module(f"sparsenet_models.{name}"))
    assert failed == 0
    assert attempted > 0
