"""The registry: from ``architecture.tag`` to the function that builds the net and its configuration.

Names follow timm: ``architecture`` or ``architecture.tag``, split at the first dot; the first tag is the
default. Names and configurations need no torch: a family is imported when its function is asked for.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_args, get_origin, overload

from ..common.messages import did_you_mean
from .names import current_name, is_deprecated, old_names, split_model_name_tag
from .pretrained_cfg import PretrainedCfg

if TYPE_CHECKING:
    from torch import nn

WEIGHTS_DIR = Path(__file__).parent.parent / "weights"
"""The bundled weights, each with a card: ``architecture.tag.json``."""

BuildModel = Callable[..., "nn.Module"]
Entrypoint = TypeVar("Entrypoint", bound=BuildModel)


class _Model(NamedTuple):
    """A registered model: the module of its entrypoint, what returns that, and its configurations by tag."""

    module: str
    entrypoint: Callable[[], BuildModel]
    cfgs: dict[str, PretrainedCfg]


_models: dict[str, _Model] = {}


@overload
def register_model(entrypoint: Entrypoint) -> Entrypoint: ...
@overload
def register_model(
    *, pretrained_cfgs: Mapping[str, PretrainedCfg | Mapping[str, Any]] | None = ..., override: bool = ...
) -> Callable[[Entrypoint], Entrypoint]: ...
def register_model(
    entrypoint: Entrypoint | None = None,
    *,
    pretrained_cfgs: Mapping[str, PretrainedCfg | Mapping[str, Any]] | None = None,
    override: bool = False,
) -> Entrypoint | Callable[[Entrypoint], Entrypoint]:
    """Register a function that builds a net, under the function's name. A decorator.

    Examples:
        >>> @register_model
        ... def tiny_net(**kwargs):
        ...     return SparseNet(depth=10, growth_rate=4, **kwargs)

    Args:
        entrypoint: returns the net; called with ``num_classes``, ``in_chans`` and the other keywords that
            ``create_model`` passes on to the net.
        pretrained_cfgs: configurations by tag, the default tag first, each a ``PretrainedCfg`` or a dict of
            its fields; their ``architecture`` and ``tag`` are filled in.
        override: replace a model of that name.

    Raises:
        TypeError: a configuration is neither of the two.
        ValueError: the name is taken (without ``override``), an old name or not an identifier, or a
            configuration has an unknown key, or names a Hub repository without the full commit and the
            sha256.
    """
    if entrypoint is None:
        return partial(register_model, pretrained_cfgs=pretrained_cfgs, override=override)
    name = getattr(entrypoint, "__name__", "")
    if not name.isidentifier():
        raise ValueError(
            f"a model is registered under its function's name, an identifier; got {entrypoint!r}"
        )
    if name in _models and not override:
        raise ValueError(f"a model named {name!r} is registered already; pass override=True to replace it")
    cfgs = {tag: _as_cfg(tag, cfg) for tag, cfg in (pretrained_cfgs or {}).items()}
    register_lazily(name, entrypoint.__module__, lambda: entrypoint, cfgs)
    return entrypoint


def _as_cfg(tag: str, cfg: PretrainedCfg | Mapping[str, Any]) -> PretrainedCfg:
    """Return a configuration that ``register_model`` was given for ``tag``."""
    origin = f"pretrained_cfgs[{tag!r}]"
    if isinstance(cfg, Mapping):
        return PretrainedCfg().overlaid(cfg, origin)
    if not isinstance(cfg, PretrainedCfg):
        raise TypeError(
            f"{origin} must be a sparsenet_models.PretrainedCfg or a dict of its fields, got a "
            f"{type(cfg).__module__}.{type(cfg).__name__}"
        )
    return cfg


def register_lazily(
    name: str, module: str, entrypoint: Callable[[], BuildModel], cfgs: Mapping[str, PretrainedCfg]
) -> None:
    """Register a model whose function exists only when it is asked for.

    Args:
        name: the architecture.
        module: the function's ``__module__``.
        entrypoint: returns the function, the same one each time.
        cfgs: configurations by tag, as in ``register_model``.

    Raises:
        ValueError: the name is an old one, or a configuration names a Hub repository without the full
            commit and the sha256.
    """
    for own_name in (name, *(f"{name}.{tag}" for tag in cfgs)):
        if own_name in old_names:
            raise ValueError(
                f"{own_name!r} is an old name (register_model_deprecations), so it cannot be a current one"
            )
    named = {tag: replace(cfg, architecture=name, tag=tag) for tag, cfg in cfgs.items()}
    for cfg in named.values():
        _check_pinned(cfg)
    _models[name] = _Model(module, entrypoint, named)


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
            _models[cfg.architecture].cfgs[cfg.tag] = cfg


def _cfg_of_card(card: Path) -> PretrainedCfg:
    """Return the configuration that a card describes.

    Raises:
        ValueError: the card's name is not that of a model, or its content is not a configuration.
        OSError: it cannot be read.
    """
    architecture, tag = split_model_name_tag(card.stem)
    cfgs = _registered(architecture).cfgs
    bases = [base for base in cfgs if f"{tag}_".startswith(f"{base}_")]
    if not bases:
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
    _check_kinds(fields)
    if "file" in fields:
        fields["file"] = str(card.parent / str(fields["file"]))
    base = tag if tag in cfgs else min(bases, key=len)
    cfg = replace(cfgs[base].overlaid(fields, "its fields"), architecture=architecture, tag=tag)
    _check_pinned(cfg)
    return cfg


def _check_kinds(fields: Mapping[str, Any]) -> None:
    """Raise a ValueError for a value of another type than its field of ``PretrainedCfg`` has."""
    for field in dataclasses.fields(PretrainedCfg):
        if field.name in fields and not isinstance(fields[field.name], _kinds(field.type)):
            kind = inspect.formatannotation(field.type)
            raise ValueError(f"its {field.name} must be of the type {kind}, got {fields[field.name]!r}")


def _kinds(annotation: Any) -> tuple[type, ...]:
    """Return the classes of the values that an annotation allows; an integer is a float too."""
    if isinstance(annotation, UnionType):
        return tuple(kind for part in get_args(annotation) for kind in _kinds(part))
    return (int, float) if annotation is float else (get_origin(annotation) or annotation,)


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

    Examples:
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
        if architecture in _models and (not tag or tag in _models[architecture].cfgs):
            raise ValueError(f"{old!r} is a current name, so it cannot be an old one")
        if new is not None:
            with warnings.catch_warnings():  # the new name may be an old one of another
                warnings.simplefilter("ignore", FutureWarning)
                get_pretrained_cfg(new)
    old_names.update(replacements)


@contextmanager
def temporary_registry() -> Iterator[None]:
    """Restore the registry at the end of the block: models, cards and old names registered in it are lost.

    Examples:
        >>> with temporary_registry():
        ...     register_model(tiny_net)
    """
    before: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (_models, {name: model._replace(cfgs=dict(model.cfgs)) for name, model in _models.items()}),
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
    cfg = get_pretrained_cfg(name)
    return _models[cfg.architecture].entrypoint(), cfg


def model_entrypoint(name: str) -> BuildModel:
    """Return the function that builds the net ``name`` (its tag is ignored), untrained.

    Raises:
        TypeError: ``name`` is not a string.
        ValueError: unknown model; the message names the nearest.
    """
    architecture, _ = current_name(name)
    return _registered(architecture, name).entrypoint()


def get_pretrained_cfg(name: str) -> PretrainedCfg:
    """Return the configuration of ``name``: of its tag, or of the default tag where it has none.

    Raises:
        TypeError: ``name`` is not a string.
        ValueError: unknown model or tag, as in ``resolve``.
    """
    architecture, tag = current_name(name)
    cfgs = _registered(architecture, name).cfgs
    if tag and tag not in cfgs:
        raise ValueError(_unknown_tag(architecture, tag))
    return cfgs[tag] if tag else next(iter(cfgs.values()), PretrainedCfg(architecture=architecture))


def is_model(name: str) -> bool:
    """Return whether a model of that name (its tag is ignored) is registered.

    Raises:
        TypeError: ``name`` is not a string.
    """
    return split_model_name_tag(name)[0] in _models or is_deprecated(name)


def is_registered(name: str) -> bool:
    """Return whether ``name`` stands for a model and, if it has a tag, for one of its configurations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of an old name: it is only looked up here
        try:
            get_pretrained_cfg(name)
        except ValueError:
            return False
    return True


def architectures() -> list[str]:
    """Return the registered architectures, without tags."""
    return list(_models)


def module_of(architecture: str) -> str:
    """Return the module of a registered architecture's entrypoint, which is not imported for that."""
    return _models[architecture].module


def library_architectures() -> list[str]:
    """Return the architectures that this library registers, not those of its users."""
    return [name for name in architectures() if module_of(name).startswith(f"{__package__}.")]


def tagged_cfgs(architecture: str) -> list[PretrainedCfg]:
    """Return the configurations of every tag of a registered architecture, the default tag first."""
    return list(_models[architecture].cfgs.values())


def tags_with_weights(name: str) -> list[str]:
    """Return the ``architecture.tag`` names of one model that have weights, default tag first."""
    architecture, _ = current_name(name)
    cfgs = tagged_cfgs(architecture) if architecture in _models else []
    return [cfg.name for cfg in cfgs if cfg.has_weights]


def _registered(architecture: str, name: str = "") -> _Model:
    """Return a model; for an unknown one, given as ``name``, raise a ValueError with the nearest name."""
    if architecture in _models:
        return _models[architecture]
    if "/" in name or "\\" in name:
        raise ValueError(
            f"{name!r} is not the name of a model but looks like a Hub repository or a folder: write "
            f"'hf-hub:{name}' or 'local-dir:{name}'"
        )
    hint = did_you_mean(architecture, _models)
    raise ValueError(f"unknown model {architecture!r}{hint or ';'} list_models() names all {len(_models)}")


def _unknown_tag(architecture: str, tag: str) -> str:
    cfgs = _models[architecture].cfgs
    tags = ", ".join(map(repr, cfgs)) or "none"
    return f"unknown tag {tag!r} of {architecture!r}{did_you_mean(tag, cfgs) or ';'} its tags: {tags}"
