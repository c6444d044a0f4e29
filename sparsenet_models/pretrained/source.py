"""Where a model's name says that it is: `hf-hub:org/name[@revision]`, `local-dir:path`, or the registry."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path

from ..common.messages import did_you_mean
from .config_json import CONFIG, Described, read_config
from .folder import described_in_folder

HUB, FOLDER = "hf-hub", "local-dir"


def described_elsewhere(name: str, cache_dir: str | PathLike[str] | None) -> Described | None:
    """Return what the config.json says that ``name`` points to; None for a name of the registry.

    Everything behind the prefix is taken as it is; a revision comes after the last ``@``.

    Raises:
        ValueError: an unknown prefix, nothing behind it, or a configuration that is refused.
        OSError: the configuration is missing or cannot be fetched or read.
    """
    if not isinstance(name, str) or ":" not in name:
        return None
    prefix, _, place = name.partition(":")
    if "/" in prefix or len(prefix) == 1:  # org/name:revision, C:\\models: no prefix, a name without one
        return None
    prefix = prefix.lower().replace("hf_hub", HUB)
    if prefix not in (HUB, FOLDER):
        hint = did_you_mean(prefix, (HUB, FOLDER))
        raise ValueError(
            f"{name!r} has an unknown prefix {prefix!r}{hint or f'; there are {HUB}: and {FOLDER}:'}"
        )
    if not place:
        example = "org/name" if prefix == HUB else "path"
        raise ValueError(f"{name!r} says nothing after the prefix; write {prefix}:{example}")
    if prefix == FOLDER:
        try:
            folder = Path(place).expanduser()
        except RuntimeError as error:
            raise ValueError(f"{name!r} names no folder: {error}") from error
        return described_in_folder(folder)
    repository, _, revision = place.partition("@")
    return described_on_hub(repository, revision or None, cache_dir)


def described_on_hub(
    repository: str, revision: str | None, cache_dir: str | PathLike[str] | None
) -> Described:
    """Return what the config.json of a Hub repository tells, and where its weights are.

    The weights' place is pinned to the commit that the configuration came from: both are of one version.

    Raises:
        ValueError: the configuration is refused, or ``repository`` cannot be one's name.
        OSError: it cannot be fetched.
    """
    from .fetch import fetch  # here, as huggingface_hub takes a while to import

    path = fetch(repository, CONFIG, revision, cache_dir)
    described = read_config(path)
    return replace(described, cfg=replace(described.cfg, hf_hub_id=repository, revision=path.parent.name))
