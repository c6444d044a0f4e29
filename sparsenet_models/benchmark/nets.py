"""The nets to compare, by name: ours, those of other libraries, and those of the original SparseNet code."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from ..common.extras import pip_install
from ..common.files import local_path
from ..common.messages import did_you_mean
from ..factory import create_model
from ..models.families import DENSENET_CIFAR, SPARSENET_CIFAR
from ..models.registry import get_pretrained_cfg

LIBRARIES = {
    "timm": pip_install("timm"),
    "torchvision": "pip install torchvision",
    "pytorchcv": "pip install pytorchcv",
}
"""By name, the command that installs it."""

ORIGINAL = "original"
ORIGINAL_FILE = Path("src", "pytorch", "denselink.py")
"""The nets in a clone of Lyken17/SparseNet."""


@dataclass(frozen=True)
class Net:
    """A net by name; ``str()`` is its name in the table.

    Args:
        library: "" for ours, one of ``LIBRARIES``, or ``ORIGINAL``.
        name: in its library; of the original code's nets, that of ours with the same layers.
        clone: of the original code.
        depth: in place of the depth in the name.
    """

    library: str
    name: str
    clone: Path = Path()
    depth: int | None = None

    def __str__(self) -> str:
        name = f"{self.library}:{self.name}" if self.library else self.name
        return name if self.depth is None else f"{name} depth={self.depth}"


def parse_nets(names: Sequence[str], depths: Sequence[int] = ()) -> list[Net]:
    """Return the nets that the names stand for, ours first; none is built.

    Args:
        names: ``NAME`` or ``NAME.TAG`` of ours, ``timm:NAME``, ``torchvision:NAME``, ``pytorchcv:NAME``, or
            ``original:PATH``, which stands for the original code's twin of each of ours.
        depths: in place of the depth in the names of ours; each makes a net of its own.

    Raises:
        ImportError: a library is not installed.
        ValueError: no net of ours, an unknown name or library, a path without the original code, or two
            clones of it.
    """
    parsed = [_parse(name) for name in names]
    ours = [replace(net, depth=depth) for net in parsed if not net.library for depth in depths or (None,)]
    if not ours:
        raise ValueError(f"name a net of this library beside {', '.join(names)}; list_models() names them")
    clones = {str(net.clone) for net in parsed if net.library == ORIGINAL}
    if len(clones) > 1:
        raise ValueError(f"give one clone of the original code, got {' and '.join(sorted(clones))}")
    nets = list(ours)
    for net in parsed:
        if net.library == ORIGINAL:
            nets += [replace(net, name=each.name, depth=each.depth) for each in ours]
        elif net.library:
            nets.append(net)
    return list(dict.fromkeys(nets))


def _parse(name: str) -> Net:
    library, colon, rest = name.partition(":")
    if library in ("local-dir", "hf-hub") or (not colon and "/" in name):
        raise ValueError(f"weights change no time: name the architecture of {name!r}, one of list_models()")
    if not colon:
        get_pretrained_cfg(name)
        return Net("", name)
    if library == ORIGINAL:
        clone = local_path(rest)
        if not (clone / ORIGINAL_FILE).is_file():
            raise ValueError(
                f"{ORIGINAL}:PATH needs a clone of https://github.com/Lyken17/SparseNet, got {rest!r}, which "
                f"has no {ORIGINAL_FILE.as_posix()}"
            )
        return Net(ORIGINAL, "", clone)
    if library not in LIBRARIES:
        choices = (*LIBRARIES, ORIGINAL)
        hint = did_you_mean(library, choices) or f"; the libraries are {', '.join(choices)}"
        raise ValueError(f"{name!r} has an unknown library {library!r}{hint}")
    known = _names_in(library)
    if rest not in known:
        raise ValueError(f"{library} has no net {rest!r}{did_you_mean(rest, known)}")
    return Net(library, rest)


def _names_in(library: str) -> Sequence[str]:
    module = _imported(library)
    return list(module._models) if library == "pytorchcv" else module.list_models()


def _imported(library: str) -> Any:
    module = {"torchvision": "torchvision.models", "pytorchcv": "pytorchcv.model_provider"}
    try:
        return import_module(module.get(library, library))
    except ImportError as error:
        raise ImportError(f"{library} cannot be imported ({error}): {LIBRARIES[library]}") from error


def builder(net: Net) -> Callable[[], nn.Module]:
    """Import what ``net`` needs and return the function that builds it, in float32 without trained weights.

    Raises:
        ImportError: its library is not installed.
        ValueError: the original code has no such net.
    """
    if net.library == ORIGINAL:
        return _original(net)
    if net.library:
        module = _imported(net.library)
        build = module.create_model if net.library == "timm" else module.get_model
        return lambda: build(net.name)
    arguments: dict[str, Any] = {} if net.depth is None else {"depth": net.depth}
    return lambda: create_model(net.name, **arguments)


def _original(net: Net) -> Callable[[], nn.Module]:
    name = net.name.partition(".")[0]
    arguments = {**SPARSENET_CIFAR, **DENSENET_CIFAR}.get(name)
    if arguments is None:
        raise ValueError(f"the original code has no {name}")
    rate = arguments["growth_rate"]
    rates = list(rate) if isinstance(rate, tuple) else [rate] * 3
    options: dict[str, Any] = dict(
        growthRate=rates[0],
        grate_per_stage=rates,
        depth=net.depth or arguments["depth"],
        bottleneck=arguments.get("bottleneck", False),
        reduction=0.5,
        nClasses=get_pretrained_cfg(net.name).num_classes,
        fetch="sparse" if name in SPARSENET_CIFAR else "dense",
    )
    spec = importlib.util.spec_from_file_location("denselink", net.clone / ORIGINAL_FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda: module.DenseNet(**options)
