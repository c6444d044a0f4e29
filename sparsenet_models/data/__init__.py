"""Image sets and transforms; prediction and evaluation of any model. Nothing here knows a model by name."""

from typing import TYPE_CHECKING

from ..common.lazy import lazy_exports

if TYPE_CHECKING:
    from .datasets import load_image_set as load_image_set
    from .evaluate import normalised as normalised
    from .image_set import ImageSet as ImageSet

_HOMES = {"ImageSet": "image_set", "load_image_set": "datasets", "normalised": "evaluate"}

__all__ = [*_HOMES]
__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
