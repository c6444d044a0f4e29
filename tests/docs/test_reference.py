"""The reference has every public name once, and a public docstring gives shapes and the errors raised.

Read from the source, without importing it.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from support.repository import REPOSITORY

PACKAGE = REPOSITORY / "sparsenet_models"
REFERENCE = REPOSITORY / "docs" / "reference"
OPEN_FOLDERS = ("integrations", "layers")
"""Their modules are imported by their paths, so all that they define is public."""

SHAPE = re.compile(r"``\([A-Za-z.][\w.]*[,)]|\bscalars?\b|\bany shape\b")


def path_of(module: str) -> Path | None:
    """Return the file of a module or a package; None if there is none."""
    path = REPOSITORY.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


@cache
def body_of(module: str) -> list[ast.stmt]:
    path = path_of(module)
    assert path is not None
    return ast.parse(path.read_text(encoding="utf-8")).body


def assigned(module: str, name: str) -> ast.expr | None:
    """Return what a module assigns to a name."""
    for node in body_of(module):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return node.value
    return None


def homes(package: str) -> dict[str, str]:
    """Return the module of each name that a package imports at its first use."""
    value = assigned(package, "_HOMES")
    return {name: f"{package}.{home}" for name, home in ast.literal_eval(value).items()} if value else {}


def public_names(package: str) -> list[str]:
    exported = assigned(package, "__all__")
    if exported is None:
        return []
    literal = [element for element in exported.elts if isinstance(element, ast.Constant)]  # type: ignore[attr-defined]
    return sorted({*(element.value for element in literal), *homes(package)})


def home_of(path: str) -> str:
    """Return the path at which a name is defined, or a module."""
    if path_of(path) is not None:
        return path
    module, _, name = path.rpartition(".")
    home = homes(module).get(name)
    return path if home is None else home_of(f"{home}.{name}")


def documented() -> list[str]:
    """Return what the pages name, as it is written there."""
    pages = "\n".join(page.read_text(encoding="utf-8") for page in sorted(REFERENCE.glob("*.md")))
    return re.findall(r"^::: ([\w.]+)$", pages, re.M)


def defined_in(module: str) -> dict[str, ast.FunctionDef | ast.ClassDef]:
    """Return the public functions and classes of a module; of an overloaded function what is run."""
    return {
        node.name: node
        for node in body_of(module)
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }


def functions_of_the_reference() -> dict[str, tuple[ast.FunctionDef, str]]:
    """Return the functions and methods that the pages show, with their docstring or that of their class."""
    found: dict[str, tuple[ast.FunctionDef, str]] = {}
    for home in map(home_of, documented()):
        if path_of(home) is not None:
            shown = {f"{home}.{name}": node for name, node in defined_in(home).items()}
        else:
            module, _, name = home.rpartition(".")
            node = defined_in(module).get(name)
            shown = {home: node} if node is not None else {}
        for where, node in shown.items():
            docstring = ast.get_docstring(node) or ""
            if isinstance(node, ast.FunctionDef):
                found[where] = (node, docstring)
                continue
            for method in node.body:
                if not isinstance(method, ast.FunctionDef):
                    continue
                own = ast.get_docstring(method)
                if own is not None and not method.name.startswith("_"):
                    found[f"{where}.{method.name}"] = (method, own)
                elif method.name in ("__init__", "__post_init__", "__call__", "forward"):
                    found[f"{where}.{method.name}"] = (method, docstring)
    return found


def bases_of(error: str) -> list[str]:
    """Return the names of an error's class and of those above it, below Exception."""
    kind = getattr(builtins, error, None)
    return [error] if kind is None else [each.__name__ for each in kind.__mro__[:-3]]


PACKAGES = [
    ".".join(path.parent.relative_to(REPOSITORY).parts) for path in sorted(PACKAGE.rglob("__init__.py"))
]
FUNCTIONS = functions_of_the_reference()


@pytest.mark.parametrize("package", [package for package in PACKAGES if public_names(package)])
def test_every_public_name_of_a_package_is_in_the_reference(package):
    there = {home_of(path) for path in documented()}
    assert [name for name in public_names(package) if home_of(f"{package}.{name}") not in there] == []


def test_the_public_names_are_those_that_the_package_exports():
    import sparsenet_models

    assert public_names("sparsenet_models") == sorted(sparsenet_models.__all__)
    assert len(FUNCTIONS) > 100


@pytest.mark.parametrize("folder", OPEN_FOLDERS)
def test_every_module_of_a_folder_that_is_open_is_in_the_reference(folder):
    modules = [
        f"sparsenet_models.{folder}.{path.stem}" for path in sorted((PACKAGE / folder).glob("[a-z]*.py"))
    ]
    assert [module for module in modules if defined_in(module) and module not in documented()] == []


def test_nothing_is_in_the_reference_twice():
    counts = Counter(map(home_of, documented()))
    assert [home for home, count in counts.items() if count > 1] == []


def test_every_page_of_the_reference_is_in_its_table():
    table = (REFERENCE / "index.md").read_text(encoding="utf-8")
    pages = {page.name for page in REFERENCE.glob("*.md")} - {"index.md"}
    assert pages <= set(re.findall(r"\((\w+\.md)\)", table))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_public_docstring_gives_the_errors_raised_and_the_shapes_of_tensors(function):
    node, docstring = FUNCTIONS[function]
    assert docstring
    raised = {
        ast.unparse(statement.exc.func if isinstance(statement.exc, ast.Call) else statement.exc)
        for statement in ast.walk(node)
        if isinstance(statement, ast.Raise) and statement.exc is not None
    }
    told = docstring.partition("Raises:")[2]
    errors = [error for error in raised if error[0].isupper() and error != "NotImplementedError"]
    assert [error for error in errors if not any(base in told for base in bases_of(error))] == []
    annotations = [argument.annotation for argument in (*node.args.args, *node.args.kwonlyargs)]
    written = " ".join(ast.unparse(each) for each in (*annotations, node.returns) if each is not None)
    if "Tensor" in written.replace("dict[str, Tensor]", ""):  # a state dict has many
        assert SHAPE.search(docstring)
