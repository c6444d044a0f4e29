"""Read and write: the weight file. It is a safetensors file with metadata; torch.save's are read too."""

from __future__ import annotations

import argparse
import json
import re
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ..common.files import check_is_file, local_path
from ..common.messages import did_you_mean, is_out_of_memory, one_line
from ..models.pretrained_cfg import DATA_CONFIG_KEYS, TRAINING_KEYS, PretrainedCfg
from .config_checks import CHECKS, check_images, short_repr
from .foreign_layouts import Layout, in_our_names, unwrapped

MAX_HEADER = 16 * 2**20
"""Bytes of a safetensors header: a net of 1001 layers needs half a mebibyte, and each name takes time."""

TEST_IMAGES = "test images"
"""The metadata ``scored_on`` of a file whose ``top1`` was measured on test images, not on held-out ones."""


def read_weights(path: Path, net_names: Collection[str] = ()) -> dict[str, Tensor]:
    """Read a weight file of any layout, its tensors under the names of this library.

    Args:
        path: the file.
        net_names: the names of the tensors of the net that it is for, where that is known.

    Raises:
        ValueError: the file holds no state dict that can be read safely; the message names it.
        OSError: the file is missing or cannot be read.
    """
    return read_weights_and_layout(path, net_names)[0]


def read_weights_and_layout(
    path: Path, net_names: Collection[str] = ()
) -> tuple[dict[str, Tensor], Layout | None]:
    """Read a weight file as ``read_weights`` does; return its layout too, None for this library's own."""
    state = read_state_dict(path)
    try:
        return in_our_names(state, net_names)
    except ValueError as error:
        raise ValueError(f"{path}: {one_line(str(error), 300)}") from error


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file, or one by ``torch.save``, onto the CPU.

    Raises:
        ValueError: the file holds no state dict that can be read safely; the message names it.
        OSError: the file is missing or cannot be read.
    """
    check_is_file(path)
    if _is_torch_file(path):
        return _read_torch_file(path)
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def read_metadata(path: str | PathLike[str]) -> dict[str, str]:
    """Return the metadata of a safetensors file, empty where it has none; a torch.save file has none.

    Raises:
        ValueError: the file cannot be read as a weight file; the message names it.
        OSError: the file is missing or cannot be read.
    """
    path = local_path(path)
    check_is_file(path)
    if _is_torch_file(path):
        return {}
    with _opened(path) as file:
        return file.metadata() or {}


def read_weight_description(path: Path) -> tuple[str | None, dict[str, Any]]:
    """Return what the metadata of a weight file say about its net.

    Returns:
        The architecture, None where they name none; and the tag, the classes, the image configuration and
        the metrics, by field of ``PretrainedCfg``: an overlay of the architecture's own configuration.

    Raises:
        ValueError: the file is damaged, or its metadata have an impossible value; the message names it.
        OSError: the file is missing or cannot be read.
    """
    metadata = read_metadata(path)
    try:
        overlay = _checked_description(metadata)
    # RecursionError: brackets that are nested too deeply.
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the metadata of {path} are refused: {one_line(str(error), 300)}") from error
    return metadata.get("architecture") or None, overlay


def _checked_description(metadata: Mapping[str, str]) -> dict[str, Any]:
    is_ours = bool(metadata.get("architecture"))
    if not is_ours:  # other code may have these keys for other things
        metadata = {key: text for key, text in metadata.items() if _is_json(text)}
    fields = json.loads(metadata.get("data_config", "{}"))
    if not isinstance(fields, dict):
        raise ValueError(f"data_config must be an object, got {short_repr(fields)}")
    for key in sorted(fields.keys() - DATA_CONFIG_KEYS):
        raise ValueError(f"data_config has no field {key!r}{did_you_mean(key, DATA_CONFIG_KEYS)}")
    if "class_names" in metadata:
        fields["label_names"] = json.loads(metadata["class_names"])
    if is_ours:
        fields["tag"] = metadata.get("tag", "")
        for key in (*TRAINING_KEYS, "license"):
            if text := metadata.get(key):
                fields[key] = int(text) if key in ("epochs", "epochs_before", "seed") else text
    # Files by older versions do not say on which images they were scored.
    if metadata.get("scored_on") == TEST_IMAGES and metadata.get("top1"):
        fields["top1"] = float(metadata["top1"])
    overlay = {key: CHECKS[key](key, value) for key, value in fields.items()}
    if "label_names" in overlay:
        overlay["num_classes"] = CHECKS["num_classes"]("num_classes", len(overlay["label_names"]))
    check_images(overlay)
    return overlay


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def described_by(
    description: Mapping[str, Any], path: Path, cfg: PretrainedCfg, keep_names: bool
) -> PretrainedCfg:
    """Return ``cfg`` for the weights in a file: with the classes and images that its metadata describe.

    Args:
        description: what ``read_weight_description`` returned for the file.
        path: the weight file.
        cfg: the configuration of the architecture, or of a tag.
        keep_names: keep the class names of ``cfg`` where the file has none.
    """
    names = {} if keep_names else {"label_names": None}
    return cfg.overlaid({**names, **description, "file": path})


def weight_description(cfg: PretrainedCfg, with_metrics: bool) -> dict[str, str]:
    """Return the metadata of a weight file for a net with the configuration ``cfg``: texts by name.

    ``read_weight_description`` reads them back.

    Args:
        cfg: the configuration.
        with_metrics: whether the metrics and the training in ``cfg`` belong to these weights.
    """
    metadata = {"architecture": cfg.architecture, "tag": cfg.tag} if cfg.architecture else {}
    if cfg.label_names is not None:
        metadata["class_names"] = json.dumps(cfg.label_names)
    if cfg.has_data_config:
        metadata["data_config"] = json.dumps({key: getattr(cfg, key) for key in DATA_CONFIG_KEYS})
    if with_metrics:
        values = {key: getattr(cfg, key) for key in (*TRAINING_KEYS, "license")}
        values["epochs_before"] = cfg.epochs_before or None
        metadata |= {key: str(value) for key, value in values.items() if value is not None}
        if cfg.top1 is not None:
            metadata |= {"top1": f"{cfg.top1:.2f}", "scored_on": TEST_IMAGES}
    return metadata


def save_weights(model: nn.Module, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the state dict of ``model`` and ``metadata`` to a safetensors file, always the same bytes.

    Raises:
        ValueError: two tensors of the net share their memory, which the format cannot hold.
        OSError: the file cannot be written.
    """
    path.write_bytes(_with_sorted_metadata(weight_bytes(model, metadata)))


def weight_bytes(model: nn.Module, metadata: Mapping[str, str]) -> bytes:
    """Return the content of a safetensors file, with its metadata in any order.

    Raises:
        ValueError: two tensors of the net share their memory, which the format cannot hold.
    """
    state = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    try:
        return save(state, metadata={"format": "pt", **metadata})
    except RuntimeError as error:
        shared = _names_of_shared_tensors(state)
        if not shared:
            raise
        raise ValueError(
            f"the weights of a {type(model).__name__} cannot be saved, as {' and '.join(shared[:2])} share "
            "their memory: give each module a tensor of its own"
        ) from error


def _names_of_shared_tensors(state: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the first tensors that lie in one memory, empty where there are none."""
    by_memory: dict[int, list[str]] = {}
    for name, tensor in state.items():
        by_memory.setdefault(tensor.untyped_storage().data_ptr(), []).append(name)
    return next((names for names in by_memory.values() if len(names) > 1), [])


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file; an error of the safetensors library becomes a ValueError that names it."""
    with path.open("rb") as start:
        header = int.from_bytes(start.read(8), "little")
    if MAX_HEADER < header <= path.stat().st_size:
        raise ValueError(f"{path} is no weight file: the names of its tensors take {header:,} bytes")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    # Torch raises the others for shapes and kinds of numbers that it does not have.
    except (SafetensorError, RuntimeError, TypeError, AttributeError, OverflowError) as error:
        if lacks_memory_for(path, error):
            raise
        raise ValueError(
            f"{path} ({path.stat().st_size:,} bytes) is not a readable safetensors or torch.save file "
            f"({one_line(str(error), 300)}); it may be truncated: delete it and fetch or write it again"
        ) from error


def _is_torch_file(path: Path) -> bool:
    """Return whether the first bytes are those of ``torch.save``: of a zip file, or of a bare pickle."""
    with path.open("rb") as file:
        start = file.read(9)
    # A safetensors file has a JSON object after an 8-byte length.
    return (start[:2] == b"PK" or start[:1] == b"\x80") and start[8:9] != b"{"


def _read_torch_file(path: Path) -> dict[str, Tensor]:
    check_not_compressed(path)
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _plain_arguments():
                content = torch.load(file, map_location="cpu", weights_only=True)
        # A damaged file makes the unpickler raise almost any error: IndexError, struct.error, ...
        except Exception as error:
            if lacks_memory_for(path, error):
                raise
            raise _unreadable(path, error) from error
    state = unwrapped(content)
    if state is None:
        raise ValueError(f"{path} holds {type(content).__name__}, not a state dict of tensors")
    return state


def lacks_memory_for(path: Path, error: Exception) -> bool:
    """Return whether a file could not be read for want of memory.

    A damaged file may ask for more than it holds, which is no want of memory.
    """
    if isinstance(error, MemoryError):
        return True
    asked = re.search(r"(?:allocate|mmap) (\d+) bytes", str(error))
    return is_out_of_memory(error) and asked is not None and int(asked[1]) <= path.stat().st_size


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path} ({path.stat().st_size:,} bytes) cannot be read as a torch.save file of plain tensors "
        f"({type(error).__name__}): it is damaged, or holds other objects, which are never loaded as they "
        "could run code"
    )


def _plain_arguments() -> AbstractContextManager[object]:
    """Return the context in which a file may hold the parsed arguments of a script, as those by timm do."""
    if not hasattr(torch.serialization, "safe_globals"):  # before torch 2.5
        torch.serialization.add_safe_globals([argparse.Namespace])
        return nullcontext()
    return torch.serialization.safe_globals([argparse.Namespace])


def check_not_compressed(path: Path) -> None:
    """Refuse a zip file that is larger unpacked, as it could fill the memory: torch.save never compresses.

    Raises:
        ValueError: it is larger unpacked, or it is a zip file whose list of members cannot be read, which
            torch might read in another way.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise _unreadable(path, error) from error
    size, unpacked = path.stat().st_size, sum(member.file_size for member in members)
    if unpacked > size or any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError(
            f"{path} ({size:,} bytes) is not a torch.save file: it would unpack to {unpacked:,} bytes"
        )


def _with_sorted_metadata(content: bytes) -> bytes:
    """Sort the metadata of a safetensors file: the library writes them in another order each time."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[end:]
