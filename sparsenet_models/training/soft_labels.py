"""Soft labels: probabilities of the classes for each training image, computed once, as by a teacher."""

from __future__ import annotations

import dataclasses
import json
from os import PathLike
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

from ..common.files import atomic_write, local_path
from ..data.image_set import AnyImageSet, image_title
from ..pretrained.weight_file import read_metadata, read_state_dict
from .fingerprint import hash_of_files

DTYPES = {"soft_labels": torch.float16, "labels": torch.int64}

TOLERANCE = 0.01
"""By which probabilities in half precision may miss a sum of 1."""


def save_soft_labels(path: str | PathLike[str], image_set: AnyImageSet, probabilities: Tensor) -> None:
    """Write the soft labels of a training set to a safetensors file, in half precision.

    Args:
        path: of the file.
        image_set: the whole training set, as ``data.load_image_set`` returns it.
        probabilities: ``(N, classes)``, in the order of the set's images and classes.

    Raises:
        ValueError: they are no probabilities, or not those of so many images and classes.
        OSError: the file cannot be written.
    """
    _check_probabilities(probabilities, image_set, "probabilities")
    tensors = {"soft_labels": probabilities.half().contiguous(), "labels": image_set.labels}
    content = save(tensors, metadata={"images": _description(image_set)})
    with atomic_write(local_path(path)) as (temporary,):
        temporary.write_bytes(content)


def with_soft_labels(image_set: AnyImageSet, path: Path) -> AnyImageSet:
    """Return a training set with the soft labels that ``save_soft_labels`` wrote for it.

    Raises:
        ValueError: the file has none, or those of other images or classes.
        OSError: the file is missing or cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"soft_labels must be a file, there is none at {path}")
    tensors, written_for = read_state_dict(path), read_metadata(path).get("images")
    if {name: tensor.dtype for name, tensor in tensors.items()} != DTYPES or written_for is None:
        raise ValueError(f"soft_labels must be a file by save_soft_labels, {path} is another")
    _check_probabilities(tensors["soft_labels"], image_set, f"soft_labels of {path}")
    if written_for != _description(image_set) or not torch.equal(tensors["labels"], image_set.labels):
        raise ValueError(
            f"soft_labels {path} was written for other images or classes than those of {image_set.name}, or "
            "for another order of them"
        )
    return dataclasses.replace(image_set, soft_labels=tensors["soft_labels"])


def softened(labels: Tensor, soft_labels: Tensor, weight: float) -> Tensor:
    """Return targets ``(B, classes)``: ``1 - weight`` times the one-hot labels and ``weight`` times the soft.

    Args:
        labels: ``(B,)`` int64.
        soft_labels: ``(B, classes)``.
        weight: in [0, 1].
    """
    hard = F.one_hot(labels, soft_labels.shape[1]).float()
    return torch.lerp(hard, soft_labels.float(), weight)


def _description(image_set: AnyImageSet) -> str:
    """Return the classes and a hash of the files of a set, "" where the images come from no files."""
    files = hash_of_files(image_set.paths) if image_set.paths else ""
    return json.dumps({"classes": image_set.class_names, "files": files})


def _check_probabilities(probabilities: Tensor, image_set: AnyImageSet, name: str) -> None:
    shape = (len(image_set), len(image_set.class_names))
    if tuple(probabilities.shape) != shape:
        raise ValueError(
            f"{name} must have the shape {shape}, images and classes of {image_set.name}, got "
            f"{tuple(probabilities.shape)}"
        )
    sums = probabilities.sum(1, dtype=torch.float32)
    # NaN fails either comparison.
    wrong = ~((probabilities >= 0).all(1) & ((sums - 1).abs() < TOLERANCE))
    if wrong.any():
        index = int(wrong.nonzero()[0])
        raise ValueError(
            f"{name} must be at least 0 and sum to 1 for each image; those of "
            f"{image_title(image_set, index)} sum to {sums[index]:.3g}"
        )
