"""Adapt: checkpoints of other code, unwrapped and renamed to this library's names.

Three other layouts are recognised: the PyTorch code of Zhu et al. (ECCV 2018; reproductions such as
Lyken17/SparseNet have its names), a course project that renamed its norms, and pytorchcv's SparseNets. All
concatenate in the same order as this library, so only the names differ.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

AVERAGED_KEYS = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "average")
PLAIN_KEYS = ("state_dict", "model_state_dict", "model", "net")
"""The keys under which training scripts store state dicts; averaged weights come first, as in timm."""

MAX_DEPTH = 4
"""How many dicts may wrap a state dict: a hostile file may hold a dict that contains itself."""

PREFIXES = ("module.", "_orig_mod.", "timm_model.")
"""DistributedDataParallel, AveragedModel, torch.compile and transformers put these before every name."""

OUR_SIGNS = ("stem.conv.weight", "blocks.0.columns.0.0.conv.weight")
"""Every net of this library has a tensor of one of these names."""

COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Layout:
    """The names of another code base: the tensor that only its files have, and rules that rename.

    A rule is a regular expression and its replacement, in which ``{1}`` is the first group, ``{1-}`` that
    group as a number less one, ``{1--}`` less two.
    """

    name: str
    sign: str
    rules: tuple[tuple[str, str], ...]

    def renamed(self, name: str) -> str:
        """Return this library's name for ``name``, which is unchanged where no rule matches."""
        for pattern, replacement in self.rules:
            match = re.fullmatch(pattern, name)
            if match:
                return _filled(replacement, match)
        return name


def _original(name: str, sign: str, norm: str, last_norm: str) -> Layout:
    """Return the layout of the original code, with its norms named ``norm`` and ``last_norm``."""
    return Layout(
        name,
        sign,
        (
            (r"features\.conv0\.weight", "stem.conv.weight"),
            (
                rf"features\.dense-stage-(\d+)\.block-(\d+)\.{norm}([12])\.(\w+)",
                "stages.{1}.layers.{2-}.norm{3}.{4}",
            ),
            (
                r"features\.dense-stage-(\d+)\.block-(\d+)\.(conv[12]\.weight)",
                "stages.{1}.layers.{2-}.{3}",
            ),
            (rf"features\.transition-(\d+)\.{norm}1\.(\w+)", "transitions.{1}.norm.{2}"),
            (r"features\.transition-(\d+)\.conv1\.weight", "transitions.{1}.conv.weight"),
            (rf"features\.{last_norm}\.(\w+)", "norm.{1}"),
            (r"classifier\.linear\.(\w+)", "head.fc.{1}"),
        ),
    )


LAYOUTS = (
    _original("the original SparseNet code", "features.norm_last.weight", "bn", "norm_last"),
    _original(
        "the course project's code",
        "features.batch_norm_last_layer.weight",
        "batch_norm",
        "batch_norm_last_layer",
    ),
    Layout(
        "pytorchcv",
        "features.init_block.conv.weight",
        (
            (r"features\.init_block\.conv\.weight", "stem.conv.weight"),
            (r"features\.init_block\.bn\.(\w+)", "stem.norm.{1}"),
            (
                r"features\.stage(\d+)\.blocks\.block(\d+)\.conv([12])\.bn\.(\w+)",
                "stages.{1-}.layers.{2-}.norm{3}.{4}",
            ),
            (
                r"features\.stage(\d+)\.blocks\.block(\d+)\.conv([12])\.conv\.weight",
                "stages.{1-}.layers.{2-}.conv{3}.weight",
            ),
            (r"features\.stage(\d+)\.trans\.conv\.bn\.(\w+)", "transitions.{1--}.norm.{2}"),
            (r"features\.stage(\d+)\.trans\.conv\.conv\.weight", "transitions.{1--}.conv.weight"),
            (r"features\.post_activ\.bn\.(\w+)", "norm.{1}"),
            (r"output\.(\w+)", "head.fc.{1}"),
        ),
    ),
)


def unwrapped(content: Any, max_depth: int = MAX_DEPTH) -> dict[str, Tensor] | None:
    """Return the state dict in the content of a checkpoint, averaged weights first; None without one."""
    if not isinstance(content, Mapping) or max_depth == 0:
        return None
    if all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()):
        return dict(content)
    named = (content.get(key) for key in (*AVERAGED_KEYS, *PLAIN_KEYS))
    inner = sorted((value for value in named if isinstance(value, Mapping) and value), key=_averages_nothing)
    states = (unwrapped(candidate, max_depth - 1) for candidate in inner)
    return next((state for state in states if state is not None), None)


def _averages_nothing(state: Mapping[Any, Any]) -> bool:
    """Return whether this is an average not yet begun, with the weights that the training began with."""
    count = state.get("n_averaged")
    return isinstance(count, Tensor) and count.numel() == 1 and not count.item()


def in_our_names(
    state: Mapping[str, Tensor], net_names: Collection[str] = ()
) -> tuple[dict[str, Tensor], Layout | None]:
    """Return ``state`` without prefixes and under this library's names, and its layout, None for our own.

    Files of PyTorch before 0.4.1 have no ``num_batches_tracked``. A file without any gets zeros, as PyTorch
    itself does, if it is of another layout or the net has them.

    Args:
        state: the state dict of a file.
        net_names: the names of the net's tensors, where the net is known.

    Raises:
        ValueError: two tensors of the file get the same name.
    """
    state = _without_prefixes(state, net_names)
    layout = next((layout for layout in LAYOUTS if layout.sign in state), None)
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        new_name = name if layout is None else layout.renamed(name)
        if new_name in renamed:
            raise ValueError(f"two of its tensors become {new_name}, one of them {name}")
        renamed[new_name] = tensor
    if (layout is not None or _has_counter(net_names)) and not _has_counter(renamed):
        for name in [name for name in renamed if name.endswith("running_var")]:
            renamed[f"{name.removesuffix('running_var')}{COUNTER}"] = torch.zeros((), dtype=torch.int64)
    return renamed, layout


def _has_counter(names: Collection[str]) -> bool:
    return any(name.endswith(COUNTER) for name in names)


def _without_prefixes(state: Mapping[str, Tensor], net_names: Collection[str]) -> dict[str, Tensor]:
    """Return ``state`` without the prefixes that every name has, unless the net has them too."""
    stripped = dict(state)
    # torch.optim.swa_utils.AveragedModel adds this one entry to those of the net.
    if "n_averaged" in stripped and len(stripped) > 1:
        del stripped["n_averaged"]
        if not all(name.startswith("module.") for name in stripped):
            return dict(state)
    for _ in range(MAX_DEPTH):
        prefix = _prefix_of(stripped)
        if prefix is None or not stripped.keys().isdisjoint(net_names):
            break
        stripped = {name.removeprefix(prefix): tensor for name, tensor in stripped.items()}
    return stripped


def _prefix_of(names: Collection[str]) -> str | None:
    """Return what stands before every name: one of ``PREFIXES``, or any other one before those of a net.

    A LightningModule, for instance, has the name of its attribute before the names of the net.
    """
    prefix = f"{next(iter(names), '').partition('.')[0]}."
    if not all(name.startswith(prefix) for name in names):
        return None
    signs = tuple(f".{sign}" for sign in (*OUR_SIGNS, *(layout.sign for layout in LAYOUTS)))
    return prefix if prefix in PREFIXES or any(name.endswith(signs) for name in names) else None


def _filled(replacement: str, match: re.Match[str]) -> str:
    """Return a rule's replacement with the groups of ``match`` in it."""

    def group(place: re.Match[str]) -> str:
        text = match[int(place[1])]
        return str(int(text) - len(place[2])) if place[2] else text

    return re.sub(r"\{(\d)(-*)\}", group, replacement)
