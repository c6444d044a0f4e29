"""A model in a folder: config.json, model.safetensors, README.md. `local-dir:` reads it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from ..common.files import atomic_write
from ..models.pretrained_cfg import cfg_of
from .config_json import CONFIG, EVIDENCE, WEIGHTS, Described, config_of, read_config
from .load import read_weights, unwrap_model
from .model_card import model_card
from .weight_file import save_weights

CARD = "README.md"


def save_pretrained(model: nn.Module, folder: str | PathLike[str]) -> None:
    """Write ``model`` to ``folder``, for ``create_model("local-dir:...")``, the Hub, and timm.

    Writes ``model.safetensors``, ``config.json`` (which names the weights' sha256) and, where there is
    none, a model card ``README.md``. A model that was there is replaced; a README never is.

    >>> save_pretrained(model, "my_net")
    >>> create_model("local-dir:my_net", pretrained=True)

    Args:
        model: a net by ``create_model``.
        folder: made where it is missing.

    Raises:
        ValueError: the net was not built by ``create_model``, has an argument that JSON cannot hold, is on
            the meta device, or has weights that are not finite; nothing is written then.
        OSError: the folder cannot be written; the model that it held before is still whole.
    """
    folder, model = Path(folder), unwrap_model(model)
    _check_weights(model)
    config_of(model, "", 0, evidence=False)
    folder.mkdir(parents=True, exist_ok=True)
    evidence = has_its_published_weights(model)
    known = cfg_of(model)
    metadata = {key: str(known[key]) for key in ("architecture", "tag") if known.get(key)}
    if evidence:
        metadata |= {key: str(known[key]) for key in EVIDENCE if known.get(key) is not None}
    with atomic_write(folder / WEIGHTS, folder / CONFIG) as (weights, path):
        save_weights(model, weights, metadata)
        content = weights.read_bytes()
        config = config_of(model, hashlib.sha256(content).hexdigest(), len(content), evidence)
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if not (folder / CARD).exists():
        with atomic_write(folder / CARD) as (path,):
            path.write_text(
                model_card(model, f"local-dir:{folder.resolve().name}", evidence), encoding="utf-8"
            )


def holds_saved_model(folder: Path) -> bool:
    """Return whether ``folder`` is one by ``save_pretrained``; a run's config.json tells other things."""
    try:
        return "architecture" in json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def described_in_folder(folder: Path) -> Described:
    """Return what the config.json of ``folder`` tells, with the weight file beside it.

    Raises:
        ValueError: the configuration is refused, or a file in it is a link to elsewhere.
        OSError: the folder or the configuration is missing or cannot be read.
    """
    if folder.is_file():
        raise NotADirectoryError(
            f"local-dir:{folder} is a file; create_model(name, checkpoint_path=...) loads weight files"
        )
    if not folder.is_dir():
        raise FileNotFoundError(f"local-dir:{folder}: there is no such folder")
    described = read_config(_within(folder, CONFIG))
    weights = _within(folder, described.cfg.hf_hub_filename or WEIGHTS)
    return replace(described, cfg=replace(described.cfg, file=str(weights), hf_hub_filename=None))


def _within(folder: Path, name: str) -> Path:
    """Return the file ``name`` of ``folder``, unless it is a link out of it.

    The Hub's own cache consists of links, from ``snapshots/<commit>/`` to ``blobs/`` beside them.
    """
    path = folder / name
    try:
        root, target = folder.resolve(), path.resolve()
    except (RuntimeError, OSError) as error:  # a link to itself
        raise ValueError(f"{path} is refused: {error}") from error
    roots = [root, root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [root]
    if not any(target.is_relative_to(allowed) for allowed in roots):
        raise ValueError(f"{path} is refused: it is a link to {target}, outside of {root}")
    return path


def has_its_published_weights(model: nn.Module) -> bool:
    """Return whether ``model`` has, unchanged, the weights whose figures its ``pretrained_cfg`` tells."""
    known = cfg_of(model)
    file, top1 = known.get("file"), known.get("top1")
    if top1 is None or known.get("data") is None or file is None:
        return False
    built_with = getattr(model, "model_args", {})
    if getattr(model, "global_pool", "avg") != built_with.get("global_pool", "avg"):
        return False
    try:
        published = read_weights(Path(file))
    except (ValueError, OSError):
        return False
    own = model.state_dict()
    return own.keys() == published.keys() and all(_same(own[name], published[name]) for name in own)


def _same(own: Tensor, published: Tensor) -> bool:
    return own.shape == published.shape and torch.equal(own.cpu().double(), published.double())


def _check_weights(model: nn.Module) -> None:
    for name, tensor in model.state_dict().items():
        if tensor.is_meta:
            raise ValueError("the model is on the meta device: it has no weights to save")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"the model is not saved: {name} has numbers that are not finite")
