"""Save: a model in a folder, as config.json, model.safetensors and README.md."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from ..common.files import atomic_write, local_path, sha256_of
from ..common.wrappers import unwrap_model
from ..models.pretrained_cfg import WEIGHTS, pretrained_cfg_of
from .config_json import CONFIG, check_is_readable, config_of
from .model_card import CARD, model_card
from .weight_file import read_weights, save_weights, weight_description

NO_SHA256 = "0" * 64
"""In a configuration whose weights are not written yet."""


def save_pretrained(model: nn.Module, folder: str | PathLike[str]) -> None:
    """Write ``model`` to ``folder``, for ``create_model("local-dir:...")``, the Hub, and timm.

    Writes ``model.safetensors``, ``config.json`` (which names the weights' sha256) and, where there is
    none, a model card ``README.md``. A model in the folder is replaced; a README never is.

    Examples:
        >>> save_pretrained(model, "my_net")
        >>> create_model("local-dir:my_net", pretrained=True)

    Args:
        model: a net by ``create_model``.
        folder: made where it is missing.

    Raises:
        ValueError: the net was not built by ``create_model``, has an argument that JSON cannot hold or a
            configuration that ``create_model`` would refuse, was changed so that ``create_model`` could not
            build it again, is on the meta device, or has weights that are not finite; nothing is written
            then.
        OSError: the folder cannot be written; a model that was in it is still whole.
    """
    folder, model = local_path(folder), unwrap_model(model)
    _check_weights(model)
    # Before anything is written.
    check_is_readable(config_of(model, NO_SHA256, 0, with_evidence=False), model.state_dict())
    with_evidence = has_published_weights(model)
    name = folder.resolve().name.encode(errors="backslashreplace").decode()
    folder.mkdir(parents=True, exist_ok=True)
    metadata = weight_description(pretrained_cfg_of(model), with_evidence)
    # A file outside of the folder would not be read again.
    with atomic_write(folder / WEIGHTS, folder / CONFIG, through_links=False) as (weights, path):
        save_weights(model, weights, metadata)
        sha256 = sha256_of(weights)
        config = config_of(model, sha256, weights.stat().st_size, with_evidence)
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if not (folder / CARD).exists():
        card = model_card(model, f"local-dir:{name}", with_evidence, sha256)
        with atomic_write(folder / CARD) as (path,):
            path.write_text(card, encoding="utf-8")


def has_published_weights(model: nn.Module) -> bool:
    """Return whether ``model`` still has the weights that the metrics of its configuration belong to."""
    cfg = pretrained_cfg_of(model)
    if cfg.top1 is None or cfg.data is None or cfg.file is None:
        return False
    arguments = getattr(model, "model_args", {})
    if getattr(model, "global_pool", "avg") != arguments.get("global_pool", "avg"):
        return False
    state = model.state_dict()
    try:
        published = read_weights(Path(cfg.file), state)
    except (ValueError, OSError):
        return False
    return state.keys() == published.keys() and all(_equal(state[name], published[name]) for name in state)


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.cpu().double(), other.double())


def _check_weights(model: nn.Module) -> None:
    for name, tensor in model.state_dict().items():
        if tensor.is_meta:
            raise ValueError("the model is on the meta device: it has no weights to save")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"the model is not saved: {name} has numbers that are not finite")
