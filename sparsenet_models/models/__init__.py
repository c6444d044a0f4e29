"""The families, one file each. Importing this package registers them."""

from .densenet import DenseNet
from .fractalnet import FractalNet
from .resnet import ResNet
from .sparsenet import SparseNet

__all__ = ["DenseNet", "FractalNet", "ResNet", "SparseNet"]
