"""Modules that have moved: the name in the docs and the new one import the same module."""

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
    """Finds modules of ``package`` under the names that they had before they moved within it.

    Args:
        package: the package's name.
        moved: by old name, the new name, both relative to the package.
    """

    def __init__(self, package: str, moved: dict[str, str]) -> None:
        self.homes = {f"{package}.{old}": f"{package}.{new}" for old, new in moved.items()}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in self.homes else None

    def exec_module(self, module: ModuleType) -> None:
        # After the import Python returns the module that is in sys.modules.
        sys.modules[module.__name__] = importlib.import_module(self.homes[module.__name__])
