"""The images of a run, the image configuration, and the name of the net for their classes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ..common.files import local_path, sha256_of
from ..data.datasets import load_image_set, split_for
from ..data.image_set import AnyImageSet, StreamedImageSet
from ..data.transforms import resolve_data_config
from ..factory import create_model
from ..models.listing import list_models
from ..models.names import current_name
from ..models.registry import get_pretrained_cfg
from .config import TrainConfig
from .copies import say_copies
from .fingerprint import fingerprint
from .hold_out import hold_out
from .progress import say
from .soft_labels import with_soft_labels

HELD_OUT_SHARE = 0.2
"""Share of the training images to score on where there are no others."""


@dataclass(frozen=True)
class Inputs:
    """The images of a run and what they decide.

    ``model_name`` is the architecture with the tag whose classes the data have, or the architecture alone.
    ``data_config`` has the keys of ``resolve_data_config``. Epochs are scored on ``watched_set``, the final
    net on ``test_set``: the same images, unless an epoch is chosen (``keep_best``) and there are others.
    ``watched_images`` says what the former are, such as "held-out images"; ``copies`` are the pairs of
    ``say_copies``; ``fingerprint`` is that of all images, as ``fingerprint.fingerprint`` returns it.
    """

    model_name: str
    data_config: dict[str, Any]
    train_set: AnyImageSet
    watched_set: AnyImageSet
    test_set: AnyImageSet
    watched_images: str
    copies: list[tuple[str, str]]
    fingerprint: dict[str, Any]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the logits."""
        return self.train_set.class_names

    @property
    def input_size(self) -> tuple[int, int, int]:
        """Channels, height and width of the images, unless another size is asked for."""
        size: tuple[int, int, int] = self.data_config["input_size"]
        return size

    @property
    def mean_and_std(self) -> dict[str, Any]:
        """The numbers for each channel that pixels in [0, 1] are normalised with."""
        return {key: self.data_config[key] for key in ("mean", "std")}


def open_inputs(config: TrainConfig) -> Inputs:
    """Open the images of a run, all in the image configuration of the net that learns from them.

    Raises:
        ValueError: the model's name or its tag, a size or the classes do not fit the data.
        OSError: the images cannot be read.
    """
    data_config = image_configuration(config, config.model)
    say(f"reading {config.data}")
    # A streamed set has read no image yet, only the names of the classes, which decide the model's tag.
    unread = load_image_set(config.data, "train", data_config, loader="stream")
    if len(unread.class_names) < 2:
        raise ValueError(
            f"{config.data} has one class, {unread.class_names[0]!r}; a classifier needs at least two"
        )
    if config.soft_labels:  # a wrong file is refused before the images are read
        unread = with_soft_labels(unread, local_path(config.soft_labels))
    model_name = name_with_tag(config, unread)
    if not config.pretrained:
        data_config = image_configuration(config, model_name)
    return Inputs(model_name, data_config, *_image_sets(config, data_config, unread.soft_labels))


def image_configuration(config: TrainConfig, model_name: str) -> dict[str, Any]:
    """Return the image configuration of ``model_name`` in the size and channels that the options ask for.

    Raises:
        ValueError: the registry has no such model, or a side is below the net's minimum.
    """
    if any(mark in config.model for mark in ":/\\"):
        raise ValueError(
            f"model must be a name from list_models(), got {config.model!r}: to continue from the weights of "
            "a folder or of the Hub, name their architecture and pass them with --init-from"
        )
    cfg = get_pretrained_cfg(model_name)
    data_config = resolve_data_config(
        create_model(model_name, device="meta", in_chans=config.in_chans or None)
    )
    least = cfg.min_input_size[1] if cfg.min_input_size else 1
    sides = [("size", config.size)] if config.size else []
    sides += [("resolution", side) for side, _ in config.resolution]
    for option, side in sides:
        if side < least:
            raise ValueError(f"{option} must be at least {least} for {cfg.architecture!r}, got {side}")
    if config.size:
        data_config["input_size"] = (data_config["input_size"][0], config.size, config.size)
    return data_config


def name_with_tag(config: TrainConfig, image_set: AnyImageSet) -> str:
    """Return the architecture with the tag whose classes are those of the data, if there is such a tag.

    A tag in ``config.model`` must be that one, unless the run only starts from the tag's weights.

    Raises:
        ValueError: the tag in ``config.model`` has other classes.
    """
    architecture, tag = current_name(config.model)
    tagged = list_models(f"{architecture}.*", include_tags=True)
    by_classes = {get_pretrained_cfg(name).label_names: name for name in reversed(tagged)}
    if not tag or config.pretrained:
        return by_classes.get(image_set.class_names, architecture)
    if get_pretrained_cfg(config.model).label_names not in (None, image_set.class_names):
        raise ValueError(
            f"the tag of {config.model!r} stands for other classes than those of {image_set.name}; "
            f"train {architecture!r} without a tag, or start from its weights with --pretrained"
        )
    return f"{architecture}.{tag}"


def _image_sets(
    config: TrainConfig, data_config: dict[str, Any], soft_labels: Tensor | None
) -> tuple[AnyImageSet, AnyImageSet, AnyImageSet, str, list[tuple[str, str]], dict[str, Any]]:
    """Return the images of a run, with the soft labels to learn, and the last three fields of ``Inputs``.

    An epoch (``keep_best``) is chosen on ``val/`` or, where there is none, on a part of the training images,
    never on ``test/``.

    Raises:
        ValueError: the sets have different classes, or a class has no training image.
        OSError: an image cannot be read.
    """
    whole: dict[str, AnyImageSet] = {}

    def load(split: str) -> AnyImageSet:
        whole[split] = load_image_set(config.data, split, data_config, config.loader, config.workers)
        return whole[split]

    train_set: AnyImageSet = replace(load("train"), soft_labels=soft_labels)
    share = config.validation
    test = split_for(config.data, "test")
    validation = split_for(config.data, "validation") if config.keep_best else None
    split = "validation" if validation else "test"
    if not share and (not test or (config.keep_best and not validation)):
        share = HELD_OUT_SHARE
        missing = "no val/" if test else "neither test/ nor val/"
        say(f"{config.data} has {missing}: {share:.0%} of each class are held out to score on")
    if share:
        train_set, watched_set = hold_out(train_set, share, config.seed)
    else:
        _check_every_class_has_images(train_set)
        watched_set = load(split)
    chooses_elsewhere = config.keep_best and not config.validation and test and test != validation
    test_set = load("test") if chooses_elsewhere else watched_set
    for scored in (watched_set, test_set):
        if train_set.class_names != scored.class_names:
            raise ValueError(
                f"{config.data} has other classes for training {train_set.class_names} than "
                f"for testing {scored.class_names}"
            )
    scored_sets = (watched_set,) if test_set is watched_set else (watched_set, test_set)
    copies = [pair for scored in scored_sets for pair in say_copies(train_set, scored)]
    if isinstance(train_set, StreamedImageSet):
        say(f"streaming {len(train_set):,} images with {config.workers} workers")
    # val/ stands for a missing test/, but its images are no test images where their scores can end the run.
    can_end_by_val = config.patience and test != "test"
    is_validation = split == "validation" or can_end_by_val
    watched_images = "held-out images" if share else "validation images" if is_validation else "test images"
    images = fingerprint(config.data, whole)
    if config.soft_labels:
        images["soft_labels_sha256"] = sha256_of(local_path(config.soft_labels))
    return train_set, watched_set, test_set, watched_images, copies, images


def _check_every_class_has_images(train_set: AnyImageSet) -> None:
    counts = train_set.labels.bincount(minlength=len(train_set.class_names))
    for name, count in zip(train_set.class_names, counts.tolist()):
        if count == 0:
            raise ValueError(
                f"class {name!r} of {train_set.name} has no training image: add some, or remove the class"
            )
