"""The net of a run: its first weights, and whether it can train on the batches."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import cast

import torch
from torch import nn

from ..common.files import local_path, sha256_of
from ..factory import create_model
from ..models.classifier_net import ClassifierNet
from ..models.registry import is_model, is_registered
from ..pretrained.fetch import verified_file
from ..pretrained.load import load_into
from ..pretrained.source import find_model, path_as_name
from ..pretrained.weight_file import read_weight_description
from .config import TrainConfig
from .distributed import Processes
from .inputs import Inputs
from .progress import say


def new_net(config: TrainConfig, inputs: Inputs) -> nn.Module:
    """Return the net for the classes of the data, with the random weights of the seed."""
    torch.manual_seed(config.seed)
    return create_model(
        inputs.model_name,
        num_classes=len(inputs.class_names),
        in_chans=config.in_chans or None,
        drop_path_rate=config.drop_path_rate or None,  # a user's own net may not take it
    )


def start_from(source: str, model: nn.Module, class_names: tuple[str, ...]) -> str:
    """Load the weights of ``source`` into ``model``; return the file's sha256.

    It is a file, the folder of a run or of a saved model, ``architecture.tag``, or ``hf-hub:org/name``.

    A head for other classes is left out; the stem of a colour net is adapted to grey images.

    Raises:
        ValueError: the weights do not fit the net, or there are none.
        OSError: the file cannot be read.
    """
    path = local_path(source)
    is_name = is_model(source) or ":" in source[2:]  # a drive of Windows has its colon before that
    names = None
    if is_registered(source) or path.is_dir() or (is_name and not path.exists()):
        cfg = find_model(path_as_name(source)).cfg
        path, names = verified_file(cfg), cfg.label_names
    head_left_out = load_into(model, path, new_head=True, headless=True, new_stem=True)
    names = read_weight_description(path)[1].get("label_names", names)
    if not head_left_out and names is not None and tuple(names) != class_names:
        if not hasattr(model, "reset_classifier"):
            raise ValueError(
                f"{source} has as many classes under other names, and a {type(model).__name__} has no "
                "reset_classifier, which would make a new head"
            )
        cast(ClassifierNet, model).reset_classifier(len(class_names))
        head_left_out = True
    say(f"starting from {path.name}" + (", with a new head" if head_left_out else ""))
    return sha256_of(path)


def check_batch_norm(model: nn.Module, images: int, sides: Iterable[int], channels: int) -> None:
    """Raise unless the net can train on ``images`` of every one of ``sides`` at a time.

    Raises:
        ValueError: batch norm would have a single value of each channel; the message names the options.
    """
    if images > 1:
        return
    device = next(model.parameters()).device
    for side in sides:
        copy = deepcopy(model).train()
        try:
            copy(torch.zeros(1, channels, side, side, device=device))
        except ValueError as error:
            raise ValueError(
                f"batch_size must be at least 2 for each process and part (accumulate) at size {side}: of "
                "one image a batch norm of this net sees a single pixel; or give a larger size"
            ) from error


def skips_layers(model: nn.Module) -> bool:
    """Return whether a training step may leave out layers of ``model``."""
    return bool(getattr(model, "skips_layers", False))  # a user's own net may not have it


def check_place_for_graphs(processes: Processes, device: torch.device) -> None:
    """Raise unless a run is one process on a GPU, as CUDA graphs need.

    Raises:
        ValueError: it is not; the message names the option.
    """
    if device.type != "cuda":
        raise ValueError(f"cuda_graphs needs an NVIDIA GPU, the device is {device.type}: leave it out")
    if processes.count > 1:
        raise ValueError(f"cuda_graphs needs one process, there are {processes.count}: leave it out")


def check_net_for_graphs(model: nn.Module, size: tuple[int, int, int]) -> None:
    """Raise unless every training step of ``model`` computes the same, on squares, as CUDA graphs need.

    Args:
        model: the net.
        size: of its images: channels, height and width.

    Raises:
        ValueError: it does not; the message names the option.
    """
    if size[1] != size[2]:
        raise ValueError(f"cuda_graphs needs square images, the net's have {size[1]} x {size[2]} pixels")
    if skips_layers(model):
        raise ValueError("cuda_graphs needs a net that skips no layers in training: leave it out")
