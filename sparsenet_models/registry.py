"""Names: name -> entrypoint, name.tag -> pretrained configuration, and their listings.

The words and rules are timm's: a name is ``architecture`` or ``architecture.tag``, split at the first
dot; the first tag is the default.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from torch import nn

from .deprecation import current_name, is_deprecated
from .pretrained_cfg import PretrainedCfg
from .suggest import did_you_mean

TABLE_COLUMNS = (
    "name",
    "num_params",
    "macs",
    "data",
    "top1",
    "top5",
    "epochs",
    "epochs_before",
    "seed",
    "train_seconds",
    "machine",
)

WEIGHTS_DIR = Path(__file__).parent / "weights"

Entrypoint = TypeVar("Entrypoint", bound=Callable[..., nn.Module])

_entrypoints: dict[str, Callable[..., nn.Module]] = {}
_tagged_cfgs: dict[str, dict[str, PretrainedCfg]] = {}


@overload
def register_model(entrypoint: Entrypoint) -> Entrypoint: ...
@overload
def register_model(
    *, pretrained_cfgs: Mapping[str, PretrainedCfg] | None = ..., override: bool = ...
) -> Callable[[Entrypoint], Entrypoint]: ...
def register_model(entrypoint=None, *, pretrained_cfgs=None, override=False):
    """Register a function that builds a net, under the function's name. A decorator.

    >>> @register_model
    ... def tiny_net(**kwargs):
    ...     return SparseNet(depth=10, growth_rate=4, **kwargs)

    Args:
        entrypoint: called with the keywords that ``create_model`` does not keep for itself
            (``num_classes`` and ``in_chans`` among them), returns the net.
        pretrained_cfgs: configurations by tag, the default tag first; their ``architecture`` and
            ``tag`` are filled in.
        override: replace a model of that name.

    Raises:
        ValueError: the name is taken (without ``override``) or is no identifier, or a configuration names
            a Hub repository without the full commit and the sha256.
    """
    if entrypoint is None:
        return lambda function: _register(function, pretrained_cfgs, override)
    return _register(entrypoint, pretrained_cfgs, override)


def _register(
    entrypoint: Entrypoint, pretrained_cfgs: Mapping[str, PretrainedCfg] | None, override: bool
) -> Entrypoint:
    """Register ``entrypoint`` under its own ``__name__``; see ``register_model``."""
    name = getattr(entrypoint, "__name__", "")
    if not name.isidentifier():
        raise ValueError(
            f"a model is registered under its function's name, an identifier; got {entrypoint!r}"
        )
    # The library's own names come first, so that a user's clash with them is told where it arises.
    if not _is_ours(entrypoint):
        _load_library()
    if name in _entrypoints and not override:
        raise ValueError(f"a model named {name!r} is registered already; pass override=True to replace it")
    cfgs = {tag: replace(cfg, architecture=name, tag=tag) for tag, cfg in (pretrained_cfgs or {}).items()}
    for cfg in cfgs.values():
        _check_pinned(cfg)
    _entrypoints[name] = entrypoint
    _tagged_cfgs[name] = cfgs
    return entrypoint


def _check_pinned(cfg: PretrainedCfg) -> None:
    """Raise unless a weight on the Hub is pinned: what has a name must never change."""
    if cfg.hf_hub_id is None:
        return
    for key, digits in (("revision", 40), ("sha256", 64)):
        if not re.fullmatch(rf"[0-9a-f]{{{digits}}}", str(getattr(cfg, key))):
            raise ValueError(
                f"{cfg.name!r} is on the Hub ({cfg.hf_hub_id}), so its {key} must be given in full, "
                f"{digits} hexadecimal digits; got {getattr(cfg, key)!r}"
            )


def _is_ours(entrypoint: Callable[..., nn.Module]) -> bool:
    return entrypoint.__module__.startswith(f"{__package__}.models")


def library_entrypoints() -> dict[str, Callable[..., nn.Module]]:
    """Return the functions that build the library's own nets, by name."""
    return {name: entrypoint for name, entrypoint in _all_entrypoints().items() if _is_ours(entrypoint)}


def split_model_name_tag(name: str) -> tuple[str, str]:
    """Split ``architecture.tag`` at the first dot; the tag is "" where there is none."""
    if not isinstance(name, str):
        raise TypeError(f"a model's name must be a string, got {name!r} ({type(name).__name__})")
    architecture, _, tag = name.partition(".")
    return architecture, tag


def is_model(name: str) -> bool:
    """Return whether a model of that name (its tag left aside) is registered."""
    architecture, tag = split_model_name_tag(name)
    return architecture in _all_entrypoints() or is_deprecated(architecture, tag)


def model_entrypoint(name: str) -> Callable[..., nn.Module]:
    """Return the function that builds the net ``name`` (its tag left aside), untrained.

    Raises:
        ValueError: no model of that name; the message names the nearest.
    """
    architecture, _ = _architecture_and_tag(name)
    return _entrypoints[architecture]


def get_pretrained_cfg(name: str) -> PretrainedCfg:
    """Return what is known of ``name``: of its tag, or of the default tag where it has none.

    Raises:
        ValueError: unknown model, or a tag that it does not have; the message lists the tags.
    """
    architecture, tag = _architecture_and_tag(name)
    cfgs = _tagged_cfgs[architecture]
    if not tag:
        return next(iter(cfgs.values()), PretrainedCfg(architecture=architecture))
    if tag not in cfgs:
        tags = ", ".join(map(repr, cfgs)) or "none"
        raise ValueError(
            f"unknown tag {tag!r} of {architecture!r}{did_you_mean(tag, cfgs) or ';'} its tags: {tags}"
        )
    return cfgs[tag]


def _architecture_and_tag(name: str) -> tuple[str, str]:
    """Return the registered architecture that ``name`` stands for, and the tag it asks for."""
    architecture, tag = current_name(*split_model_name_tag(name))
    entrypoints = _all_entrypoints()
    if architecture not in entrypoints:
        if "/" in name or "\\" in name:
            raise ValueError(
                f"{name!r} is no name of a model but looks like a Hub repository or a folder: write "
                f"'hf-hub:{name}' or 'local-dir:{name}'"
            )
        hint = did_you_mean(architecture, entrypoints)
        raise ValueError(
            f"unknown model {architecture!r}{hint or ';'} list_models() names all {len(entrypoints)}"
        )
    return architecture, tag


def tags_with_weights(name: str) -> list[str]:
    """Return the ``architecture.tag`` names of one model that have weights, default tag first."""
    architecture, _ = current_name(*split_model_name_tag(name))
    return [cfg.name for cfg in _tagged_cfgs.get(architecture, {}).values() if cfg.has_weights]


def list_models(
    filter: str | Sequence[str] = "",
    pretrained: bool = False,
    exclude_filters: str | Sequence[str] = "",
    include_tags: bool | None = None,
) -> list[str]:
    """Return the names of models, in natural order (``_k12`` before ``_k100``).

    Args:
        filter: a pattern with ``*`` and ``?``, or several, any of which may match; a pattern
            without a tag also matches ``name.*``.
        pretrained: only what has weights, as ``architecture.tag``.
        exclude_filters: patterns of names to leave out.
        include_tags: list tags too; None follows ``pretrained``.
    """
    include_tags = pretrained if include_tags is None else include_tags
    names = []
    for architecture in _all_entrypoints():
        cfgs = [c for c in _tagged_cfgs[architecture].values() if c.has_weights or not pretrained]
        if include_tags and cfgs:
            names += [cfg.name for cfg in cfgs]
        elif cfgs or not pretrained:
            names.append(architecture)
    patterns, excluded = _patterns(filter), _patterns(exclude_filters)
    return sorted(
        (
            name
            for name in names
            if (not patterns or _matches(name, patterns)) and not _matches(name, excluded)
        ),
        key=_natural_key,
    )


@overload
def list_pretrained(
    filter: str | Sequence[str] = ...,
    exclude_filters: str | Sequence[str] = ...,
    as_table: Literal[False] = ...,
) -> list[str]: ...
@overload
def list_pretrained(
    filter: str | Sequence[str] = ...,
    exclude_filters: str | Sequence[str] = ...,
    *,
    as_table: Literal[True],
) -> list[dict[str, Any]]: ...
def list_pretrained(filter="", exclude_filters="", as_table=False):
    """Return every ``architecture.tag`` that has weights; filters as in ``list_models``.

    Args:
        filter: patterns of names.
        exclude_filters: patterns of names to leave out.
        as_table: return a dict for each instead, with the columns ``TABLE_COLUMNS``: what its card
            tells. ``pandas.DataFrame(list_pretrained(as_table=True))`` makes a table of them.
    """
    names = list_models(filter, pretrained=True, exclude_filters=exclude_filters)
    if not as_table:
        return names
    cfgs = [get_pretrained_cfg(name) for name in names]
    return [{column: getattr(cfg, column) for column in TABLE_COLUMNS} for cfg in cfgs]


def _all_entrypoints() -> dict[str, Callable[..., nn.Module]]:
    _load_library()
    return _entrypoints


@cache
def _load_library() -> None:
    """Register the library's own models, and what the cards say of the weights, here or on the Hub."""
    from . import models  # noqa: F401

    for card in sorted(WEIGHTS_DIR.glob("*.json")):
        architecture, tag = split_model_name_tag(card.stem)
        told: dict[str, Any] = json.loads(card.read_text(encoding="utf-8"))
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in told.items()
        }
        if "file" in fields:
            fields["file"] = str(WEIGHTS_DIR / fields["file"])
        # cifar100_kd, distilled, is a variant of cifar100: the same classes and images.
        known = _tagged_cfgs[architecture].get(tag) or _tagged_cfgs[architecture][tag.partition("_")[0]]
        cfg = replace(known, tag=tag).overlaid(fields)
        _check_pinned(cfg)
        _tagged_cfgs[architecture][tag] = cfg


def _patterns(filters: str | Sequence[str]) -> list[str]:
    listed = [filters] if isinstance(filters, str) else list(filters)
    return [pattern for pattern in listed if pattern]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(
        fnmatch.fnmatchcase(name, pattern)
        or ("." not in pattern and fnmatch.fnmatchcase(name, f"{pattern}.*"))
        for pattern in patterns
    )


def _natural_key(name: str) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]
