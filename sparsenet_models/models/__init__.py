"""The nets, their names and configurations. Importing it registers them; no weight is read here."""

from .densenet import DenseNet
from .fractalnet import FractalNet
from .registry import WEIGHTS_DIR, register_cards
from .resnet import ResNet
from .sparsenet import SparseNet

__all__ = ["DenseNet", "FractalNet", "ResNet", "SparseNet"]

register_cards(WEIGHTS_DIR)
