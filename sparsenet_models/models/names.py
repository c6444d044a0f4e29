"""Names of models: ``architecture.tag`` and its parts, and old names that stand for current ones."""

from __future__ import annotations

import sys
import warnings

old_names: dict[str, str | None] = {}
"""By old name, ``architecture`` or ``architecture.tag``, the current one; None for a removed model."""

PACKAGE = __name__.partition(".")[0]


def split_model_name_tag(name: str) -> tuple[str, str]:
    """Split ``architecture.tag`` at the first dot; the tag is "" where there is none.

    Raises:
        TypeError: ``name`` is not a string.
    """
    if not isinstance(name, str):
        raise TypeError(f"a model's name must be a string, got {name!r} ({type(name).__name__})")
    architecture, _, tag = name.partition(".")
    return architecture, tag


def with_tag(name: str, tag: str) -> str:
    """Return ``architecture.tag`` for an architecture and a tag.

    Raises:
        ValueError: ``name`` has another tag, or a prefix such as ``hf-hub:``.
    """
    architecture, own_tag = split_model_name_tag(name)
    if ":" in name or own_tag not in ("", tag):
        raise ValueError(f"pretrained_cfg={tag!r} is a tag, which {name!r} does not take")
    return f"{architecture}.{tag}"


def current_name(name: str) -> tuple[str, str]:
    """Return the architecture and tag that ``name`` stands for; warn where it is an old name.

    Raises:
        TypeError: ``name`` is not a string.
        ValueError: the model of that name was removed.
    """
    architecture, tag = split_model_name_tag(name)
    first = old = _old_name(architecture, tag)
    if old is None:
        return architecture, tag
    while old is not None:  # a new name may have become an old one since
        new = old_names[old]
        if new is None:
            raise ValueError(f"{old!r} was removed; list_models() names the current models")
        new_architecture, _, new_tag = new.partition(".")
        if old == architecture and tag and new_tag and tag != new_tag:
            raise ValueError(f"{old!r} is now called {new!r}, so there is no '{architecture}.{tag}'")
        architecture, tag = new_architecture, new_tag or ("" if "." in old else tag)
        old = _old_name(architecture, tag)
    warnings.warn(
        f"{first!r} is now called {new!r}; the old name will be removed",
        FutureWarning,
        stacklevel=_frames_to_the_caller(),
    )
    return architecture, tag


def _old_name(architecture: str, tag: str) -> str | None:
    """Return the old name that a name stands under: with its tag, or without; None for a current one."""
    return next((old for old in (f"{architecture}.{tag}", architecture) if old in old_names), None)


def is_deprecated(name: str) -> bool:
    """Return whether ``name`` is an old name that still works."""
    architecture, _ = split_model_name_tag(name)
    return old_names.get(name, old_names.get(architecture)) is not None


def _frames_to_the_caller() -> int:
    """Return the ``stacklevel`` of a warning by ``current_name`` that points to the caller of the package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
        frame, level = frame.f_back, level + 1
    return level
