"""Weights into nets: read a file, verify it, fit it to the net, load it whole or not at all."""

from __future__ import annotations

import hashlib
import logging
import pickle
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from .pretrained_cfg import PretrainedCfg
from .registry import tags_with_weights

_logger = logging.getLogger(__name__)

MOST_NAMED = 5
"""An error names this many tensors of a kind and counts the rest."""


def load_pretrained(model: nn.Module, cfg: PretrainedCfg) -> None:
    """Load the weights of ``cfg`` into ``model``; a head of another size keeps its initial values.

    Raises:
        ValueError: the tag has no weights, or the file does not fit, or is not the one that the
            configuration's sha256 names.
        OSError: the file cannot be read.
    """
    if cfg.file is None:
        others = tags_with_weights(cfg.architecture)
        known = f"tags with weights: {', '.join(others)}" if others else "no tag of it has any"
        raise ValueError(
            f"{cfg.name!r} has no pretrained weights; {known}. list_pretrained() names all that there are"
        )
    path = Path(cfg.file)
    if cfg.sha256 is not None:
        verify_sha256(path, cfg.sha256)
    load_into(model, path, new_head=True, new_stem=True)


def load_checkpoint(model: nn.Module, path: str | PathLike[str]) -> None:
    """Load a weight file into ``model``: every tensor, or on any error none.

    Every name and shape must match. The head alone may differ, where the file tells another number
    of classes than ``model`` has: then the model's own head is kept, and a warning logged.

    Args:
        model: the net; it stays on its device and in its dtype.
        path: a safetensors file, or one by ``torch.save`` that holds a state dict (read with
            ``weights_only=True``).

    Raises:
        ValueError: the file is damaged, no weight file, or does not fit; the message names it.
        OSError: the file is missing or cannot be read.
    """
    if load_into(model, Path(path), new_head=True, new_stem=False):
        _logger.warning(
            "%s: its head is for another number of classes; the model keeps its own, untouched",
            path,
        )


def load_into(model: nn.Module, path: Path, *, new_head: bool, new_stem: bool) -> bool:
    """Load ``path`` into ``model``, whole or not at all; return whether the head was left out.

    Args:
        model: the net.
        path: the weight file.
        new_head: accept a file whose head tells another number of classes; leave the head alone.
        new_stem: accept a file for three input channels where the net has another number, and
            adapt its first convolution as timm does.
    """
    state = read_state_dict(path)
    if any(tensor.is_meta for tensor in model.state_dict().values()):
        raise ValueError(f"{path}: weights cannot be loaded into a model on the meta device")
    if new_stem:
        state = _with_adapted_stem(model, state)
    head_left_out = new_head and _has_other_head(model, state)
    own = model.state_dict()
    if head_left_out:
        state = {name: tensor for name, tensor in state.items() if not _in_head(name)}
        own = {name: tensor for name, tensor in own.items() if not _in_head(name)}
    _check_fits(path, own, state)
    model.load_state_dict(state, strict=not head_left_out)
    return head_left_out


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file, or one by ``torch.save``, onto the CPU.

    Raises:
        ValueError: the file holds no state dict that can be read safely; the message names it.
        OSError: the file is missing or cannot be read.
    """
    if not path.exists():
        raise FileNotFoundError(f"weight file not found: {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a weight file")
    if _looks_pickled(path):
        return _read_torch_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"{path} ({path.stat().st_size:,} bytes) is no readable safetensors or torch.save file "
            f"({error}); it may be truncated: delete it and fetch or write it again"
        ) from error


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file, empty where it has none.

    Raises:
        ValueError: the file is no readable safetensors file.
        OSError: the file is missing or cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is no readable safetensors file ({error})") from error


def verify_sha256(path: Path, expected: str) -> None:
    """Raise unless the file's sha256 is ``expected`` (64 hex digits).

    Raises:
        ValueError: it is another one.
        OSError: the file cannot be read.
    """
    if not path.exists():
        raise FileNotFoundError(f"weight file not found: {path}")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise ValueError(
            f"{path} is not the file that its configuration names (sha256 {found}, expected "
            f"{expected}); it was changed or damaged: install the package again"
        )


def _looks_pickled(path: Path) -> bool:
    """Tell files by ``torch.save`` (a zip, or a bare pickle) from safetensors by their first bytes."""
    with path.open("rb") as file:
        start = file.read(9)
    # A safetensors file has a JSON object after an 8-byte length.
    return start[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04") and start[8:9] != b"{"


def _read_torch_file(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{path} ({path.stat().st_size:,} bytes) cannot be read as a torch.save file of plain "
            f"tensors ({reason})"
        ) from error
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    ):
        raise ValueError(f"{path} holds {type(content).__name__}, not a state dict of tensors")
    return dict(content)


def _with_adapted_stem(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Fit the first convolution to the net's input channels, as timm's ``adapt_input_conv`` does.

    One channel takes the sum over the three; any other number repeats them, scaled by 3 / n.
    """
    name = "stem.conv.weight"
    own, weight = model.state_dict().get(name), state.get(name)
    if own is None or weight is None or weight.ndim != 4 or weight.shape[1] != 3:
        return state
    in_chans = own.shape[1]
    if in_chans == 3:
        return state
    weight = weight.float()
    if in_chans == 1:
        adapted = weight.sum(dim=1, keepdim=True)
    else:
        adapted = weight.repeat(1, -(-in_chans // 3), 1, 1)[:, :in_chans] * (3 / in_chans)
    return {**state, name: adapted}


def _in_head(name: str) -> bool:
    return name.startswith("head.fc.")


def _has_other_head(model: nn.Module, state: Mapping[str, Tensor]) -> bool:
    """Return whether the file's head is a whole one, for another number of classes than the net's."""
    weight, bias = state.get("head.fc.weight"), state.get("head.fc.bias")
    if weight is None or bias is None or weight.ndim != 2 or bias.shape != weight.shape[:1]:
        return False
    own = model.state_dict().get("head.fc.weight")
    classes = 0 if own is None else own.shape[0]
    return weight.shape[0] != classes


def _check_fits(path: Path, own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Raise a ValueError that names and counts every kind of misfit between file and net."""
    problems = [
        _named("missing", [name for name in own if name not in state]),
        _named("unexpected", [name for name in state if name not in own]),
    ]
    shared = [name for name in own if name in state]
    problems.append(
        _named(
            "of another shape",
            [
                f"{name} (file {tuple(state[name].shape)}, model {tuple(own[name].shape)})"
                for name in shared
                if state[name].shape != own[name].shape
            ],
        )
    )
    problems.append(
        _named(
            "of another kind of number",
            [
                f"{name} (file {state[name].dtype}, model {own[name].dtype})"
                for name in shared
                if state[name].is_floating_point() != own[name].is_floating_point()
            ],
        )
    )
    problems.append(
        _named(
            "not finite",
            [name for name in shared if state[name].is_floating_point() and not state[name].isfinite().all()],
        )
    )
    found = [problem for problem in problems if problem]
    if found:
        raise ValueError(f"{path} does not fit the model: {'; '.join(found)}")


def _named(kind: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{len(names)} {kind}: {', '.join(names[:MOST_NAMED])}{more}"
