"""Old names of models and tags: a replaced one goes on working with a warning, a removed one says so."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

_replacements: dict[str, str | None] = {}


def register_model_deprecations(replacements: Mapping[str, str | None]) -> None:
    """Keep old names working, hidden from ``list_models()``.

    >>> register_model_deprecations({"sparsenet_small": "sparsenet_bc_40_k12", "sparsenet_odd": None})
    >>> create_model("sparsenet_small")  # builds sparsenet_bc_40_k12, with a FutureWarning that names it

    Args:
        replacements: by old name, ``architecture`` or ``architecture.tag``, the name to use now, or None
            for what was removed. An old architecture without its tag stands for all its tags.

    Raises:
        ValueError: an old name is a current one, or a new name is none; nothing is registered then.
    """
    from .registry import get_pretrained_cfg, list_models

    current = {*list_models(), *list_models(include_tags=True)}
    for old, new in replacements.items():
        if old in current:
            raise ValueError(f"{old!r} is a current name, so it cannot be an old one")
        if new is not None:
            get_pretrained_cfg(new)
    _replacements.update(replacements)


def current_name(architecture: str, tag: str) -> tuple[str, str]:
    """Return the architecture and tag to use, the given ones unless they are old; warns of a replacement.

    Raises:
        ValueError: what had that name was removed.
    """
    name = f"{architecture}.{tag}"
    old = name if name in _replacements else architecture
    if old not in _replacements:
        return architecture, tag
    new = _replacements[old]
    if new is None:
        raise ValueError(f"{old!r} was removed; list_models() names what there is")
    new_architecture, _, new_tag = new.partition(".")
    if old == architecture and tag and new_tag and tag != new_tag:
        raise ValueError(f"{old!r} is now called {new!r}, so there is no {name!r}")
    warnings.warn(f"{old!r} is now called {new!r}; the old name will go", FutureWarning, stacklevel=4)
    return new_architecture, new_tag or ("" if old == name else tag)


def is_deprecated(architecture: str, tag: str) -> bool:
    """Return whether that is an old name that still works."""
    return _replacements.get(f"{architecture}.{tag}", _replacements.get(architecture)) is not None
