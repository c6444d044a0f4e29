"""From somebody's checkpoint to a weight file or a folder of ours: `sparsenet convert`."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from ..common.files import atomic_write
from ..factory import create_model
from ..models.pretrained_cfg import pretrained_cfg_of
from ..pretrained.save import save_pretrained
from ..pretrained.weight_file import read_weights, save_weights


def convert_checkpoint(
    source: Path, target: Path, model_name: str, stem_channels: int | None = None
) -> nn.Module:
    """Write a checkpoint of any layout that the library knows in its own, and return the net.

    Classes and input channels are those of the file.

    Args:
        source: a safetensors file, or one by ``torch.save``.
        target: a new file ``NAME.safetensors``; any other name is a new folder, as ``save_pretrained``
            writes it, which also keeps ``stem_channels``.
        model_name: the architecture, or ``architecture.tag`` for the names of its classes too.
        stem_channels: of a net whose stem is not as wide as the architecture's own.

    Raises:
        ValueError: the file does not fit, or holds no weights; the message names the net that it fits.
        OSError: the source cannot be read, the target is there already or cannot be written.
    """
    if not target.absolute().parent.is_dir():
        raise FileNotFoundError(f"{target} cannot be written: there is no folder {target.parent}")
    if target.exists():
        raise FileExistsError(f"{target} is there already and is not overwritten")
    state = read_weights(source)
    classes, stem = state.get("head.fc.weight"), state.get("stem.conv.weight")
    model = create_model(
        model_name,
        num_classes=0 if classes is None else _size(classes, 0),
        in_chans=None if stem is None else _size(stem, 1),
        stem_channels=stem_channels,
        checkpoint_path=source,
    )
    if target.suffix != ".safetensors":
        save_pretrained(model, target)
        return model
    cfg = pretrained_cfg_of(model)
    metadata = {key: value for key in ("architecture", "tag") if (value := getattr(cfg, key))}
    with atomic_write(target) as (path,):
        save_weights(model, path, metadata)
    return model


def _size(tensor: Tensor, dimension: int) -> int | None:
    """Return a size of a tensor, None where it has no such dimension or there is nothing along it."""
    return (tensor.shape[dimension] or None) if tensor.ndim > dimension else None
