"""Find: what a model's name stands for, in the registry, in a folder, or on the Hub."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path

from ..common.files import local_path
from ..common.messages import did_you_mean
from ..models.pretrained_cfg import WEIGHTS
from ..models.registry import is_registered, resolve
from .config_json import CONFIG, ModelSource, check_parameters, read_config, read_object
from .fetch import fetch
from .weight_file import described_by, read_weight_description

HUB, FOLDER = "hf-hub", "local-dir"


def find_model(name: str, cache_dir: str | PathLike[str] | None = None) -> ModelSource:
    """Return what ``name`` stands for: how to build the net, and the configuration of its weights.

    Args:
        name: ``architecture`` or ``architecture.tag`` of the registry; ``hf-hub:org/name[@revision]``, a
            repository of the Hub; or ``local-dir:path``, a folder by ``save_pretrained`` or of a training
            run, or a weight file by ``train``.
        cache_dir: where files of the Hub are kept; None for the Hub's own cache.

    Raises:
        ValueError: an unknown name, tag or prefix, an empty path, or a config.json that is refused.
        OSError: the config.json is missing, or cannot be fetched or read.
    """
    prefix, place = _split_prefix(name)
    if prefix == HUB:
        repository, _, revision = place.partition("@")
        return _on_hub(repository, revision or None, cache_dir)
    if prefix == FOLDER:
        return _in_folder(place)
    entrypoint, cfg = resolve(name)
    return ModelSource(entrypoint, {}, cfg)


def path_as_name(name: str) -> str:
    """Return a name for ``find_model``: ``local-dir:`` and the path, if ``name`` is a path and no model.

    A registered name, with its tag, comes first; ``./name`` stands for a folder of that name.
    """
    prefix, _ = _split_prefix(name)
    if prefix or is_registered(name) or not local_path(name).exists():
        return name
    return f"{FOLDER}:{name}"


def _split_prefix(name: str) -> tuple[str, str]:
    """Return the prefix of ``name`` and what follows it; the prefix is "" for a name of the registry."""
    if not isinstance(name, str) or ":" not in name:
        return "", name
    prefix, _, place = name.partition(":")
    if "/" in prefix or len(prefix) == 1:  # org/name:revision and C:\models have no prefix
        return "", name
    prefix = prefix.lower().replace("hf_hub", HUB)
    if prefix not in (HUB, FOLDER):
        hint = did_you_mean(prefix, (HUB, FOLDER)) or f"; the prefixes are {HUB}: and {FOLDER}:"
        raise ValueError(f"{name!r} has an unknown prefix {prefix!r}{hint}")
    if not place:
        example = "org/name" if prefix == HUB else "path"
        raise ValueError(f"{name!r} has nothing after the prefix; write {prefix}:{example}")
    return prefix, place


def _on_hub(repository: str, revision: str | None, cache_dir: str | PathLike[str] | None) -> ModelSource:
    """Return the model of a Hub repository.

    Its weights are pinned to the commit of its config.json, so that both are of one version.
    """
    path = fetch(repository, CONFIG, revision, cache_dir)
    source = read_config(path)
    return replace(source, cfg=replace(source.cfg, hf_hub_id=repository, revision=path.parent.name))


def _in_folder(place: str) -> ModelSource:
    """Return the model of a folder, with its weight file."""
    folder = local_path(place)
    if folder.is_file():
        return _of_weight_file(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"local-dir:{folder}: there is no such folder")
    if _holds_run(folder):
        return _of_weight_file(_within(folder, WEIGHTS))
    source = read_config(_within(folder, CONFIG))
    weights = _within(folder, source.cfg.hf_hub_filename or WEIGHTS)
    return replace(source, cfg=replace(source.cfg, file=str(weights), hf_hub_filename=None))


def _holds_run(folder: Path) -> bool:
    """Return whether ``folder`` is that of a finished training run.

    Old runs have a config.json too, which holds the run's options and names a model, but no architecture.
    """
    if not (folder / WEIGHTS).is_file():
        return False
    try:
        config = read_object(_within(folder, CONFIG))
    except FileNotFoundError:
        return not (folder / CONFIG).exists()
    except (OSError, ValueError):
        return False
    return "architecture" not in config and "model" in config


def _of_weight_file(path: Path) -> ModelSource:
    """Return the model of a weight file whose metadata name a registered architecture."""
    architecture, description = read_weight_description(path)
    if architecture is None:
        raise ValueError(
            f"{path} does not name its net: name it in create_model(NAME, checkpoint_path=...), or with "
            "--model NAME --checkpoint"
        )
    try:
        entrypoint, cfg = resolve(architecture)  # never the Hub, whatever the file names
        if "num_classes" in description:
            check_parameters(entrypoint, {"num_classes": description["num_classes"]})
    except ValueError as error:
        raise ValueError(f"the metadata of {path} are refused: {error}") from error
    return ModelSource(entrypoint, {}, described_by(description, path, cfg, keep_names=False))


def _within(folder: Path, name: str) -> Path:
    """Return the file ``name`` of ``folder``, unless it is a link out of it.

    The Hub's own cache consists of links, from ``snapshots/<commit>/`` to ``blobs/`` beside it, and from
    there to the ``blobs/`` that all repositories share.
    """
    path = folder / name
    try:
        root, target = folder.resolve(), path.resolve()
    except (RuntimeError, OSError) as error:  # a link to itself
        raise ValueError(f"{path} is refused: {error}") from error
    roots = [root]
    if root.parent.name == "snapshots":
        repository = root.parents[1]
        roots.append(repository / "blobs")
        if repository.name.startswith("models--"):
            roots.append(repository.parent / "blobs")
    if not any(target.is_relative_to(allowed) for allowed in roots):
        raise ValueError(f"{path} is refused: it is a link to {target}, outside of {root}")
    return path
