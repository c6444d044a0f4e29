"""Which registered net a state dict would fit: the end of an error about one that does not."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

from torch import Tensor

from ..models.meta import build_on_meta
from ..models.registry import library_architectures, model_entrypoint

HEAD, STEM = "head.fc.", "stem.conv.weight"

MOST = 1_000_000
"""Classes and channels beyond this are no net's, though a file may claim them."""

Shapes = Mapping[str, tuple[int, ...]]


def matching_call(state: Mapping[str, Tensor]) -> str | None:
    """Return the ``create_model`` call of the library's net that ``state`` fits, or None.

    The head may have any number of classes and the stem any width and number of input channels: the
    call has the arguments that they need.

    Args:
        state: tensors by the library's own names.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if len(shapes.get(STEM, ())) != 4 or not all(0 < size <= MOST for size in shapes[STEM]):
        return None
    for name in library_architectures():
        if _body(shapes) != _body(_shapes_of(name, ())):
            continue
        for arguments in _candidates(name, shapes):
            if _shapes_of(name, tuple(arguments.items())) == shapes:
                told = "".join(f", {key}={value}" for key, value in arguments.items())
                return f"create_model({name!r}{told})"
    return None


def _body(shapes: Shapes) -> set[str]:
    return {name for name in shapes if not name.startswith(HEAD)}


def _candidates(name: str, shapes: Shapes) -> list[dict[str, int]]:
    """Return the arguments to try, simplest first."""
    width, in_chans = shapes[STEM][:2]
    needed = {}
    classes = (*shapes.get(f"{HEAD}weight", (0,)), 0)[0]
    if classes > MOST:
        return []
    if classes != _shapes_of(name, ())[f"{HEAD}weight"][0]:
        needed["num_classes"] = classes
    if in_chans != 3:
        needed["in_chans"] = in_chans
    takes_width = "stem_channels" in inspect.signature(model_entrypoint(name)).parameters
    return [needed, {**needed, "stem_channels": width}] if takes_width else [needed]


@cache
def _shapes_of(name: str, arguments: tuple[tuple[str, Any], ...]) -> Shapes:
    """Return the shapes of the net ``name``; without arguments they serve for its names alone too."""
    try:
        net = build_on_meta(model_entrypoint(name), **dict(arguments))
    except (TypeError, ValueError, RuntimeError):
        return {}
    return {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}
