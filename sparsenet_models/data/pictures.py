"""From a picture file to a PIL image: the formats that are read, and what becomes of their modes."""

from __future__ import annotations

import warnings
from contextlib import suppress
from functools import cache
from os import PathLike
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps

NOT_PICTURES = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "IPTC", "MCIDAS", "MPEG", "SPIDER", "WMF"}
"""Formats of Pillow that are not opened. EPS is a program that Ghostscript would run, and IPTC may hold one;
WMF needs Windows, MPEG and the others are films, tables or measurements without a range of grey."""


@cache
def picture_formats() -> tuple[str, ...]:
    """Return Pillow's names of the formats that are read, those of its plugins too."""
    Image.init()
    return tuple(name for name in Image.ID if name not in NOT_PICTURES)


@cache
def picture_suffixes() -> frozenset[str]:
    """Return the endings of file names that are read, such as ``.png``."""
    formats = picture_formats()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


def open_image(path: str | PathLike[str], channels: int = 3) -> Image.Image:
    """Open an image file upright, in RGB, or grey for ``channels=1``; transparent parts become white.

    Files of more than ``PIL.Image.MAX_IMAGE_PIXELS`` pixels, 89 million by default, are refused.

    Raises:
        OSError: the file is missing, cannot be read or is not an image; the message names the file.
    """
    try:
        # Opening a pipe without a writer would wait for ever.
        if (file := Path(path)).exists() and not file.is_file() and not file.is_dir():
            raise OSError(f"{path} is no file but a pipe or a device: write the image into a file first")
        with file.open("rb") as content:
            return read_image(content, str(path), channels)
    except FileNotFoundError:
        raise FileNotFoundError(f"image not found: {path}") from None
    except IsADirectoryError:
        raise IsADirectoryError(f"{path} is a folder, not an image") from None
    except PermissionError:
        raise PermissionError(f"image cannot be read, permission denied: {path}") from None


def read_image(file: IO[bytes], name: str, channels: int = 3) -> Image.Image:
    """Read an image as ``open_image`` does; ``name`` is what errors call it.

    Raises:
        OSError: it is damaged, too large, or not an image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=picture_formats()) as image:
                image.load()
                with suppress(Exception):  # the metadata are damaged, the picture is not
                    ImageOps.exif_transpose(image, in_place=True)
                return to_channels(image, channels)
    except Image.UnidentifiedImageError:
        raise OSError(f"no image that Pillow can read: {name}") from None
    except MemoryError:
        raise
    # For a damaged file Pillow's readers raise SyntaxError, TypeError, struct.error and others.
    except Exception as error:
        raise OSError(f"damaged or unsupported image: {name} ({error})") from error


def to_channels(image: Image.Image, channels: int = 3) -> Image.Image:
    """Convert a PIL image of any mode to RGB, or with ``channels=1`` to grey.

    Raises:
        ValueError: its numbers have no known range: floating-point ones, or integers outside 16 bits.
    """
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of no known range: save it with 8 or 16 bits")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode == "I":
        image = _eight_bits(np.asarray(image), has_sixteen=image.format == "PPM")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("L" if channels == 1 else "RGB")


def _eight_bits(values: np.ndarray, has_sixteen: bool) -> Image.Image:
    """Return 32-bit integers as 8-bit grey: they hold 8 bits or, by older versions of Pillow, 16.

    Those of a PGM file always hold 16.
    """
    least, most = int(values.min()), int(values.max())
    if least < 0 or most > 65535:
        raise ValueError(f"its pixels are from {least:,} to {most:,}: save it with 8 or 16 bits")
    return Image.fromarray((values >> 8 if has_sixteen or most > 255 else values).astype(np.uint8))
