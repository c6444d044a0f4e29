"""The labelled images on which a verb measures a net."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..data.image_set import AnyImageSet


def images_for(net: Any, model: str, data: str, split: str) -> AnyImageSet:
    """Return one split of ``data``, streamed, with labels that are indices of the net's classes.

    Args:
        net: a net by ``create_model``.
        model: its name in a message.
        data: a folder of images or the name of a set.
        split: "train" or "test".
    """
    from ..data.datasets import load_image_set
    from ..data.evaluate import with_classes
    from ..data.transforms import resolve_data_config

    image_set = load_image_set(data, split, resolve_data_config(net), loader="stream")
    class_names = net.pretrained_cfg["label_names"]
    if class_names is not None:
        return with_classes(image_set, class_names)
    if len(image_set.class_names) != net.num_classes:
        raise click.ClickException(
            f"{image_set.name} has {len(image_set.class_names)} classes, {model} has {net.num_classes}"
        )
    return image_set
