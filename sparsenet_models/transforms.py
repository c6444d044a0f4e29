"""From an image file to the tensor that a net expects, on Pillow and torchvision.transforms.v2."""

from __future__ import annotations

import math
import warnings
from os import PathLike
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageOps

from .suggest import did_you_mean

if TYPE_CHECKING:
    from torch import nn
    from torchvision.transforms import v2

SMALL_IMAGE = 64
"""Up to this many pixels a side, training crops come from a padded image, not a part of it."""


def resolve_data_config(model: nn.Module) -> dict[str, Any]:
    """Return how images reach ``model``, as keywords of ``create_transform``.

    ``input_size`` is ``(channels, height, width)``; ``mean`` and ``std`` are per channel with pixels
    in [0, 1].

    Raises:
        ValueError: the net has no pretrained configuration; ``create_model`` gives it one.
    """
    cfg = getattr(model, "pretrained_cfg", None)
    if not cfg:
        raise ValueError(
            f"{type(model).__name__} has no pretrained_cfg to read the data config from; build it "
            "with create_model(name), or pass input_size, mean and std to create_transform yourself"
        )
    keys = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")
    return {key: cfg[key] for key in keys}


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

    For evaluation: resize so that the shorter side is ``size / crop_pct``, crop the centre. For
    training on images up to 64 pixels: resize, reflect-pad by an eighth, random crop, random flip;
    on larger ones: random resized crop, random flip.

    >>> transform = create_transform(**resolve_data_config(model))

    Args:
        input_size: ``(channels, height, width)``; one channel takes grey images, three colour.
        is_training: random crops and flips instead of the centre.
        mean: of each channel, pixels in [0, 1].
        std: of each channel, likewise.
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos".
        crop_pct: share of the shorter side that the crop keeps, in (0, 1].
        crop_mode: "center" is the only one.

    Raises:
        ValueError: an argument is out of range.
        ImportError: torchvision cannot be imported.
    """
    import torch

    v2 = _torchvision_v2()
    return v2.Compose(
        [
            _geometry(input_size, is_training, interpolation, crop_pct, crop_mode),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(mean), list(std)),
        ]
    )


def create_crop(
    input_size: tuple[int, int, int],
    *,
    interpolation: str = "bicubic",
    crop_pct: float = 1.0,
    crop_mode: str = "center",
    **_normalisation: Any,
) -> v2.Compose:
    """Return the part of the evaluation transform that takes a PIL image to a cropped PIL image."""
    return _geometry(input_size, False, interpolation, crop_pct, crop_mode)


def open_image(path: str | PathLike[str], channels: int = 3) -> Image.Image:
    """Open an image file upright, in RGB or (``channels=1``) grey; transparent parts become white.

    Raises:
        OSError: the file is missing, cannot be read or is no image; the message names it.
    """
    try:
        # Pillow warns of images over 89 million pixels and refuses those over twice as many.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return to_channels(ImageOps.exif_transpose(image), channels)
    except FileNotFoundError:
        raise FileNotFoundError(f"image not found: {path}") from None
    except IsADirectoryError:
        raise IsADirectoryError(f"{path} is a folder, not an image") from None
    except PermissionError:
        raise PermissionError(f"image cannot be read, permission denied: {path}") from None
    except Image.UnidentifiedImageError:
        raise OSError(f"no image that Pillow can read: {path}") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise OSError(f"damaged or unsupported image: {path} ({error})") from error


def to_channels(image: Image.Image, channels: int = 3) -> Image.Image:
    """Convert a PIL image of any mode to RGB, or with ``channels=1`` to grey."""
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("L" if channels == 1 else "RGB")


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
    if not 0.0 < crop_pct <= 1.0:
        raise ValueError(f"crop_pct must be in (0, 1], got {crop_pct!r}")
    if len(input_size) != 3 or min(input_size) < 1:
        raise ValueError(f"input_size must be (channels, height, width), got {input_size!r}")
    _, height, width = input_size
    mode = modes[interpolation]
    if is_training and max(height, width) > SMALL_IMAGE:
        steps = [
            v2.RandomResizedCrop((height, width), interpolation=mode),
            v2.RandomHorizontalFlip(),
        ]
    elif is_training:
        steps = [
            v2.Resize(min(height, width), interpolation=mode),
            v2.CenterCrop((height, width)),
            v2.RandomCrop((height, width), padding=min(height, width) // 8, padding_mode="reflect"),
            v2.RandomHorizontalFlip(),
        ]
    else:
        shorter = math.floor(min(height, width) / crop_pct)
        steps = [v2.Resize(shorter, interpolation=mode), v2.CenterCrop((height, width))]
    return v2.Compose(steps)


def _torchvision_v2() -> Any:
    try:
        from torchvision.transforms import v2
    except (ImportError, RuntimeError) as error:
        raise ImportError(
            f"transforms need torchvision, which cannot be imported here ({error}); install the "
            "torchvision build that belongs to your torch: pip install torchvision"
        ) from error
    return v2
