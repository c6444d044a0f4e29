"""Old names of models and tags: a replaced one goes on working with a warning, a removed one says so."""

from __future__ import annotations

import sys
import warnings

replacements: dict[str, str | None] = {}
"""By old name, ``architecture`` or ``architecture.tag``, the name to use now; None for what was removed."""

PACKAGE = __name__.partition(".")[0]


def current_name(architecture: str, tag: str) -> tuple[str, str]:
    """Return the architecture and tag to use, the given ones unless they are old; warns of a replacement.

    Raises:
        ValueError: what had that name was removed.
    """
    name = f"{architecture}.{tag}"
    old = name if name in replacements else architecture
    if old not in replacements:
        return architecture, tag
    new = replacements[old]
    if new is None:
        raise ValueError(f"{old!r} was removed; list_models() names what there is")
    new_architecture, _, new_tag = new.partition(".")
    if old == architecture and tag and new_tag and tag != new_tag:
        raise ValueError(f"{old!r} is now called {new!r}, so there is no {name!r}")
    warnings.warn(
        f"{old!r} is now called {new!r}; the old name will be removed",
        FutureWarning,
        stacklevel=_frames_to_the_caller(),
    )
    return new_architecture, new_tag or ("" if old == name else tag)


def is_deprecated(architecture: str, tag: str) -> bool:
    """Return whether that is an old name that still works."""
    return replacements.get(f"{architecture}.{tag}", replacements.get(architecture)) is not None


def _frames_to_the_caller() -> int:
    """Return the ``stacklevel`` with which ``current_name`` blames the caller outside of the package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
        frame, level = frame.f_back, level + 1
    return level
