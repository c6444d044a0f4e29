"""The families, one file each. Importing this package registers them."""

from .densenet import DenseNet
from .sparsenet import SparseNet

__all__ = ["DenseNet", "SparseNet"]
