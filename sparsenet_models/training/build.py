"""The parts of a run: images, the net's right name, first weights, optimizer groups, compiled net."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ..data.datasets import has_split, load_image_set
from ..data.image_set import AnyImageSet, StreamedImageSet
from ..data.transforms import resolve_data_config
from ..factory import create_model
from ..models import registry
from ..models.classifier_net import ClassifierNet
from ..models.names import current_name
from ..models.listing import list_models
from ..pretrained.fetch import verified_file
from ..pretrained.load import load_into
from ..pretrained.weight_file import read_weight_description
from .config import TrainConfig
from .hold_out import hold_out
from .progress import say

HELD_OUT_SHARE = 0.2
"""Of the training images, where there are no others to score on."""


def how_images_reach(config: TrainConfig, model_name: str) -> dict[str, Any]:
    """Return the keywords of the transform: those of the model's tag, in the size and channels asked for.

    Args:
        config: the options.
        model_name: the net, with the tag that tells the mean and deviation of the images.

    Raises:
        ValueError: the net takes no images so small, or the model is no name of the registry.
    """
    if any(mark in config.model for mark in ":/\\"):
        raise ValueError(
            f"model must be a name that list_models() tells, got {config.model!r}: to train the weights of a "
            "folder or of the Hub further, name their architecture and give their file by --init-from"
        )
    cfg = registry.get_pretrained_cfg(model_name)
    known = resolve_data_config(create_model(model_name, device="meta", in_chans=config.in_chans or None))
    least = cfg.min_input_size[1] if cfg.min_input_size else 1
    sides = [("size", config.size)] if config.size else []
    sides += [("resolution", side) for side, _ in config.resolution]
    for option, side in sides:
        if side < least:
            raise ValueError(f"{option} must be at least {least} for {cfg.architecture!r}, got {side}")
    if not config.size:
        return known
    return known | {"input_size": (known["input_size"][0], config.size, config.size)}


def image_sets(
    config: TrainConfig, data_config: dict[str, Any]
) -> tuple[AnyImageSet, AnyImageSet, AnyImageSet]:
    """Return the images to learn from, those that epochs are scored on, and those for the final figure.

    The last two are the same, unless an epoch is chosen (``keep_best``): that is done on ``val/`` or, where
    there is none, on a part of the training images, so that nothing is chosen on the images of ``test/``.

    Raises:
        ValueError: they have other classes, or only one, or a class has no image to learn from.
        OSError: they cannot be read.
    """
    say(f"reading {config.data}")
    train_set = load_image_set(config.data, "train", data_config, config.loader, config.workers)
    share = config.validation
    has_test = has_split(config.data, "test")
    split = "validation" if config.keep_best and has_split(config.data, "validation") else "test"
    chosen_on_test = config.keep_best and split == "test"
    if not share and (chosen_on_test or not has_test):
        share = HELD_OUT_SHARE
        wanted = "no val/" if has_test else "neither test/ nor val/"
        say(f"{config.data} has {wanted}: {share:.0%} of each class are held out to score on")
    if len(train_set.class_names) < 2:
        raise ValueError(
            f"{config.data} has one class, {train_set.class_names[0]!r}: there is nothing to tell apart"
        )
    if share:
        train_set, watched_set = hold_out(train_set, share, config.seed)
    else:
        _check_every_class_has_images(train_set)
        watched_set = load_image_set(config.data, split, data_config, config.loader, config.workers)
    test_set = watched_set
    if config.keep_best and not config.validation and has_test:
        test_set = load_image_set(config.data, "test", data_config, config.loader, config.workers)
    for scored in (watched_set, test_set):
        if train_set.class_names != scored.class_names:
            raise ValueError(
                f"{config.data} has other classes for training {train_set.class_names} than "
                f"for testing {scored.class_names}"
            )
    if isinstance(train_set, StreamedImageSet):
        say(f"streaming {len(train_set):,} images with {config.workers} workers")
    return train_set, watched_set, test_set


def scores_on_held_out(config: TrainConfig) -> bool:
    """Return whether the final figure is of a part of the training images."""
    return config.validation > 0 or not has_split(config.data, "test")


def _check_every_class_has_images(train_set: AnyImageSet) -> None:
    counts = train_set.labels.bincount(minlength=len(train_set.class_names))
    for name, count in zip(train_set.class_names, counts.tolist()):
        if count == 0:
            raise ValueError(
                f"class {name!r} of {train_set.name} has no training image: add some, or remove the class"
            )


def name_with_tag(config: TrainConfig, image_set: AnyImageSet) -> str:
    """Return the model's name with the tag whose classes are those of the data.

    Without such a tag the name has none; so has that of a net that only starts from its tag's weights.

    Raises:
        ValueError: the name has a tag whose classes are others.
    """
    architecture, tag = current_name(config.model)
    tagged = list_models(f"{architecture}.*", include_tags=True)
    by_classes = {registry.get_pretrained_cfg(other).label_names: other for other in reversed(tagged)}
    if not tag or config.pretrained:
        return by_classes.get(image_set.class_names, architecture)
    if registry.get_pretrained_cfg(config.model).label_names not in (None, image_set.class_names):
        raise ValueError(
            f"the tag of {config.model!r} stands for other classes than those of {image_set.name}; "
            f"train {architecture!r} without a tag, or start from its weights with --pretrained"
        )
    return f"{architecture}.{tag}"


def start_from(source: str, model: nn.Module, class_names: tuple[str, ...]) -> str:
    """Load the weights of a file or of ``architecture.tag`` into ``model``; return the file's sha256.

    A head for other classes is left out, a stem for colour adapted to grey.

    Raises:
        ValueError: the weights do not fit the net, or there are none.
        OSError: the file cannot be read.
    """
    path = Path(source)
    if not path.exists() and registry.is_model(source):
        path = verified_file(registry.get_pretrained_cfg(source))
    head_left_out = load_into(model, path, new_head=True, headless=True, new_stem=True)
    names = read_weight_description(path)[1].get("label_names")
    if not head_left_out and names is not None and tuple(names) != class_names:
        cast(ClassifierNet, model).reset_classifier(len(class_names))
        head_left_out = True
    say(f"starting from {path.name}" + (", with a new head" if head_left_out else ""))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def parameter_groups(model: nn.Module, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """Return the optimizer's groups, each with the ``scale`` of its rate.

    Weights of convolutions and linear layers decay; norms, biases and what ``no_weight_decay()`` names stay
    free. The scale falls by ``layer_decay`` from the head to the part before it, and so on to the stem.
    Parameters that need no gradient are in no group.

    Raises:
        ValueError: ``layer_decay`` below 1 for a net whose parts are not known.
    """
    parts = [""]
    if layer_decay < 1:
        if not isinstance(model, ClassifierNet):
            raise ValueError(
                f"layer_decay={layer_decay} needs a net of this library's families, "
                f"{type(model).__name__} is none"
            )
        parts = [part for part in model.parts() if any(True for _ in model.get_submodule(part).parameters())]
    free = model.no_weight_decay() if isinstance(model, ClassifierNet) else set()
    groups = []
    for distance, part in enumerate(reversed(parts)):
        named = list(model.get_submodule(part).named_parameters(prefix=part))
        for kind, decay in ((True, weight_decay), (False, 0.0)):
            members = [
                parameter
                for name, parameter in named
                if parameter.requires_grad and (parameter.ndim > 1 and name not in free) == kind
            ]
            if members:
                groups.append({"params": members, "weight_decay": decay, "scale": layer_decay**distance})
    return groups


def compiled(model: nn.Module, wanted: bool) -> Any:
    """Return the net compiled, or itself where torch.compile is not wanted or does not work."""
    if not wanted:
        return model
    compilers = (os.environ.get("CXX", "c++"), "c++", "g++", "clang++", "cl")
    if not any(shutil.which(compiler) for compiler in compilers):
        say("no C++ compiler found: running without torch.compile")
        return model
    try:
        torch.compile(torch.sin)(torch.zeros(8, device=next(model.parameters()).device))
    # Missing Python headers, no triton, a Python too new: each torch has its own way to fail.
    except Exception as error:
        say(f"torch.compile does not work here ({type(error).__name__}): running without it")
        return model
    return torch.compile(model, dynamic=False)
