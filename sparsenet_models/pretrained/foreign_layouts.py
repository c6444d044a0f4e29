"""Other people's checkpoints: the state dict inside of a file's content, under this library's names.

Three layouts are known beside our own: that of the PyTorch code of Zhu et al. (ECCV 2018; its names appear
in reproductions such as Lyken17/SparseNet's), that of a course project which renamed its norms, and
that of pytorchcv's SparseNets. All order their concatenations as we do, so only names differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

AVERAGED_KEYS = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "average")
PLAIN_KEYS = ("state_dict", "model_state_dict", "model", "net")
"""Under which keys training scripts put state dicts; averaged weights come first, as timm has it."""

DEEPEST_WRAPPER = 4
"""A hostile file may hold a dict within itself."""

PREFIXES = ("module.", "_orig_mod.")
"""What DistributedDataParallel, AveragedModel and torch.compile put before every name."""

COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Layout:
    """Names of another code base: how to tell them, and patterns with what takes their place.

    In a replacement ``{1-}`` is the first group as a number, less one.
    """

    name: str
    sign: str
    rules: tuple[tuple[str, str], ...]

    def renamed(self, name: str) -> str:
        """Return our name for ``name``; one that no rule knows stays as it is."""
        for pattern, replacement in self.rules:
            match = re.fullmatch(pattern, name)
            if match:
                return _filled(replacement, match)
        return name


def _concatenating(name: str, sign: str, norm: str, last_norm: str) -> Layout:
    """Return the layout of the original code, whose norms are called ``norm`` and ``last_norm``."""
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
    _concatenating("the original SparseNet code", "features.norm_last.weight", "bn", "norm_last"),
    _concatenating(
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


def unwrapped(content: Any) -> dict[str, Tensor] | None:
    """Return the state dict in what a checkpoint holds, averaged weights first; None where there is none."""
    return _unwrapped(content, DEEPEST_WRAPPER)


def _unwrapped(content: Any, deepest: int) -> dict[str, Tensor] | None:
    if not isinstance(content, Mapping) or deepest == 0:
        return None
    if all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()):
        return dict(content)
    inner = (content[key] for key in (*AVERAGED_KEYS, *PLAIN_KEYS) if content.get(key))
    found = (_unwrapped(state, deepest - 1) for state in inner)
    return next((state for state in found if state is not None), None)


def in_our_names(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Layout | None]:
    """Return ``state`` without prefixes and under our names, and the layout that it had, None for ours.

    Files of PyTorch before 0.4.1 have no ``num_batches_tracked``: another layout's file without any
    gets zeros, as PyTorch itself does with them.

    Raises:
        ValueError: two names of the file become one.
    """
    state = without_prefixes(state)
    layout = next((layout for layout in LAYOUTS if layout.sign in state), None)
    if layout is None:
        return state, None
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        ours = layout.renamed(name)
        if ours in renamed:
            raise ValueError(f"two of its tensors become {ours}, one of them {name}")
        renamed[ours] = tensor
    if not any(name.endswith(COUNTER) for name in renamed):
        for name in [name for name in renamed if name.endswith("running_var")]:
            renamed[f"{name.removesuffix('running_var')}{COUNTER}"] = torch.zeros((), dtype=torch.int64)
    return renamed, layout


def without_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``state`` without the wrappers' prefixes, where every name has them."""
    found = dict(state)
    # The one entry of torch.optim.swa_utils.AveragedModel beside the net's own.
    if "n_averaged" in found and len(found) > 1:
        del found["n_averaged"]
        if not all(name.startswith("module.") for name in found):
            return dict(state)
    while prefix := next((p for p in PREFIXES if found and all(n.startswith(p) for n in found)), None):
        found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return found


def _filled(replacement: str, match: re.Match[str]) -> str:
    def group(place: re.Match[str]) -> str:
        found = match[int(place[1])]
        return str(int(found) - len(place[2])) if place[2] else found

    return re.sub(r"\{(\d)(-*)\}", group, replacement)
