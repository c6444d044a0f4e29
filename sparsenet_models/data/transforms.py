"""From a PIL image to the input tensor of a model, with torchvision.transforms.v2."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence, Sized
from functools import partial
from typing import TYPE_CHECKING, Any

from PIL import Image
from torch import nn

from ..common.arguments import is_integer
from ..common.messages import did_you_mean
from ..common.wrappers import unwrap_model
from .pictures import to_channels

if TYPE_CHECKING:
    from torchvision.transforms import v2

SMALL_IMAGE = 64
"""Input sides of at most this many pixels are trained with padded crops, larger ones with resized crops."""


LONGEST_SHAPE = 100
"""An image may be this many times as long as the shape of the input; of a longer one the middle is used."""


def resolve_data_config(model: nn.Module | Mapping[str, Any] | Any) -> dict[str, Any]:
    """Return the image configuration of ``model``: the arguments of ``create_transform``.

    The keys are ``input_size`` ``(channels, height, width)`` in pixels, ``interpolation``, ``mean`` and
    ``std`` of each channel with pixels in [0, 1], ``crop_pct`` and ``crop_mode``.

    Examples:
        >>> resolve_data_config(get_pretrained_cfg("sparsenet_bc_40_k12"))

    Args:
        model: a net by ``create_model``, also in torch's wrappers, or a pretrained configuration, as
            ``get_pretrained_cfg`` returns it or as a dict.

    Raises:
        ValueError: the model has no pretrained configuration, which ``create_model`` sets; a key is missing.
    """
    described = unwrap_model(model) if isinstance(model, nn.Module) else model
    cfg = getattr(described, "pretrained_cfg", described)
    if dataclasses.is_dataclass(cfg):
        cfg = vars(cfg)
    if not isinstance(cfg, Mapping) or cfg.get("input_size") is None:
        raise ValueError(
            f"{type(model).__name__} has no pretrained_cfg with an image configuration; build it with "
            "create_model(name), or pass input_size, mean and std to create_transform yourself"
        )
    keys = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")
    if missing := [key for key in keys if key not in cfg]:
        raise ValueError(f"the image configuration has no {' and no '.join(missing)}")
    return {key: cfg[key] for key in keys}


def resolve_model_data_config(model: nn.Module) -> dict[str, Any]:
    """Return ``resolve_data_config(model)``, under timm's name for it."""
    return resolve_data_config(model)


def create_transform(
    input_size: tuple[int, int, int],
    is_training: bool = False,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    interpolation: str = "bicubic",
    crop_pct: float = 1.0,
    crop_mode: str = "center",
) -> v2.Compose:
    """Return the transform from a PIL image to a normalised float32 tensor ``(C, H, W)``.

    Images of any mode become RGB, or grey for one channel. For evaluation, the image is resized until
    it just covers ``size / crop_pct``, and its centre is cropped. For training with sides of at most 64
    pixels, it is resized, padded by reflection by an eighth of the side, cropped at random and flipped
    at random; with larger sides, it gets a random resized crop and a random flip.

    Examples:
        >>> transform = create_transform(**resolve_data_config(model))

    Args:
        input_size: ``(channels, height, width)``, one or three channels.
        is_training: random crops and flips instead of the centre crop.
        mean: mean of each channel, with pixels in [0, 1].
        std: standard deviation of each channel, with pixels in [0, 1].
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos".
        crop_pct: fraction of the shorter side that the crop keeps, in (0, 1].
        crop_mode: only "center" is supported.

    Raises:
        ValueError: an argument is out of range.
        ImportError: torchvision cannot be imported.
    """
    import torch

    v2 = _torchvision_v2()
    geometry = _geometry(input_size, is_training, interpolation, crop_pct, crop_mode)
    channels = input_size[0]
    for name, values in (("mean", mean), ("std", std)):
        if not isinstance(values, Sized) or len(values) != channels:
            raise ValueError(f"{name} must have one number for each of {channels} channels, got {values!r}")
    if min(std) <= 0:
        raise ValueError(f"std must be above 0, got {std}")
    return v2.Compose(
        [
            partial(to_channels, channels=channels),
            geometry,
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(mean), list(std)),
            v2.ToPureTensor(),
        ]
    )


def create_crop(
    input_size: tuple[int, int, int],
    *,
    interpolation: str = "bicubic",
    crop_pct: float = 1.0,
    crop_mode: str = "center",
) -> v2.Compose:
    """Return the first part of the evaluation transform, from a PIL image to a cropped PIL image."""
    return _geometry(input_size, False, interpolation, crop_pct, crop_mode)


def _geometry(
    input_size: tuple[int, int, int],
    is_training: bool,
    interpolation: str,
    crop_pct: float,
    crop_mode: str,
) -> v2.Compose:
    v2 = _torchvision_v2()
    modes = {mode.value: mode for mode in v2.InterpolationMode}
    if interpolation not in modes:
        hint = did_you_mean(interpolation, modes) or f"; one of {sorted(modes)}"
        raise ValueError(f"unknown interpolation {interpolation!r}{hint}")
    if crop_mode != "center":
        raise ValueError(f"crop_mode must be 'center', got {crop_mode!r}")
    is_triple = isinstance(input_size, Sequence) and len(input_size) == 3
    if not is_triple or not all(is_integer(side) and side >= 1 for side in input_size):
        raise ValueError(f"input_size must be (channels, height, width) in pixels, got {input_size!r}")
    if input_size[0] not in (1, 3):
        raise ValueError(
            f"input_size must have 1 (grey) or 3 (RGB) channels for images, got {input_size!r}; write "
            "your own transform for other data"
        )
    if not 0.0 < crop_pct <= 1.0:
        raise ValueError(f"crop_pct must be in (0, 1], got {crop_pct!r}")
    _, height, width = input_size
    mode = modes[interpolation]
    if is_training and max(height, width) > SMALL_IMAGE:
        return v2.Compose(
            [v2.RandomResizedCrop((height, width), interpolation=mode), v2.RandomHorizontalFlip()]
        )
    covering = ResizeToCover(height / crop_pct, width / crop_pct, mode)
    if not is_training:
        return v2.Compose([covering, v2.CenterCrop((height, width))])
    padding = min(height, width) // 8
    return v2.Compose(
        [
            ResizeToCover(height, width, mode),
            v2.CenterCrop((height, width)),
            v2.RandomCrop((height, width), padding=padding, padding_mode="reflect"),
            v2.RandomHorizontalFlip(),
        ]
    )


class ResizeToCover:
    """Resizes a PIL image, keeping its aspect ratio, until it just covers ``height`` x ``width`` pixels.

    Of an image that is many times as long as wide, only the middle is resized, as the rest is cropped later.
    """

    def __init__(self, height: float, width: float, interpolation: Any) -> None:
        self.height, self.width = math.floor(height), math.floor(width)
        self.interpolation = interpolation

    def __call__(self, image: Image.Image) -> Image.Image:
        if image.size == (self.width, self.height):
            return image
        image = self._middle(image)
        if self.height * image.width >= self.width * image.height:
            size = (self.height, self.height * image.width // image.height)
        else:
            size = (self.width * image.height // image.width, self.width)
        return _torchvision_v2().functional.resize(image, size, self.interpolation)

    def _middle(self, image: Image.Image) -> Image.Image:
        """Return the middle of an image of which enlarging the whole would take gigabytes, else the image."""
        height = min(image.height, math.ceil(LONGEST_SHAPE * image.width * self.height / self.width))
        width = min(image.width, math.ceil(LONGEST_SHAPE * image.height * self.width / self.height))
        if (width, height) == image.size:
            return image
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return image.crop((left, top, left + width, top + height))


def _torchvision_v2() -> Any:
    try:
        from torchvision.transforms import v2
    except (ImportError, RuntimeError) as error:
        raise ImportError(
            f"transforms need torchvision, which cannot be imported here ({error}); install the "
            "torchvision build that belongs to your torch: pip install torchvision"
        ) from error
    return v2
