"""Modules under the names that the docs gave them before they moved: both names import the same module."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "devices": "common.devices",
    "evaluate": "data.evaluate",
    "export": "integrations.export",
    "image_set": "data.image_set",
    "model_analysis": "analysis.nets",
    "plot": "analysis.plot",
    "published": "analysis.published",
}


class MovedModules(MetaPathFinder, Loader):
    """Finds the modules of ``package`` that have moved within it.

    Args:
        package: the package's name.
        moved: by old name, the new one, both within the package.
    """

    def __init__(self, package: str, moved: dict[str, str]) -> None:
        self.homes = {f"{package}.{old}": f"{package}.{new}" for old, new in moved.items()}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in self.homes else None

    def exec_module(self, module: ModuleType) -> None:
        # Python takes what it finds here after the import as the imported module.
        sys.modules[module.__name__] = importlib.import_module(self.homes[module.__name__])
