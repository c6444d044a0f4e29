"""The net that a verb works with, and the options that several verbs have for it."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

INFERENCE_PRECISIONS = ("float32", "bfloat16")

device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
checkpoint_option = click.option(
    "--checkpoint", help="A weight file of another origin, for the NAME.TAG that it fits."
)
precision_option = partial(
    click.option,
    "--precision",
    type=click.Choice(INFERENCE_PRECISIONS),
    default="float32",
    show_default=True,
)
"""Call it, with the other names that a verb has for it."""


def load_model(
    model: str | None, checkpoint: str | None = None, device: str = "cpu", precision: str = "float32"
) -> Any:
    """Return MODEL with its weights, or with those of a weight file.

    MODEL is a name, the folder of a run or of a saved model, or a weight file that names its net.
    """
    from ..common.files import local_path

    if checkpoint is not None and not local_path(checkpoint).exists():  # before torch is imported
        raise FileNotFoundError(f"weight file not found: {checkpoint}")

    import torch

    from ..common.devices import select_device
    from ..factory import create_model
    from ..pretrained.source import path_as_name

    factory_kwargs = {"device": select_device(device), "dtype": getattr(torch, precision)}
    if model is None and checkpoint is not None:
        model, checkpoint = f"local-dir:{checkpoint}", None
    name = _best_cifar10_model() if model is None else path_as_name(model)
    if checkpoint is None:
        return create_model(name, pretrained=True, **factory_kwargs)
    return create_model(name, checkpoint_path=checkpoint, **factory_kwargs)


def _best_cifar10_model() -> str:
    """Return the SparseNet ``architecture.cifar10`` whose weights have the highest top-1 accuracy."""
    from ..models.listing import list_pretrained
    from ..models.registry import get_pretrained_cfg

    names = list_pretrained("sparsenet_*.cifar10")
    if not names:
        raise ValueError("no SparseNet weights for CIFAR-10 are installed; name a model with --model")
    return max(names, key=lambda name: get_pretrained_cfg(name).top1 or 0.0)
