"""What a net with class names says of image files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from ..common.arguments import integer
from .transforms import create_transform, open_image, resolve_data_config

BATCH_SIZE = 64


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of one image, best first; or why it could not be read."""

    image: str
    labels: tuple[tuple[str, float], ...] = ()
    error: str | None = None


def predict(model: nn.Module, images: Sequence[str], top_k: int = 5) -> Iterator[Prediction]:
    """Yield the prediction for each image file, in order; a file that is no image does not stop it.

    Args:
        model: a net by ``create_model`` whose ``pretrained_cfg`` has ``label_names``; it is put
            into eval mode and computes on its own device and dtype.
        images: paths of image files of any size and mode.
        top_k: how many classes to tell, at most all.

    Raises:
        ValueError: ``top_k`` is below 1, or the net has no names for its classes.
    """
    top_k = integer("top_k", top_k, minimum=1)
    config = resolve_data_config(model)
    names: tuple[str, ...] | None = model.pretrained_cfg.get("label_names")  # type: ignore[union-attr, operator]
    if names is None or len(names) != model.num_classes:
        raise ValueError(f"{type(model).__name__} has no names for its {model.num_classes} classes")
    transform = create_transform(**config)
    parameter = next(model.parameters())
    model.eval()
    remaining = iter(images)
    while batch := list(islice(remaining, BATCH_SIZE)):
        loaded: list[Tensor | str] = []
        for path in batch:
            try:
                loaded.append(transform(open_image(path, config["input_size"][0])))
            except OSError as error:
                loaded.append(str(error))
        tensors = [item for item in loaded if isinstance(item, Tensor)]
        rows = iter(_top_classes(model, tensors, parameter, names, top_k))
        for path, item in zip(batch, loaded):
            if isinstance(item, str):
                yield Prediction(path, error=item)
            else:
                yield Prediction(path, labels=next(rows))


@torch.inference_mode()
def _top_classes(
    model: nn.Module, tensors: list[Tensor], like: Tensor, names: Sequence[str], top_k: int
) -> list[tuple[tuple[str, float], ...]]:
    if not tensors:
        return []
    logits = model(torch.stack(tensors).to(like.device, like.dtype)).float()
    top = logits.softmax(dim=1).topk(min(top_k, len(names)), dim=1)
    return [
        tuple((names[index], value) for index, value in zip(indices, values))
        for indices, values in zip(top.indices.tolist(), top.values.tolist())
    ]
