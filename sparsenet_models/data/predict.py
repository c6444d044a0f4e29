"""Classifies image files with a model that has class names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from ..common.arguments import integer
from ..common.wrappers import unwrap_model
from .answers import NOT_FINITE, finite, net_name
from .pictures import open_image
from .transforms import create_transform, resolve_data_config

BATCH_SIZE = 64


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of an image file with their probabilities, best first, or an error."""

    image: str
    labels: tuple[tuple[str, float], ...] = ()
    error: str | None = None


def predict(model: nn.Module, images: Sequence[str], top_k: int = 5) -> Iterator[Prediction]:
    """Return an iterator over the prediction for each image file, in order.

    A file that cannot be read yields its error, as does one that the net answers for with NaN or infinity.

    Args:
        model: a model by ``create_model`` whose ``pretrained_cfg`` has ``label_names``, also in torch's
            wrappers; it is put into eval mode, and computes on the device and in the dtype of its parameters.
        images: paths of image files of any size and mode.
        top_k: number of classes in a prediction; more than the model has means all.

    Raises:
        TypeError: ``images`` is one path.
        ValueError: ``top_k`` is below 1, or the model has no names for its classes. Where only its answers
            tell how many these are, the iterator raises it.
    """
    if isinstance(images, (str, PathLike)):
        raise TypeError(f"images must be a list of paths, got {images!r}")
    top_k = integer("top_k", top_k, minimum=1)
    data_config = resolve_data_config(model)
    net = unwrap_model(model)
    names: tuple[str, ...] | None = net.pretrained_cfg.get("label_names")  # type: ignore[union-attr, operator]
    count = getattr(net, "num_classes", None)  # a registered net of another library may not have it
    if names is None or count not in (None, len(names)):
        raise _no_names(net, count)
    transform = create_transform(**data_config)
    return _predictions(model, images, top_k, names, transform, data_config["input_size"][0])


def _no_names(net: nn.Module, count: int | None) -> ValueError:
    classes = "classes" if count is None else f"{count} classes"
    return ValueError(f"{type(net).__name__} has no names for its {classes}")


def _predictions(
    model: nn.Module,
    images: Sequence[str],
    top_k: int,
    names: Sequence[str],
    transform: Callable[[Any], Tensor],
    channels: int,
) -> Iterator[Prediction]:
    """Yield the predictions of ``predict``, whose arguments are checked."""
    parameter = next(model.parameters())
    model.eval()
    remaining = iter(images)
    while batch := list(islice(remaining, BATCH_SIZE)):
        loaded: list[Tensor | str] = []
        for path in batch:
            try:
                loaded.append(transform(open_image(path, channels)))
            except OSError as error:
                loaded.append(str(error))
        tensors = [item for item in loaded if isinstance(item, Tensor)]
        predictions = iter(_top_classes(model, tensors, parameter, names, top_k))
        for path, item in zip(batch, loaded):
            if isinstance(item, str):
                yield Prediction(path, error=item)
            elif labels := next(predictions):
                yield Prediction(path, labels=labels)
            else:
                yield Prediction(path, error=f"{net_name(model)} {NOT_FINITE} for {path}")


@torch.inference_mode()
def _top_classes(
    model: nn.Module, tensors: list[Tensor], like: Tensor, names: Sequence[str], top_k: int
) -> list[tuple[tuple[str, float], ...]]:
    """Return the best classes of each image, () where the net's answer is not finite."""
    if not tensors:
        return []
    logits = model(torch.stack(tensors).to(like.device, like.dtype)).float()
    if logits.shape[1] != len(names):
        raise _no_names(unwrap_model(model), logits.shape[1])
    top = logits.softmax(dim=1).topk(min(top_k, len(names)), dim=1)
    return [
        tuple((names[index], value) for index, value in zip(indices, values)) if is_finite else ()
        for indices, values, is_finite in zip(
            top.indices.tolist(), top.values.tolist(), finite(logits).tolist()
        )
    ]
