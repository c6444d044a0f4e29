"""`sparsenet benchmark`, run on nets so small that a round takes a moment; no test asserts a time."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from support.command import run

from sparsenet_models import create_model
from sparsenet_models.analysis import analyze_model
from sparsenet_models.analysis.flops import count_activations
from sparsenet_models.benchmark.nets import parse_nets
from sparsenet_models.benchmark.process import Process
from sparsenet_models.benchmark.run import ALLOWED, Row, benchmark

NAME = "sparsenet_40_k12"

FEW = ("--size", 8, "--rounds", 2, "--device", "cpu")


def thread_counts() -> Iterator[int]:
    while True:
        yield torch.get_num_threads()


@pytest.fixture(scope="module")
def forward(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, list[dict[str, str]]]:
    """Return what --json prints and what --csv writes, of one run with an engine that is missing."""
    file = tmp_path_factory.mktemp("benchmark") / "rows.csv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "openvino", None)  # as Python marks a module that cannot be imported
        engines = ("--engines", "eager,optimize,openvino")
        result = run("benchmark", NAME, *engines, "--batch", "2", *FEW, "--csv", file, "--json")
    assert result.exit_code == 0, result.stderr
    with file.open(encoding="utf-8") as lines:
        return json.loads(result.stdout), list(csv.DictReader(lines))


def test_a_row_has_the_figures_of_its_net_and_times_in_order(forward):
    shown, _ = forward
    costs = analyze_model(NAME, (3, 8, 8)).costs
    for row in shown["rows"][:2]:
        assert (row["net"], row["batch"], row["note"]) == (NAME, 2, "")
        assert (row["parameters"], row["multiply_adds"]) == (costs.parameters, costs.macs)
        assert row["activations"] == count_activations(create_model(NAME), (3, 8, 8))
        assert 0 < row["ms_per_image_min"] <= row["ms_per_image"] <= row["ms_per_image_max"]
        assert row["images_per_second"] == pytest.approx(1000 / row["ms_per_image"])
        assert row["first_call_seconds"] > 0
        operations = 2 * row["multiply_adds"] * row["images_per_second"]
        assert row["share_of_peak"] == pytest.approx(operations / shown["peak_gflops"] / 1e9)


def test_the_ratio_is_to_the_first_row(forward):
    eager, optimized, _ = forward[0]["rows"]
    assert eager["speedup"] == 1
    ratio = eager["ms_per_image"] / optimized["ms_per_image"]
    assert optimized["speedup"] == pytest.approx(ratio)


def test_an_engine_is_compared_with_the_eager_net_before_it_is_timed(forward):
    eager, optimized, _ = forward[0]["rows"]
    assert eager["difference"] == 0
    assert 0 < optimized["difference"] < 1e-4  # another order of sums, so not equal


def test_an_engine_with_other_answers_is_not_timed(monkeypatch):
    monkeypatch.setitem(ALLOWED[False], "float32", -1.0)
    shown = run("benchmark", NAME, "--engines", "optimize", "--batch", "2", *FEW, "--json")
    (row,) = json.loads(shown.stdout)["rows"]
    assert row["note"].startswith("not timed: it differs from eager by")
    assert row["ms_per_image"] is None


def test_a_missing_package_is_said_in_its_row(forward):
    *_, missing = forward[0]["rows"]
    assert missing["engine"] == "openvino"
    assert missing["note"] == "not installed: pip install onnx onnxscript onnxruntime openvino"
    assert missing["ms_per_image"] is None


def test_memory_is_that_of_the_process_of_each_row(forward):
    for row in forward[0]["rows"][:2]:
        assert 0 < row["base_mib"] <= row["peak_mib"]


def test_contestants_have_as_many_threads_as_the_machine_is_said_to_have(monkeypatch):
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with Process(thread_counts) as process:
                assert process.next() == threads
    finally:
        torch.set_num_threads(before)


def test_a_matrix_product_whose_process_is_killed_costs_no_row():
    killed: list[int] = []

    def kill(steps: int, text: str) -> None:
        if not killed:
            (product,) = multiprocessing.active_children()
            os.kill(product.pid, signal.SIGKILL)  # as the kernel does where memory runs out
            product.join()
            killed.append(product.pid)

    result = benchmark(parse_nets([NAME]), ["eager"], [2], side=8, rounds=2, device="cpu", on_step=kill)
    (row,) = result.rows
    assert killed
    assert (row.note, row.speedup) == ("", 1)
    assert row.share_of_peak > 0


def test_a_dtype_without_a_matrix_product_is_refused_by_name():
    with pytest.raises(ValueError, match=r"no matrix product in bool on cpu: .*not implemented for 'Bool'"):
        benchmark(parse_nets([NAME]), ["eager"], [2], dtype="bool", device="cpu")


def test_dtype_is_another_name_of_the_option_precision():
    words = ("--engines", "eager", "--batch", "1", *FEW, "--json")
    assert json.loads(run("benchmark", NAME, *words, "--dtype", "bfloat16").stdout)["dtype"] == "bfloat16"


def test_the_machine_is_named(forward):
    machine = forward[0]["machine"]
    assert set(machine) == {"processor", "cores", "threads", "capability", "torch"}
    assert all(machine.values())


def test_csv_has_every_field_of_a_row_and_what_the_rows_have_in_common(forward):
    shown, rows = forward
    assert list(rows[0])[: len(fields(Row))] == [field.name for field in fields(Row)]
    assert {"mode", "dtype", "side", "rounds", "peak_gflops", "processor", "torch"} < set(rows[0])
    for row, same in zip(rows, shown["rows"], strict=True):
        assert {key: row[key] for key in same} == {
            key: "" if value is None else str(value) for key, value in same.items()
        }


@pytest.mark.slow
def test_training_steps_are_timed_and_what_does_not_train_is_said():
    result = run("benchmark", NAME, "--train", "--engines", "eager,onnxruntime", "--batch", "2", *FEW)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 120
    assert "training step, float32, 8x8 pixels, median of 2 rounds" in result.stdout
    assert any(line.split() == ["onnxruntime", "does", "not", "train"] for line in lines)
    (eager,) = (line.split() for line in lines if line.startswith("eager"))
    assert "-" not in eager


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("sparsenet_40_k13", "did you mean 'sparsenet_40_k12'"),
        ("resnet_20 --against tim:resnet18", "unknown library 'tim'; did you mean 'timm'?"),
        ("resnet_20 --against torchvision:resnet18 keras:resnet18", "unknown library 'keras'"),
        ("resnet_20 --engines eagre", "unknown engine 'eagre'; did you mean 'eager'?"),
        ("resnet_20 --batch 0", "batch must be integers from 1"),
        ("resnet_20 --csv gone/rows.csv", "folder not found: gone"),
        ("resnet_20 --device gpu", "device must be one of"),
    ],
)
def test_wrong_input_is_one_line_before_anything_runs(tmp_path: Path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run("benchmark", *arguments.split())
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert message in line
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_all_engines_and_another_library_run_beside_ours():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("timm")
    against = ("--against", "timm:test_resnet")
    engines = ("--engines", "eager,channels_last,compile,optimize,onnxruntime")
    result = run(
        "benchmark", NAME, *against, *engines, "--batch", "1,2", "--size", 64, "--rounds", 2, "--json"
    )
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)["rows"]
    assert len(rows) == 2 * 2 * 5  # batches, nets, engines
    for row in rows:
        if row["engine"] == "optimize" and ":" in row["net"]:
            assert "optimize takes a net of this library" in row["note"]
        else:
            assert row["note"] == ""
            assert row["difference"] < 1e-3
            assert (row["export_mib"] is not None) == (row["engine"] == "onnxruntime")


@pytest.mark.slow
def test_a_table_for_a_page_has_a_cell_for_every_title():
    result = run("benchmark", NAME, "--engines", "eager,checkpointing", "--batch", "1", *FEW, "--markdown")
    table = [line for line in result.stdout.splitlines() if line.startswith("|")]
    assert len(table) == 4
    assert len({line.count("|") for line in table}) == 1
    assert "is for training" in table[-1]
