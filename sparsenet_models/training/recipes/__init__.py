"""Recipes by name: modules with ``OPTIONS``, and with their results in the docstring."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

from ...common.messages import did_you_mean


def recipe_names() -> list[str]:
    """Return the names that ``--recipe`` takes."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def recipe_options(name: str) -> dict[str, Any]:
    """Return the options of a recipe, keywords of ``TrainConfig``.

    Raises:
        ValueError: there is no recipe of that name.
    """
    names = recipe_names()
    if name not in names:
        raise ValueError(f"unknown recipe {name!r}{did_you_mean(name, names) or f'; one of {names}'}")
    return dict(import_module(f"{__name__}.{name.replace('-', '_')}").OPTIONS)


def recipe_summaries() -> dict[str, str]:
    """Return the first line of each recipe's docstring, by name."""
    modules = {name: import_module(f"{__name__}.{name.replace('-', '_')}") for name in recipe_names()}
    return {name: (module.__doc__ or "").partition("\n")[0] for name, module in modules.items()}
