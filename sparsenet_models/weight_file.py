"""A weight file: safetensors, with metadata that say what the weights are and how they came about."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

from . import __version__
from .pretrained import read_metadata
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
    data_config: Mapping[str, Any],
    git_commit: str,
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
        data_config: how images reach the net, as ``resolve_data_config`` tells it.
        git_commit: of the library, as ``git_commit()`` told when the run began.
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
        "data_config": json.dumps(dict(data_config)),
        "license": "Apache-2.0",
        "library_version": __version__,
        "git_commit": git_commit,
    }


def described_in(path: Path) -> tuple[str | None, dict[str, Any]]:
    """Return what a weight file tells of itself.

    Returns:
        ``architecture`` or ``architecture.tag``, None where it does not say; and what it tells of
        classes and images, keys of ``PretrainedCfg``: an overlay for ``create_model``.

    Raises:
        ValueError: the file is a damaged safetensors file.
        OSError: the file is missing or cannot be read.
    """
    metadata = read_metadata(path)
    name = ".".join(part for key in ("architecture", "tag") if (part := metadata.get(key)))
    overlay = json.loads(metadata.get("data_config", "{}"))
    overlay = {key: tuple(value) if isinstance(value, list) else value for key, value in overlay.items()}
    if "class_names" in metadata:
        class_names = tuple(json.loads(metadata["class_names"]))
        overlay |= {"num_classes": len(class_names), "label_names": class_names}
    return name or None, overlay


def save_weights(model: nn.Module, path: Path, metadata: dict[str, str]) -> None:
    """Write the state dict of ``model`` and ``metadata`` to a safetensors file."""
    state = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    path.write_bytes(save(state, metadata={"format": "pt", **metadata}))


def git_commit() -> str:
    """Return the commit of the checkout that the library runs from, "" where it is installed.

    "-dirty" is appended where tracked files differ from that commit.
    """
    checkout = Path(__file__).parent.parent
    # An environment inside somebody's repository would else tell that repository's commit.
    if not (checkout / ".git").exists():
        return ""
    try:
        commit = _git(checkout, "rev-parse", "HEAD")
        changed = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{commit}-dirty" if changed else commit


def _git(folder: Path, *arguments: str) -> str:
    found = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return found.stdout.strip()
