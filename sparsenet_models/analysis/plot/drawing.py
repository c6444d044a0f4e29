"""What the pictures share: colours, an empty figure, the look of the axes, and the file."""

from __future__ import annotations

import hashlib
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...common.extras import pip_install
from ...common.files import atomic_write
from ...common.messages import did_you_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DARK, PALE = "#1a1a1a", "#b9c4cf"
BLUE, ORANGE, GREEN, PINK, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9"
DPI = 130

FAMILY_STYLES = {
    "SparseNet": (BLUE, "o"),
    "DenseNet": (ORANGE, "^"),
    "ResNet": (GREEN, "D"),
    "sparse ResNet": (GREEN, "s"),
    "FractalNet": (PINK, "v"),
}
"""Colour and marker by family."""

DATA_KEY = "data-sha256"
"""The text chunk of a PNG file that has ``data_sha256`` of the figure."""


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches.

    Raises:
        ImportError: matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"pictures need matplotlib: {pip_install('plots')}") from error
    return Figure(figsize=(width, height), layout="constrained")


def style_axes(axes: Axes) -> None:
    """Draw a pale grid behind the curves, and no frame above and on the right."""
    axes.grid(True, which="major", color="#d9d9d9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=13)
    axes.spines[["top", "right"]].set_visible(False)


def tick_step(layers: int) -> int:
    """Return the power of two that puts about eight ticks on an axis of layers."""
    return max(1, 2 ** round(math.log2(max(1, layers / 8))))


def data_sha256(figure: Figure) -> str:
    """Return a hash of the texts and numbers that a figure shows, and not of how it looks.

    Numbers count to four digits, the rounding of a zero not at all.
    """
    import numpy as np
    from matplotlib.collections import Collection
    from matplotlib.image import AxesImage
    from matplotlib.lines import Line2D

    def rounded(numbers: Any) -> list[str]:
        values: np.ndarray = np.ma.filled(np.ma.asarray(numbers, dtype=float), np.nan).ravel()
        noise = 1e-9 * np.nanmax(np.abs(values), initial=0.0)
        return [f"{0.0 if abs(value) <= noise else value:.3e}" for value in values]

    shown: list[Any] = []
    for axes in figure.axes:
        shown += [axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()]
        for artist in axes.get_children():
            if isinstance(artist, Line2D):
                shown += [artist.get_label(), rounded(artist.get_xdata()), rounded(artist.get_ydata())]
            elif isinstance(artist, AxesImage):
                shown.append(rounded(artist.get_array()))
            elif isinstance(artist, Collection):
                shown += [
                    rounded(artist.get_offsets()),
                    *(rounded(path.vertices) for path in artist.get_paths()),
                ]
        shown += [text.get_text() for text in axes.texts]
    return hashlib.sha256(repr(shown).encode()).hexdigest()


def write_figure(figure: Figure, path: str | Path) -> None:
    """Write the figure in the format of the path's suffix, PNG without one.

    A PNG file has the hash of its data as a text, by which a stale picture is found.

    Raises:
        ValueError: matplotlib does not know the format.
        OSError: the file cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(path.parent)!r} to write {path.name!r} into")
    picture = io.BytesIO()
    format = path.suffix.lstrip(".").lower() or "png"
    formats = sorted(figure.canvas.get_supported_filetypes())
    if format not in formats:
        hint = did_you_mean(format, formats)
        raise ValueError(f"the format of {path} is not one of {', '.join(formats)}{hint}")
    metadata = {DATA_KEY: data_sha256(figure)} if format == "png" else None
    figure.savefig(picture, dpi=DPI, format=format, metadata=metadata)
    with atomic_write(path) as (temporary,):
        temporary.write_bytes(picture.getvalue())
