"""A weight file: safetensors, with metadata that say what the weights are and how they came about."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save
from torch import nn

from . import __version__
from .registry import split_model_name_tag


def weight_metadata(
    name: str,
    *,
    data: str,
    recipe: str,
    epochs: int,
    seed: int,
    top1: float,
    class_names: Sequence[str],
) -> dict[str, str]:
    """Return the metadata of a weight file, as safetensors wants it: texts by name.

    Args:
        name: ``architecture.tag``.
        data: name of the training set.
        recipe: the run's options as JSON.
        epochs: epochs trained.
        seed: the run's seed.
        top1: accuracy on the test images in percent.
        class_names: the classes, in the order of the logits.
    """
    architecture, tag = split_model_name_tag(name)
    return {
        "architecture": architecture,
        "tag": tag,
        "data": data,
        "recipe": recipe,
        "epochs": str(epochs),
        "seed": str(seed),
        "top1": f"{top1:.2f}",
        "class_names": json.dumps(list(class_names)),
        "license": "Apache-2.0",
        "library_version": __version__,
        "git_commit": _git_commit(),
    }


def save_weights(model: nn.Module, path: Path, metadata: dict[str, str]) -> None:
    """Write the state dict of ``model`` and ``metadata`` to a safetensors file."""
    state = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    path.write_bytes(save(state, metadata={"format": "pt", **metadata}))


def _git_commit() -> str:
    """Return the commit of the checkout that the library runs from, "" outside one."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found.stdout.strip()
