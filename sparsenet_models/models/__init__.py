"""The nets, their names and configurations. Importing it registers them, without torch; no weight is read."""

from typing import TYPE_CHECKING

from ..common.lazy import lazy_exports
from . import families as families
from .registry import WEIGHTS_DIR, register_cards

if TYPE_CHECKING:
    from .densenet import DenseNet as DenseNet
    from .fractalnet import FractalNet as FractalNet
    from .resnet import ResNet as ResNet
    from .sparsenet import SparseNet as SparseNet

_HOMES = {"DenseNet": "densenet", "FractalNet": "fractalnet", "ResNet": "resnet", "SparseNet": "sparsenet"}

__all__ = ["DenseNet", "FractalNet", "ResNet", "SparseNet"]
__getattr__, __dir__ = lazy_exports(__name__, _HOMES)

register_cards(WEIGHTS_DIR)
