"""The house: imports run down and import-linter holds it; tests share code by tests/support alone."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.repository import REPOSITORY

PACKAGE = REPOSITORY / "sparsenet_models"
TESTS = REPOSITORY / "tests"
FOLDERS = (
    "analysis",
    "benchmark",
    "cli",
    "common",
    "data",
    "integrations",
    "layers",
    "models",
    "optimization",
    "pretrained",
    "training",
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return the package's Python files, copied, beside the configuration of the contracts."""
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return shutil.copytree(
        PACKAGE, tmp_path / "sparsenet_models", ignore=shutil.ignore_patterns("weights", "__pycache__")
    )


def lint_imports(copy: Path) -> subprocess.CompletedProcess:
    """Run the command that `.ci/run` runs, on the copy."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    return subprocess.run(
        [*command, "--no-cache", "--no-logo"],
        cwd=copy.parent,
        env={**os.environ, "PYTHONPATH": str(copy.parent), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )


def append(file: Path, code: str) -> None:
    file.write_text(file.read_text(encoding="utf-8") + f"\n\n{code}\n", encoding="utf-8")


def test_the_contracts_are_kept(copy):
    result = lint_imports(copy)
    assert re.search(r"Contracts: \d+ kept, 0 broken", result.stdout), result.stdout
    assert result.returncode == 0


@pytest.mark.parametrize(
    ("file", "code", "broken", "refused"),
    [
        (
            "layers/blocks.py",
            "from ..models import registry",
            "Imports run down",
            "sparsenet_models.layers.blocks -> sparsenet_models.models.registry",
        ),
        (
            "pretrained/load.py",
            "def build(name):\n    from ..factory import create_model\n\n    return create_model(name)",
            "Imports run down",
            "sparsenet_models.pretrained.load -> sparsenet_models.factory",
        ),
        (
            "training/schedule.py",
            "from ..integrations import export",
            "Imports run down",
            "sparsenet_models.training.schedule -> sparsenet_models.integrations.export",
        ),
        (
            "data/cifar.py",
            "from ..aggregation import StageGraph",
            "Imports run down",
            "sparsenet_models.data.cifar -> sparsenet_models.aggregation",
        ),
        (
            "models/fractalnet.py",
            "from .resnet import ResNet",
            "Families do not import each other",
            "sparsenet_models.models.fractalnet -> sparsenet_models.models.resnet",
        ),
        (
            "models/pretrained_cfg.py",
            "from .registry import is_model",
            "circles",
            ".registry -> .pretrained_cfg",
        ),
        (
            "aggregation.py",
            "import torch",
            "need no torch",
            "sparsenet_models.aggregation -> torch",
        ),
        (
            "models/families.py",
            "from .sparsenet import SparseNet",
            "listings need no torch",
            "sparsenet_models.models.families -> sparsenet_models.models.sparsenet",
        ),
    ],
    ids=["upward", "upward in a function", "sibling", "sibling file", "family", "circle", "torch", "listing"],
)
def test_an_import_against_the_contracts_is_refused_by_name(copy, file, code, broken, refused):
    append(copy / file, code)
    result = lint_imports(copy)
    assert result.returncode == 1
    assert re.search(rf"{broken}.* BROKEN", result.stdout), result.stdout
    assert refused in result.stdout


def test_a_file_without_a_level_of_its_own_is_refused(copy):
    (copy / "utils.py").write_text('"""Anything."""\n')
    result = lint_imports(copy)
    assert result.returncode == 1
    assert "utils" in result.stdout


def imports(file: Path) -> Iterator[str]:
    """Yield ``module`` for each ``import`` and ``module:name`` for each name of a ``from``, all absolute."""
    package = file.relative_to(REPOSITORY).parent.parts
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*parent, *([node.module] if node.module else [])])
            yield from (f"{module}:{alias.name}" for alias in node.names)


def test_no_module_imports_a_public_name_from_the_packages_own_face():
    """The face imports from everywhere; a module that needs the version takes ``_version``."""
    modules = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    for file in PACKAGE.rglob("*.py"):
        for imported in imports(file):
            module, _, name = imported.partition(":")
            assert module != "sparsenet_models" or name in modules, f"{file}: {imported}"


def test_every_folder_says_what_lives_in_it():
    assert sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py")) == sorted(FOLDERS)
    for folder in FOLDERS:
        text = (PACKAGE / folder / "__init__.py").read_text(encoding="utf-8")
        sentence = ast.get_docstring(ast.parse(text))
        assert sentence, folder
        assert len(sentence.split()) > 8, folder
        assert sentence.endswith("."), folder


def test_the_rules_and_their_analysis_import_no_torch(tmp_path):
    code = (
        "import json, sys\n"
        "from sparsenet_models import StageGraph\n"
        "from sparsenet_models.analysis import costs, fractal, graphs, growth, rules\n"
        "StageGraph(16).link_count(); rules.analyze_rule('sparse', 16); growth.growth_curves()\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", code]
    modules = json.loads(subprocess.check_output(command, cwd=tmp_path, env=environment, text=True))
    assert "sparsenet_models.analysis.rules" in modules
    assert not {"torch", "torchvision", "numpy"} & set(modules)


def test_tests_mirror_the_folders_of_the_package():
    folders = {path.name for path in TESTS.iterdir() if path.is_dir() and any(path.glob("test_*.py"))}
    assert folders <= {*FOLDERS, "docs", "clients"}


def test_no_test_file_imports_from_another():
    files = list(TESTS.rglob("*.py"))
    tests = {path.stem for path in files if path.stem.startswith("test_")} | {"conftest"}
    for file in files:
        for imported in imports(file):
            parts = re.split(r"[.:]", imported)
            if parts[0] != "sparsenet_models":
                assert tests.isdisjoint(parts), f"{file} imports {imported}"
