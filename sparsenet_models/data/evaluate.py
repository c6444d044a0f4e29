"""Evaluates a model on a labelled image set: top-1, top-5, loss, speed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..common.messages import did_you_mean
from .answers import NOT_FINITE, NotFinite, finite, net_name
from .image_set import AnyImageSet, image_title

CONFUSION_CLASSES = 1000
"""The confusions of 10,000 classes would take 800 MB, and no picture could show them."""


@dataclass(frozen=True)
class Score:
    """Accuracies ``top1`` and ``top5`` in percent of ``count`` images, mean cross-entropy ``loss`` in nats.

    ``confusion`` ``(classes, classes)`` counts images by their class (row) and predicted class (column), and
    is None for more than ``CONFUSION_CLASSES`` classes.
    """

    top1: float
    top5: float
    loss: float
    count: int
    images_per_second: float
    confusion: Tensor | None = field(compare=False, repr=False)


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    image_set: AnyImageSet,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    batch_size: int = 64,
    flip: bool = False,
    on_batch: Callable[[int], object] | None = None,
) -> Score:
    """Evaluate ``model`` in eval mode, and restore the mode that it had.

    Args:
        model: ``(N, C, H, W) -> (N, classes)``; computes on the device and in the dtype of its parameters.
        image_set: images and labels; with five classes or fewer, top-5 is 100%.
        mean: mean of each channel, with pixels in [0, 1].
        std: standard deviation of each channel, with pixels in [0, 1].
        batch_size: images per batch.
        flip: average the logits of each image and of its mirror image.
        on_batch: called after each batch with the number of its images, for a progress bar.

    Raises:
        NotFinite: the net answers with NaN or infinity for an image; it is a ValueError.
        ValueError: the image set has a label beyond the net's classes.
        OSError: an image of a streamed set cannot be read.
    """
    parameter = next(model.parameters())
    modes = {module: module.training for module in model.modules()}
    top5 = 0
    loss = 0.0
    predicted: list[Tensor] = []
    is_finite: list[Tensor] = []
    start = time.perf_counter()
    order = torch.arange(len(image_set)).split(batch_size)
    last_label = int(image_set.labels.max())
    model.eval()
    try:
        for images, labels in zip(image_set.batches(order), image_set.labels.split(batch_size)):
            labels = labels.to(parameter.device)
            inputs = normalised(images.to(parameter.device), mean, std).to(parameter.dtype)
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            logits = model(inputs).float()
            if flip:
                logits = (logits + model(inputs.flip(-1)).float()) / 2
            classes = logits.shape[1]
            if last_label >= classes:
                raise ValueError(
                    f"{image_set.name} has {len(image_set.class_names)} classes, {net_name(model)} has "
                    f"{classes}: score it with a net of its classes"
                )
            is_finite.append(finite(logits))
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            top = logits.topk(min(5, classes), dim=1).indices
            top5 += int((top == labels[:, None]).any(dim=1).sum())
            predicted.append(top[:, 0])
            if on_batch is not None:
                on_batch(len(labels))
    finally:
        for module, mode in modes.items():
            module.training = mode
    seconds = time.perf_counter() - start
    count = len(image_set)
    bad = (~torch.cat(is_finite)).nonzero()[:, 0].tolist()
    if bad:
        raise NotFinite(
            f"{net_name(model)} {NOT_FINITE} for {len(bad):,} of {count:,} images of {image_set.name}, "
            f"the first is {image_title(image_set, bad[0])}: the net's weights are damaged, or "
            f"{parameter.dtype} overflows"
        )
    truth, answers = image_set.labels.cpu(), torch.cat(predicted).cpu()
    top1 = int((answers == truth).sum())
    confusion = None
    if classes <= CONFUSION_CLASSES:
        pairs = truth * classes + answers
        confusion = pairs.bincount(minlength=classes**2).view(classes, classes)
    return Score(100 * top1 / count, 100 * top5 / count, loss / count, count, count / seconds, confusion)


def with_classes(image_set: AnyImageSet, class_names: Sequence[str]) -> AnyImageSet:
    """Return the image set with its classes renumbered to ``class_names``, which may name more classes.

    Raises:
        ValueError: the image set has a class that is not in ``class_names``.
    """
    indices = {name: index for index, name in enumerate(class_names)}
    for name in image_set.class_names:
        if name not in indices:
            raise ValueError(
                f"{image_set.name} has a class {name!r} that the model does not have"
                f"{did_you_mean(name, indices) or f'; it has {len(indices)}, among them {class_names[0]!r}'}"
            )
    new_labels = torch.tensor([indices[name] for name in image_set.class_names])
    return dataclasses.replace(image_set, labels=new_labels[image_set.labels], class_names=tuple(class_names))


def normalised(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return uint8 images ``(N, C, H, W)`` as float32, ``(pixel / 255 - mean) / std``."""
    means = torch.tensor(mean, device=images.device).view(1, -1, 1, 1)
    stds = torch.tensor(std, device=images.device).view(1, -1, 1, 1)
    return (images.float() / 255 - means) / stds
