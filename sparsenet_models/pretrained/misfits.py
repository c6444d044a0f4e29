"""Errors of a weight file that does not fit a net: each difference, and the net that the file would fit."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..common.messages import one_line
from ..models.meta import building_on
from ..models.registry import library_architectures, model_entrypoint

HEAD, STEM = "head.fc.", "stem.conv.weight"

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)

MAX_NAMED = 5
"""An error names this many tensors of a kind and counts the rest."""

MAX_SIZE = 1_000_000
"""No net is built for more classes or channels than this, though a file may claim them."""

Shapes = Mapping[str, tuple[int, ...]]


def misfits(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """Return every kind of difference between a net's tensors and a file's, with names; "" where it fits.

    Args:
        expected: the tensors of the net, which may be on the meta device.
        state: the tensors of the file.
    """
    shared = [name for name in expected if name in state]
    differences = {
        "missing": [name for name in expected if name not in state],
        "unexpected": [name for name in state if name not in expected],
        "of another shape": [
            f"{name} (file {tuple(state[name].shape)}, model {tuple(expected[name].shape)})"
            for name in shared
            if state[name].shape != expected[name].shape
        ],
        "of another kind of number": [
            f"{name} (file {_kind(state[name])}, model {_kind(expected[name], or_meta=True)})"
            for name in shared
            if _kind(state[name]) != _kind(expected[name], or_meta=True)
        ],
        "not finite": [
            name
            for name in shared
            # A file may give one number any shape; with the expected one it cannot fill the memory.
            if state[name].shape == expected[name].shape
            and is_float(state[name])
            and not state[name].to(expected[name].dtype).isfinite().all()
        ],
        # Its square root is NaN, and so is every answer of the net.
        "below zero, though a variance": [
            name
            for name in shared
            if name.endswith("running_var")
            and state[name].shape == expected[name].shape
            and is_float(state[name])
            and (state[name] < 0).any()
        ],
    }
    return "; ".join(_listed(kind, names) for kind, names in differences.items() if names)


def nearest_net(
    expected: Mapping[str, Tensor], state: Mapping[str, Tensor], stored: Mapping[str, Tensor], stem: str
) -> str:
    """Return the end of the error: the net that the file would fit, or the stem's width; or "".

    Args:
        expected: the tensors of the net.
        state: those of the file that were to be loaded.
        stored: all tensors of the file.
        stem: the name of the weight of the first convolution.
    """
    if {name: tensor.shape for name, tensor in expected.items()} == {n: t.shape for n, t in state.items()}:
        return ""
    call = matching_call(stored)
    if call is not None:
        return f"; it would fit {call}"
    theirs, ours = stored.get(stem), expected.get(stem)
    if ours is None or theirs is None or ours.ndim != theirs.ndim or ours.shape[:1] == theirs.shape[:1]:
        return ""
    if theirs.numel() == 0:
        return ""
    width = theirs.shape[0]
    return f"; the file's stem has {width} channels, not {ours.shape[0]}: stem_channels={width}"


def is_float(tensor: Tensor) -> bool:
    """Return whether ``tensor`` is a plain tensor of floating-point numbers."""
    return _kind(tensor) == "float"


def matching_call(state: Mapping[str, Tensor]) -> str | None:
    """Return the ``create_model`` call for the library's net that ``state`` fits, or None.

    The head may have any number of classes, the stem any width and number of input channels: the call
    has the arguments for them.

    Args:
        state: tensors under this library's names.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if len(shapes.get(STEM, ())) != 4 or not all(0 < size <= MAX_SIZE for size in shapes[STEM]):
        return None
    for name in library_architectures():
        if _names_without_head(shapes) != _names_without_head(_shapes_of(name, ())):
            continue
        for arguments in _candidates(name, shapes):
            if _shapes_of(name, tuple(arguments.items())) == shapes:
                keywords = "".join(f", {key}={value}" for key, value in arguments.items())
                return f"create_model({name!r}{keywords})"
    return None


def _kind(tensor: Tensor, or_meta: bool = False) -> str:
    """Return "float" or "integer" for a plain tensor of numbers, else what is unusual about it."""
    if tensor.layout is not torch.strided or (tensor.is_meta and not or_meta):
        return "not a plain tensor"
    if tensor.dtype in FLOATS:
        return "float"
    return "integer" if tensor.dtype in INTEGERS else str(tensor.dtype)


def _listed(kind: str, names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return f"{len(names)} {kind}: {', '.join(map(one_line, names[:MAX_NAMED]))}{more}"


def _names_without_head(shapes: Shapes) -> set[str]:
    return {name for name in shapes if not name.startswith(HEAD)}


def _candidates(name: str, shapes: Shapes) -> list[dict[str, int]]:
    """Return the arguments to try, the fewest first."""
    width, in_chans = shapes[STEM][:2]
    arguments = {}
    classes = (*shapes.get(f"{HEAD}weight", (0,)), 0)[0]
    if classes > MAX_SIZE:
        return []
    if classes != _shapes_of(name, ())[f"{HEAD}weight"][0]:
        arguments["num_classes"] = classes
    if in_chans != 3:
        arguments["in_chans"] = in_chans
    takes_width = "stem_channels" in inspect.signature(model_entrypoint(name)).parameters
    return [arguments, {**arguments, "stem_channels": width}] if takes_width else [arguments]


@cache
def _shapes_of(name: str, arguments: tuple[tuple[str, Any], ...]) -> Shapes:
    """Return the shapes of the net ``name`` with these arguments, {} where they are refused."""
    try:
        with building_on("meta"):
            net = model_entrypoint(name)(**dict(arguments))
    except (TypeError, ValueError, RuntimeError):
        return {}
    return {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}
