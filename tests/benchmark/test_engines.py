"""The engines of a benchmark, and what each lacks."""

from __future__ import annotations

import re
import sys

import pytest

from sparsenet_models.benchmark.engines import ENGINES, FROM_FILE, Setting, lack_of, parse_engines


def test_engines_come_in_the_order_given_and_once():
    assert parse_engines("optimize, eager,optimize") == ["optimize", "eager"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("eager,optimise", "unknown engine 'optimise'; did you mean 'optimize'?"),
        ("tensorrt", f"unknown engine 'tensorrt'; the engines are {', '.join(ENGINES)}"),
        ("eager,", "unknown engine ''"),
    ],
)
def test_an_unknown_engine_is_refused_with_the_nearest(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_engines(text)


@pytest.mark.parametrize("engine", FROM_FILE)
def test_an_engine_that_is_not_installed_says_how_to_install_it(monkeypatch, engine):
    monkeypatch.setitem(sys.modules, engine, None)  # as Python marks a module that cannot be imported
    lack = lack_of(engine, Setting(batch=1, side=32))
    assert lack.startswith("not installed: pip install onnx onnxscript onnxruntime")
    assert engine in lack


@pytest.mark.parametrize("engine", FROM_FILE)
def test_engines_for_serving_do_not_train_and_are_measured_on_the_cpu(engine):
    assert lack_of(engine, Setting(1, 32, train=True)) == "does not train"
    assert lack_of(engine, Setting(1, 32, device="cuda")) == "is measured on the CPU alone"


def test_checkpointing_is_for_training():
    assert lack_of("checkpointing", Setting(1, 32)) == "is for training"
    assert lack_of("checkpointing", Setting(1, 32, train=True)) == ""


def test_cuda_graphs_are_for_training_on_a_gpu():
    assert lack_of("cuda_graphs", Setting(1, 32, device="cuda")) == "is for training"
    assert lack_of("cuda_graphs", Setting(1, 32, train=True)) == "needs an NVIDIA GPU"
    assert lack_of("cuda_graphs", Setting(1, 32, train=True, device="cuda")) == ""
