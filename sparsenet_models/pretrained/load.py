"""Load: weights into a net, whole or not at all."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from torch import Tensor, nn

from ..common.files import local_path
from ..common.messages import printable
from ..common.wrappers import unwrap_model
from ..layers.activations import give_each_place_its_own
from ..models.pretrained_cfg import DATA_CONFIG_KEYS, pretrained_cfg_of
from .misfits import is_float, misfits, nearest_net
from .weight_file import described_by, read_weight_description, read_weights_and_layout

_logger = logging.getLogger(__name__)


def load_checkpoint(model: nn.Module, path: str | PathLike[str]) -> None:
    """Load a weight file into ``model``: every tensor, or on any error none.

    Files of the original SparseNet code, of a course project and of pytorchcv are recognised by the names
    of their tensors. Prefixes and dicts that training scripts wrap weights in are removed; of several state
    dicts, averaged weights come first.

    Every name and shape must match. The head alone may differ: where the file has another number of classes
    than ``model``, the model keeps its own head, and a warning is logged. A model without a head takes all
    else. ``model.pretrained_cfg`` gets the classes and the image configuration that the file's metadata name,
    unless there was a warning.

    Args:
        model: the net; it stays on its device and in its dtype.
        path: a safetensors file, or one by ``torch.save`` that holds a state dict (read with
            ``weights_only=True``).

    Raises:
        ValueError: the file is damaged, not a weight file, or does not fit; the message names it.
        OSError: the file is missing or cannot be read.
    """
    path, model = local_path(path), unwrap_model(model)
    _, description = read_weight_description(path)
    keeps_head = load_into(model, path, new_head=True, headless=False, new_stem=False)
    if keeps_head and getattr(model, "num_classes", None) != 0:
        warn_of_untrained_head(path)
        return
    cfg = pretrained_cfg_of(model)
    if keeps_head:
        description = {key: description[key] for key in description.keys() & DATA_CONFIG_KEYS}
    if description and cfg.architecture:
        cfg = described_by(description, path, cfg, keep_names=True)
        model.pretrained_cfg = cfg.dict_for(model)  # type: ignore[assignment]


def warn_of_untrained_head(path: Path) -> None:
    """Log that a net kept its own head, as ``path`` has none for as many classes."""
    name = printable(str(path))
    _logger.warning("%s has no head for so many classes: the model keeps its own, untrained", name)


def load_into(model: nn.Module, path: Path, *, new_head: bool, headless: bool, new_stem: bool) -> bool:
    """Load ``path`` into ``model``, whole or not at all; return whether the head was left out.

    Args:
        model: the net.
        path: the weight file.
        new_head: accept a file whose head has another number of classes; leave the head alone.
        headless: with ``new_head``, accept a file without a head too.
        new_stem: accept a file for three input channels where the net has another number, and
            adapt its first convolutions as timm does.

    Raises:
        ValueError: the file is damaged, not a weight file, or does not fit; the message names it.
        OSError: the file is missing or cannot be read.
    """
    model = unwrap_model(model)
    expected = model.state_dict()
    if any(tensor.is_meta for tensor in expected.values()):
        raise ValueError(f"{path}: weights cannot be loaded into a model on the meta device")
    cfg = pretrained_cfg_of(model)
    head, first_conv = f"{cfg.classifier or 'head.fc'}.", cfg.first_conv or "stem.conv"
    stems = [f"{conv}.weight" for conv in ([first_conv] if isinstance(first_conv, str) else first_conv)]
    stored, layout = read_weights_and_layout(path, expected)
    state = dict(stored)
    give_each_place_its_own(state, expected)
    if new_stem:
        for stem in stems:
            if stem in expected and stem in state:
                state[stem] = _adapted_stem(state[stem], expected[stem])
    classes = _classes(state, head)
    differs = classes is not None and classes != _classes(expected, head)
    head_left_out = new_head and differs and (classes != 0 or headless)
    if head_left_out:
        state = {name: tensor for name, tensor in state.items() if not name.startswith(head)}
        expected = {name: tensor for name, tensor in expected.items() if not name.startswith(head)}
    if problems := misfits(expected, state):
        file = path if layout is None else f"{path} (in the layout of {layout.name})"
        hint = _of_pooling(model, expected, state, f"{head}weight")
        hint = hint or nearest_net(expected, state, stored, stems[0])
        raise ValueError(f"{file} does not fit the model: {problems}{hint}")
    model.load_state_dict(state, strict=not head_left_out)
    return head_left_out


def _adapted_stem(weight: Tensor, expected: Tensor) -> Tensor:
    """Adapt a first convolution for three channels to another number, as timm's ``adapt_input_conv`` does.

    For one channel the three are summed; for any other number n they are repeated and scaled by 3 / n. A
    tensor that is not such a weight is returned unchanged, and refused as a misfit later.
    """
    in_chans = expected.shape[1]
    is_for_three = weight.shape == (expected.shape[0], 3, *expected.shape[2:])
    if in_chans == 3 or not is_for_three or not is_float(weight):
        return weight
    weight = weight.float()
    if in_chans == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight.repeat(1, -(-in_chans // 3), 1, 1)[:, :in_chans] * (3 / in_chans)


def _of_pooling(
    model: nn.Module, expected: Mapping[str, Tensor], state: Mapping[str, Tensor], weight: str
) -> str:
    """Return the end of the error where nothing but the pooling gives the head another width, else "".

    Args:
        model: the net.
        expected: its tensors.
        state: those of the file.
        weight: the name of the head's weight.
    """
    ours, theirs, pool = expected.get(weight), state.get(weight), getattr(model, "global_pool", None)
    if ours is None or theirs is None or pool is None or not ours.ndim == theirs.ndim == 2:
        return ""
    (classes, width), stored_width = ours.shape, theirs.shape[1]
    is_double, is_half = width == 2 * stored_width, 2 * width == stored_width
    if not (is_double or is_half) or misfits(expected, {**state, weight: ours}):
        return ""
    way = "without global_pool" if is_double else "with global_pool='catavgmax'"
    return (
        f"; global_pool={pool!r} makes {width} features, and the file's head takes {stored_width}: for a new "
        f"head, load {way} and call reset_classifier({classes}, {pool!r}), or give another num_classes"
    )


def _classes(state: Mapping[str, Tensor], head: str) -> int | None:
    """Return the number of classes of the head in a state dict: 0 without a head, None for part of one."""
    parts = {name.removeprefix(head): tensor for name, tensor in state.items() if name.startswith(head)}
    if not parts:
        return 0
    if parts.keys() != {"weight", "bias"} or parts["weight"].ndim != 2:
        return None
    classes = parts["weight"].shape[0]
    return classes if parts["bias"].shape == (classes,) else None
