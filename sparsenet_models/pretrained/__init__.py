"""Weights: found, fetched, verified, read, loaded, saved, pushed. No net is defined or trained here."""

from typing import TYPE_CHECKING

from ..common.lazy import lazy_exports

if TYPE_CHECKING:
    from .weight_file import read_metadata as read_metadata

_HOMES = {"read_metadata": "weight_file"}

__all__ = [*_HOMES]
__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
