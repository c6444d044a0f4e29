"""A weight file: safetensors, with metadata that say what the weights are and how they came about."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

from .._version import __version__
from ..common.messages import did_you_mean, one_line
from ..models.pretrained_cfg import DATA_CONFIG_KEYS
from ..models.registry import split_model_name_tag
from .config_json import CHECKS
from .load import read_metadata


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


def read_weight_description(path: Path) -> tuple[str | None, dict[str, Any]]:
    """Return what a weight file tells of itself.

    Returns:
        ``architecture`` or ``architecture.tag``, None where it does not say; and what it tells of
        classes and images, keys of ``PretrainedCfg``: an overlay for ``create_model``.

    Raises:
        ValueError: the file is a damaged safetensors file, or tells of classes or images what cannot be.
        OSError: the file is missing or cannot be read.
    """
    metadata = read_metadata(path)
    name = ".".join(part for key in ("architecture", "tag") if (part := metadata.get(key)))
    try:
        fields = _object(metadata, "data_config")
        unknown = sorted(fields.keys() - DATA_CONFIG_KEYS)
        if unknown:
            raise ValueError(
                f"data_config has no field {unknown[0]!r}{did_you_mean(unknown[0], DATA_CONFIG_KEYS)}"
            )
        if "class_names" in metadata:
            fields["label_names"] = json.loads(metadata["class_names"])
        overlay = {key: CHECKS[key](key, value) for key, value in fields.items()}
    except ValueError as error:
        raise ValueError(f"the metadata of {path} are refused: {one_line(str(error), 300)}") from error
    if "label_names" in overlay:
        overlay["num_classes"] = len(overlay["label_names"])
    return name or None, overlay


def _object(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    value = json.loads(metadata.get(key, "{}"))
    if not isinstance(value, dict):
        raise ValueError(f"{key} must be an object, got {one_line(repr(value), 60)}")
    return value


def save_weights(model: nn.Module, path: Path, metadata: dict[str, str]) -> None:
    """Write the state dict of ``model`` and ``metadata`` to a safetensors file; equals give equal bytes."""
    state = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    path.write_bytes(_in_one_order(save(state, metadata={"format": "pt", **metadata})))


def _in_one_order(content: bytes) -> bytes:
    """Sort the metadata of a safetensors file: the library writes them in another order each time."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[end:]


def git_commit() -> str:
    """Return the commit of the checkout that the library runs from, "" where it is installed.

    "-dirty" is appended where tracked files differ from that commit.
    """
    checkout = Path(__file__).parent.parent.parent
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
