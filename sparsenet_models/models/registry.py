"""The registry: from ``architecture.tag`` to the function that builds the net and its configuration.

Names follow timm: ``architecture`` or ``architecture.tag``, split at the first dot; the first tag is the
default.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, overload

from torch import nn

from ..common.messages import did_you_mean
from .names import current_name, is_deprecated, old_names, split_model_name_tag
from .pretrained_cfg import PretrainedCfg

WEIGHTS_DIR = Path(__file__).parent.parent / "weights"
"""The bundled weights, each with a card: ``architecture.tag.json``."""

BuildModel = Callable[..., nn.Module]
Entrypoint = TypeVar("Entrypoint", bound=BuildModel)

_entrypoints: dict[str, BuildModel] = {}
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
        entrypoint: returns the net; called with ``num_classes``, ``in_chans`` and the other keywords that
            ``create_model`` passes on to the net.
        pretrained_cfgs: configurations by tag, the default tag first; their ``architecture`` and
            ``tag`` are filled in.
        override: replace a model of that name.

    Raises:
        ValueError: the name is taken (without ``override``) or not an identifier, or a configuration names
            a Hub repository without the full commit and the sha256.
    """
    if entrypoint is None:
        return lambda function: _register(function, pretrained_cfgs, override)
    return _register(entrypoint, pretrained_cfgs, override)


def _register(
    entrypoint: Entrypoint, pretrained_cfgs: Mapping[str, PretrainedCfg] | None, override: bool
) -> Entrypoint:
    name = getattr(entrypoint, "__name__", "")
    if not name.isidentifier():
        raise ValueError(
            f"a model is registered under its function's name, an identifier; got {entrypoint!r}"
        )
    if name in _entrypoints and not override:
        raise ValueError(f"a model named {name!r} is registered already; pass override=True to replace it")
    cfgs = {tag: replace(cfg, architecture=name, tag=tag) for tag, cfg in (pretrained_cfgs or {}).items()}
    for cfg in cfgs.values():
        _check_pinned(cfg)
    _entrypoints[name] = entrypoint
    _tagged_cfgs[name] = cfgs
    return entrypoint


def register_cards(folder: Path) -> None:
    """Register the weights that the cards in ``folder``, ``architecture.tag.json``, describe.

    A tag like ``cifar100_kd`` is a variant of ``cifar100``: it has the same classes and images. A card
    with an unknown name or damaged content is left out, with a warning that names it.
    """
    for card in sorted(folder.glob("*.json")):
        try:
            cfg = _cfg_of_card(card)
        except (ValueError, OSError) as error:
            warnings.warn(f"the card {card} is left out: {error}", stacklevel=2)
        else:
            _tagged_cfgs[cfg.architecture][cfg.tag] = cfg


def _cfg_of_card(card: Path) -> PretrainedCfg:
    """Return the configuration that a card describes.

    Raises:
        ValueError: the card's name is not that of a model, or its content is not a configuration.
        OSError: it cannot be read.
    """
    architecture, tag = split_model_name_tag(card.stem)
    _check_registered(architecture)
    cfgs = _tagged_cfgs[architecture]
    base_tag = tag if tag in cfgs else tag.partition("_")[0]
    if base_tag not in cfgs:
        raise ValueError(_unknown_tag(architecture, tag))
    try:
        content = json.loads(card.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not readable JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"it must hold a JSON object, got {type(content).__name__}")
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in content.items()
    }
    if "file" in fields:
        fields["file"] = str(card.parent / str(fields["file"]))
    cfg = replace(cfgs[base_tag].overlaid(fields, "its fields"), architecture=architecture, tag=tag)
    _check_pinned(cfg)
    return cfg


def _check_pinned(cfg: PretrainedCfg) -> None:
    """Raise unless a weight on the Hub is pinned: the weights of a name must never change."""
    if cfg.hf_hub_id is None:
        return
    for key, digits in (("revision", 40), ("sha256", 64)):
        if not re.fullmatch(rf"[0-9a-f]{{{digits}}}", str(getattr(cfg, key))):
            raise ValueError(
                f"{cfg.name!r} is on the Hub ({cfg.hf_hub_id}), so its {key} must be given in full, "
                f"{digits} hexadecimal digits; got {getattr(cfg, key)!r}"
            )


def register_model_deprecations(replacements: Mapping[str, str | None]) -> None:
    """Keep old names working, hidden from ``list_models()``.

    >>> register_model_deprecations({"sparsenet_small": "sparsenet_bc_40_k12", "sparsenet_odd": None})
    >>> create_model("sparsenet_small")  # builds sparsenet_bc_40_k12, with a FutureWarning that names it

    Args:
        replacements: by old name, ``architecture`` or ``architecture.tag``, the name to use now, or None
            for a model that was removed. An old architecture without its tag stands for all its tags.

    Raises:
        ValueError: an old name is also a current one, or a new name is unknown; nothing is registered then.
    """
    for old, new in replacements.items():
        architecture, tag = split_model_name_tag(old)
        if architecture in _entrypoints and (not tag or tag in _tagged_cfgs[architecture]):
            raise ValueError(f"{old!r} is a current name, so it cannot be an old one")
        if new is not None:
            with warnings.catch_warnings():  # the new name may be an old one of another
                warnings.simplefilter("ignore", FutureWarning)
                resolve(new)
    old_names.update(replacements)


@contextmanager
def temporary_registry() -> Iterator[None]:
    """Restore the registry at the end of the block: models, cards and old names registered in it are lost.

    >>> with temporary_registry():
    ...     register_model(tiny_net)
    """
    before: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (_entrypoints, dict(_entrypoints)),
        (_tagged_cfgs, {architecture: dict(cfgs) for architecture, cfgs in _tagged_cfgs.items()}),
        (old_names, dict(old_names)),
    ]
    try:
        yield
    finally:
        for registered, content in before:
            registered.clear()
            registered.update(content)


def resolve(name: str) -> tuple[BuildModel, PretrainedCfg]:
    """Return the function that builds the net ``name``, and the configuration of its tag.

    Without a tag the configuration is that of the default tag; for a net without tags, an empty one.

    Raises:
        ValueError: unknown model, the message names the nearest; or unknown tag, the message lists the
            model's tags.
    """
    architecture, tag = current_name(name)
    _check_registered(architecture, name)
    cfgs = _tagged_cfgs[architecture]
    if tag and tag not in cfgs:
        raise ValueError(_unknown_tag(architecture, tag))
    cfg = cfgs[tag] if tag else next(iter(cfgs.values()), PretrainedCfg(architecture=architecture))
    return _entrypoints[architecture], cfg


def model_entrypoint(name: str) -> BuildModel:
    """Return the function that builds the net ``name`` (its tag is ignored), untrained.

    Raises:
        ValueError: unknown model; the message names the nearest.
    """
    architecture, _ = current_name(name)
    _check_registered(architecture, name)
    return _entrypoints[architecture]


def get_pretrained_cfg(name: str) -> PretrainedCfg:
    """Return the configuration of ``name``: of its tag, or of the default tag where it has none.

    Raises:
        ValueError: unknown model or tag, as in ``resolve``.
    """
    return resolve(name)[1]


def is_model(name: str) -> bool:
    """Return whether a model of that name (its tag is ignored) is registered."""
    return split_model_name_tag(name)[0] in _entrypoints or is_deprecated(name)


def architectures() -> list[str]:
    """Return the registered architectures, without tags."""
    return list(_entrypoints)


def library_architectures() -> list[str]:
    """Return the architectures that this library registers, not those of its users."""
    return [name for name in architectures() if _entrypoints[name].__module__.startswith(f"{__package__}.")]


def tagged_cfgs(architecture: str) -> list[PretrainedCfg]:
    """Return the configurations of every tag of a registered architecture, the default tag first."""
    return list(_tagged_cfgs[architecture].values())


def tags_with_weights(name: str) -> list[str]:
    """Return the ``architecture.tag`` names of one model that have weights, default tag first."""
    architecture, _ = current_name(name)
    return [cfg.name for cfg in _tagged_cfgs.get(architecture, {}).values() if cfg.has_weights]


def _check_registered(architecture: str, name: str = "") -> None:
    """Raise a ValueError with the nearest right name for an unknown architecture, given as ``name``."""
    if architecture in _entrypoints:
        return
    if "/" in name or "\\" in name:
        raise ValueError(
            f"{name!r} is not the name of a model but looks like a Hub repository or a folder: write "
            f"'hf-hub:{name}' or 'local-dir:{name}'"
        )
    hint = did_you_mean(architecture, _entrypoints)
    raise ValueError(
        f"unknown model {architecture!r}{hint or ';'} list_models() names all {len(_entrypoints)}"
    )


def _unknown_tag(architecture: str, tag: str) -> str:
    tags = ", ".join(map(repr, _tagged_cfgs[architecture])) or "none"
    hint = did_you_mean(tag, _tagged_cfgs[architecture])
    return f"unknown tag {tag!r} of {architecture!r}{hint or ';'} its tags: {tags}"
