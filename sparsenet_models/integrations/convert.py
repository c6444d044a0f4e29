"""Conversion of other code bases' checkpoints to files or folders of this library: `sparsenet convert`."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from ..common.files import atomic_write, local_path
from ..factory import create_model
from ..models.pretrained_cfg import pretrained_cfg_of
from ..pretrained.save import has_published_weights, save_pretrained
from ..pretrained.source import find_model
from ..pretrained.weight_file import read_weights, save_weights, weight_description

OTHER_SUFFIXES = (".bin", ".ckpt", ".onnx", ".pt", ".pth", ".safetensor", ".safetensors", ".tar")
"""Of names that are meant for files, not for folders."""


def convert_checkpoint(
    source: Path, target: Path, model_name: str, stem_channels: int | None = None
) -> nn.Module:
    """Rewrite a checkpoint of another code base in this library's format, and return the net.

    The net has the classes and input channels of the checkpoint.

    Args:
        source: a safetensors file, or a file by ``torch.save``.
        target: a new file if it ends in ``.safetensors``, else a new folder as ``save_pretrained`` writes
            it. Only the folder records ``stem_channels``.
        model_name: the architecture, or ``architecture.tag``. The tag names the classes and the image
            configuration, unless the source's own metadata do.
        stem_channels: width of the stem, if it differs from the architecture's default.

    Raises:
        ValueError: the file has no weights, or they do not fit, where the message names a net that they fit;
            or the net takes no ``stem_channels``, or the target has the suffix of another kind of file.
        OSError: the source cannot be read, or the target exists already or cannot be written.
    """
    source, target = local_path(source), local_path(target)
    if not target.absolute().parent.is_dir():
        raise FileNotFoundError(f"{target} cannot be written: there is no folder {target.parent}")
    if target.suffix != ".safetensors" and target.suffix.lower() in OTHER_SUFFIXES:
        raise ValueError(
            f"the target must be a new folder, or a file whose name ends in .safetensors, got {target}"
        )
    if target.exists():
        raise FileExistsError(f"{target} is there already and is not overwritten")
    state = read_weights(source)
    first_conv = find_model(model_name).cfg.first_conv or "stem.conv"
    if not isinstance(first_conv, str):
        first_conv = first_conv[0]
    classes, stem = state.get("head.fc.weight"), state.get(f"{first_conv}.weight")
    try:
        model = create_model(
            model_name,
            num_classes=0 if classes is None else _size(classes, 0),
            in_chans=None if stem is None else _size(stem, 1),
            stem_channels=stem_channels,
            checkpoint_path=source,
        )
    except TypeError as error:
        if stem_channels is None:
            raise
        raise ValueError(f"stem_channels={stem_channels}: {error}") from error
    if target.suffix != ".safetensors":
        save_pretrained(model, target)
        return model
    metadata = weight_description(pretrained_cfg_of(model), has_published_weights(model))
    with atomic_write(target) as (path,):
        save_weights(model, path, metadata)
    return model


def _size(tensor: Tensor, dimension: int) -> int | None:
    """Return the size along a dimension; None if the tensor has no such dimension, or it is empty."""
    return (tensor.shape[dimension] or None) if tensor.ndim > dimension else None
