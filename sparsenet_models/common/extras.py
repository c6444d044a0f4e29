"""The packages of the extras, for messages that say what to install."""

from __future__ import annotations

import shlex

EXTRAS = {
    "training": ("datasets", "rich"),
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "timm": ("timm>=1.0.26",),
    "plots": ("matplotlib",),
}
"""As in pyproject.toml, which a net from torch.hub or a copied package does not have beside it."""


def pip_install(*extras: str) -> str:
    """Return the command that installs the packages of ``extras``, wherever this library came from."""
    packages = [package for extra in extras for package in EXTRAS[extra]]
    return f"pip install {shlex.join(packages)}"
