"""SparseNet and its relatives: convolutional nets whose layers read few earlier outputs.

The names below are resolved at first use, so that importing the package costs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .aggregation import StageGraph as StageGraph
    from .aggregation import dense_aggregation_indices as dense_aggregation_indices
    from .aggregation import sparse_aggregation_indices as sparse_aggregation_indices
    from .deprecation import register_model_deprecations as register_model_deprecations
    from .factory import create_model as create_model
    from .features import FeatureNet as FeatureNet
    from .folder import save_pretrained as save_pretrained
    from .freezing import freeze as freeze
    from .freezing import unfreeze as unfreeze
    from .hub import push_to_hub as push_to_hub
    from .models import DenseNet as DenseNet
    from .models import FractalNet as FractalNet
    from .models import ResNet as ResNet
    from .models import SparseNet as SparseNet
    from .pretrained import load_checkpoint as load_checkpoint
    from .pretrained_cfg import PretrainedCfg as PretrainedCfg
    from .registry import get_pretrained_cfg as get_pretrained_cfg
    from .registry import is_model as is_model
    from .registry import list_models as list_models
    from .registry import list_pretrained as list_pretrained
    from .registry import model_entrypoint as model_entrypoint
    from .registry import register_model as register_model
    from .registry import split_model_name_tag as split_model_name_tag
    from .transforms import create_transform as create_transform
    from .transforms import resolve_data_config as resolve_data_config

_HOME = {
    "DenseNet": "models",
    "FractalNet": "models",
    "FeatureNet": "features",
    "PretrainedCfg": "pretrained_cfg",
    "ResNet": "models",
    "SparseNet": "models",
    "StageGraph": "aggregation",
    "create_model": "factory",
    "create_transform": "transforms",
    "dense_aggregation_indices": "aggregation",
    "freeze": "freezing",
    "get_pretrained_cfg": "registry",
    "is_model": "registry",
    "list_models": "registry",
    "list_pretrained": "registry",
    "load_checkpoint": "pretrained",
    "model_entrypoint": "registry",
    "push_to_hub": "hub",
    "register_model": "registry",
    "register_model_deprecations": "deprecation",
    "resolve_data_config": "transforms",
    "save_pretrained": "folder",
    "sparse_aggregation_indices": "aggregation",
    "split_model_name_tag": "registry",
    "unfreeze": "freezing",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
