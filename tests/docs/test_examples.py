"""The examples run as they stand: every cell of the notebook, and the course project's comparison."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import time

import pytest
from support.repository import REPOSITORY

from sparsenet_models import get_pretrained_cfg

EXAMPLES = REPOSITORY / "examples"


def test_every_cell_of_the_tour_runs_and_shows_what_its_text_says(monkeypatch, capsys):
    notebook = json.loads((EXAMPLES / "tour.ipynb").read_text(encoding="utf-8"))
    monkeypatch.chdir(EXAMPLES)
    namespace: dict[str, object] = {}
    values = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            *statements, last = ast.parse("".join(cell["source"])).body
            if not isinstance(last, ast.Expr):
                statements, last = [*statements, last], None
            exec(compile(ast.Module(statements, []), "tour.ipynb", "exec"), namespace)
            if last is not None:
                values.append(eval(compile(ast.Expression(last.value), "tour.ipynb", "eval"), namespace))
    assert values[0] == [(0,), (1, 0), (4, 3, 1), (7, 6, 4, 0), (15, 14, 12, 8, 0)]
    assert min(namespace["pattern"].size) > 300
    assert namespace["difference"] > 0
    whole, column = values[-1]
    assert column < whole == 13_325_322
    printed = capsys.readouterr().out
    assert "sparse  N =  1024:   9,228 links, longest gradient path 10" in printed
    assert "horse_herd.jpg horse" in printed


def comparison(*arguments: str, data: str | None = None) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "SPARSENET_DATA"}
    environment |= {"PYTHONPATH": str(REPOSITORY)} | ({"SPARSENET_DATA": data} if data else {})
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "course_comparison.py"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.slow
def test_the_comparison_has_the_projects_fourteen_nets_with_its_stem_and_its_errors():
    shown = comparison()
    rows = {
        line.split()[0]: line.split() for line in shown.splitlines() if re.match(r"(sparse|dense)net_", line)
    }
    assert len(rows) == 14
    assert rows["sparsenet_bc_100_k16_32_64"][1] == "4,333,682"
    assert rows["densenet_bc_100_k16_32_64"][1] == "7,741,786"
    error = 100 - get_pretrained_cfg("sparsenet_bc_40_k12.cifar10").top1
    assert rows["sparsenet_bc_40_k12"][1:5] == ["124,246", "54M", "17", f"{error:.2f}"]
    assert rows["densenet_bc_100_k24"][-2:] == ["35", "-"]
    assert "steps" not in shown


@pytest.mark.slow
@pytest.mark.parametrize("with_data", [True, False])
def test_quick_trains_every_net_on_both_sets_within_two_minutes(request, with_data):
    data = str(request.getfixturevalue("cifar10_folder").parent) if with_data else None
    begun = time.perf_counter()
    shown = comparison("--quick", data=data)
    assert time.perf_counter() - begun < 120
    losses = re.findall(r"loss (\d+\.\d+) -> (\d+\.\d+)", shown)
    assert len(losses) == 28
    fell = sum(float(last) < float(first) for first, last in losses)
    assert fell >= 24  # three steps on eight images; a step may overshoot
    assert ("random images" in shown) == (not with_data)
