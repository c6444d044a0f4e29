"""Weights into nets: read a file, verify it, fit it to the net, load it whole or not at all."""

from __future__ import annotations

import logging
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ..common.files import check_is_file, verify_sha256
from ..common.messages import one_line
from ..models.pretrained_cfg import PretrainedCfg
from ..models.registry import tags_with_weights
from .foreign_layouts import Layout, in_our_names, unwrapped
from .matching import matching_call

_logger = logging.getLogger(__name__)

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)

MOST_NAMED = 5
"""An error names this many tensors of a kind and counts the rest."""


def load_pretrained(
    model: nn.Module, cfg: PretrainedCfg, *, new_head: bool, cache_dir: str | PathLike[str] | None = None
) -> Path:
    """Load the weights of ``cfg`` into ``model``; return the file that they were in.

    Args:
        model: the net.
        cfg: names the file, here or on the Hub, and its sha256.
        new_head: the model's head may be for another number of classes; it then stays untrained.
        cache_dir: where fetched weights are kept; None for the Hub's own folder.

    Raises:
        ValueError: the tag has no weights, or the file does not fit, or is not the one that the
            configuration's sha256 names.
        OSError: the file cannot be fetched or read.
    """
    path = verified_file(cfg, cache_dir)
    load_into(model, path, new_head=new_head, headless=False, new_stem=True)
    return path


def verified_file(cfg: PretrainedCfg, cache_dir: str | PathLike[str] | None = None) -> Path:
    """Return the weight file of ``cfg``, fetched where it is not here, with its sha256 checked.

    Raises:
        ValueError: the tag has no weights, or the file is not the one that the sha256 names.
        OSError: the file cannot be fetched or read.
    """
    if cfg.file is not None:
        path = Path(cfg.file)
        if cfg.sha256 is not None:
            verify_sha256(path, cfg.sha256)
        return path
    if cfg.hf_hub_id is not None:
        from .fetch import fetch  # here, as huggingface_hub takes a while to import

        name = cfg.hf_hub_filename or "model.safetensors"
        return fetch(cfg.hf_hub_id, name, cfg.revision, cache_dir, sha256=cfg.sha256)
    others = tags_with_weights(cfg.architecture)
    known = f"tags with weights: {', '.join(others)}" if others else "no tag of it has any"
    raise ValueError(
        f"{cfg.name!r} has no pretrained weights; {known}. list_pretrained() names all that there are"
    )


def load_checkpoint(model: nn.Module, path: str | PathLike[str]) -> None:
    """Load a weight file into ``model``: every tensor, or on any error none.

    Files of the original SparseNet code, of a course project's and of pytorchcv are told by their names, as
    are the prefixes and dicts that training scripts wrap weights in; averaged weights come first.

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
    if load_into(model, Path(path), new_head=True, headless=False, new_stem=False):
        _logger.warning("%s is for another number of classes: the model keeps its own head, untrained", path)


def load_into(model: nn.Module, path: Path, *, new_head: bool, headless: bool, new_stem: bool) -> bool:
    """Load ``path`` into ``model``, whole or not at all; return whether the head was left out.

    Args:
        model: the net.
        path: the weight file.
        new_head: accept a file whose head tells another number of classes; leave the head alone.
        headless: with ``new_head``, accept a file without a head too.
        new_stem: accept a file for three input channels where the net has another number, and
            adapt its first convolutions as timm does.
    """
    model = unwrap_model(model)
    own = model.state_dict()
    if any(tensor.is_meta for tensor in own.values()):
        raise ValueError(f"{path}: weights cannot be loaded into a model on the meta device")
    known = getattr(model, "pretrained_cfg", None) or {}
    head = f"{known.get('classifier') or 'head.fc'}."
    first = known.get("first_conv") or "stem.conv"
    stems = [f"{name}.weight" for name in ([first] if isinstance(first, str) else first)]
    stored, layout = _named_by_us(path)
    state = stored
    if new_stem:
        found = [stem for stem in stems if stem in own and stem in state]
        state = {**state, **{stem: _adapted_to(own[stem], state[stem]) for stem in found}}
    classes = _classes(state, head)
    differs = classes is not None and classes != _classes(own, head)
    head_left_out = new_head and differs and (classes != 0 or headless)
    if head_left_out:
        state = {name: tensor for name, tensor in state.items() if not name.startswith(head)}
        own = {name: tensor for name, tensor in own.items() if not name.startswith(head)}
    if misfits := _misfits(own, state):
        file = path if layout is None else f"{path} (in the layout of {layout.name})"
        raise ValueError(f"{file} does not fit the model: {misfits}{_hint(own, state, stored, stems[0])}")
    model.load_state_dict(state, strict=not head_left_out)
    return head_left_out


def unwrap_model(model: nn.Module) -> nn.Module:
    """Return the net within what torch.compile, DistributedDataParallel and AveragedModel make of it."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a weight file of any known layout, under our names.

    Raises:
        ValueError: the file holds no state dict that can be read safely; the message names it.
        OSError: the file is missing or cannot be read.
    """
    return _named_by_us(path)[0]


def _named_by_us(path: Path) -> tuple[dict[str, Tensor], Layout | None]:
    state = read_state_dict(path)
    try:
        return in_our_names(state)
    except ValueError as error:
        raise ValueError(f"{path}: {one_line(str(error), 300)}") from error


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file, or one by ``torch.save``, onto the CPU.

    Raises:
        ValueError: the file holds no state dict that can be read safely; the message names it.
        OSError: the file is missing or cannot be read.
    """
    check_is_file(path)
    if _looks_pickled(path):
        return _read_torch_file(path)
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file, with its errors told in our words."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(
            f"{path} ({path.stat().st_size:,} bytes) is no readable safetensors or torch.save file "
            f"({one_line(str(error), 300)}); it may be truncated: delete it and fetch or write it again"
        ) from error


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file, empty where it has none; a torch.save file has none.

    Raises:
        ValueError: the file is no readable weight file.
        OSError: the file is missing or cannot be read.
    """
    check_is_file(path)
    if _looks_pickled(path):
        return {}
    with _opened(path) as file:
        return file.metadata() or {}


def _looks_pickled(path: Path) -> bool:
    """Tell files by ``torch.save`` (a zip, or a bare pickle) from safetensors by their first bytes."""
    with path.open("rb") as file:
        start = file.read(9)
    # A safetensors file has a JSON object after an 8-byte length.
    return start[:1] in (b"P", b"\x80") and start[8:9] != b"{"


def _check_stored(path: Path) -> None:
    """Refuse a zip file that would unpack to more than it is: torch.save compresses nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
        return
    unpacked = sum(member.file_size for member in members)
    if any(member.compress_type != zipfile.ZIP_STORED for member in members) or (
        unpacked > path.stat().st_size
    ):
        raise ValueError(
            f"{path} ({path.stat().st_size:,} bytes) is no file by torch.save: it would unpack to "
            f"{unpacked:,} bytes"
        )


def _read_torch_file(path: Path) -> dict[str, Tensor]:
    _check_stored(path)
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        # What a damaged file makes the unpickler raise is anybody's guess: IndexError, struct.error, ...
        except Exception as error:
            raise ValueError(
                f"{path} ({path.stat().st_size:,} bytes) cannot be read as a torch.save file of plain "
                f"tensors ({type(error).__name__}): it is damaged, or holds other objects, which are "
                "never loaded as they could run code"
            ) from error
    state = unwrapped(content)
    if state is None:
        raise ValueError(f"{path} holds {type(content).__name__}, not a state dict of tensors")
    return state


def _adapted_to(own: Tensor, weight: Tensor) -> Tensor:
    """Fit a first convolution for three channels to others, as timm's ``adapt_input_conv`` does.

    One channel takes the sum over the three; any other number repeats them, scaled by 3 / n. What
    is no such weight is returned as it is, to be refused as a misfit.
    """
    in_chans = own.shape[1]
    fits_else = weight.shape == (own.shape[0], 3, *own.shape[2:])
    if in_chans == 3 or not fits_else or _kind(weight) != "float":
        return weight
    weight = weight.float()
    if in_chans == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight.repeat(1, -(-in_chans // 3), 1, 1)[:, :in_chans] * (3 / in_chans)


def _classes(state: Mapping[str, Tensor], head: str) -> int | None:
    """Return for how many classes a state dict has a head, 0 without one, None for part of one."""
    parts = {name.removeprefix(head): tensor for name, tensor in state.items() if name.startswith(head)}
    if not parts:
        return 0
    if parts.keys() != {"weight", "bias"} or parts["weight"].ndim != 2:
        return None
    classes = parts["weight"].shape[0]
    return classes if parts["bias"].shape == (classes,) else None


def _misfits(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """Name and count every kind of misfit between a net's tensors and a file's; "" where they fit."""
    shared = [name for name in own if name in state]
    misfits = {
        "missing": [name for name in own if name not in state],
        "unexpected": [name for name in state if name not in own],
        "of another shape": [
            f"{name} (file {tuple(state[name].shape)}, model {tuple(own[name].shape)})"
            for name in shared
            if state[name].shape != own[name].shape
        ],
        "of another kind of number": [
            f"{name} (file {_kind(state[name])}, model {_kind(own[name])})"
            for name in shared
            if _kind(state[name]) != _kind(own[name])
        ],
        "not finite": [
            name
            for name in shared
            # A file may claim any shape for one number, which would then fill the memory.
            if state[name].shape == own[name].shape
            and _kind(state[name]) == "float"
            and not state[name].to(own[name].dtype).isfinite().all()
        ],
    }
    return "; ".join(_named(kind, names) for kind, names in misfits.items() if names)


def _hint(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], stored: Mapping[str, Tensor], stem: str
) -> str:
    """Name the net that a file would fit, or at least the argument that cures a stem of another width.

    ``state`` is what was to be loaded of ``stored``, the whole file.
    """
    if {name: tensor.shape for name, tensor in own.items()} == {n: t.shape for n, t in state.items()}:
        return ""
    call = matching_call(stored)
    if call is not None:
        return f"; it would fit {call}"
    theirs, ours = stored.get(stem), own.get(stem)
    if ours is None or theirs is None or ours.ndim != theirs.ndim or ours.shape[:1] == theirs.shape[:1]:
        return ""
    if theirs.numel() == 0:
        return ""
    return (
        f"; the file's stem has {theirs.shape[0]} channels, not {ours.shape[0]}: "
        f"stem_channels={theirs.shape[0]}"
    )


def _kind(tensor: Tensor) -> str:
    """Return "float" or "integer" for a plain tensor of numbers, else what is odd about it."""
    if tensor.layout is not torch.strided or tensor.is_meta:
        return "not a plain tensor"
    if tensor.dtype in FLOATS:
        return "float"
    return "integer" if tensor.dtype in INTEGERS else str(tensor.dtype)


def _named(kind: str, names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{len(names)} {kind}: {', '.join(map(one_line, names[:MOST_NAMED]))}{more}"
