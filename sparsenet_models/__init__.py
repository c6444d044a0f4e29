"""SparseNet and its relatives: convolutional nets whose layers read few earlier outputs.

The names below are imported at their first use, so that importing the package does not import torch.
"""

import sys
from typing import TYPE_CHECKING

from ._moved import MOVED, MovedModules
from ._version import __version__ as __version__
from .common.lazy import lazy_exports

if TYPE_CHECKING:
    from .aggregation import StageGraph as StageGraph
    from .aggregation import dense_aggregation_indices as dense_aggregation_indices
    from .aggregation import sparse_aggregation_indices as sparse_aggregation_indices
    from .data.transforms import create_transform as create_transform
    from .data.transforms import resolve_data_config as resolve_data_config
    from .data.transforms import resolve_model_data_config as resolve_model_data_config
    from .factory import create_model as create_model
    from .models.densenet import DenseNet as DenseNet
    from .models.feature_net import FeatureNet as FeatureNet
    from .models.fractalnet import FractalNet as FractalNet
    from .models.freezing import freeze as freeze
    from .models.freezing import unfreeze as unfreeze
    from .models.listing import list_models as list_models
    from .models.listing import list_pretrained as list_pretrained
    from .models.names import split_model_name_tag as split_model_name_tag
    from .models.param_groups import param_groups_layer_decay as param_groups_layer_decay
    from .models.pretrained_cfg import PretrainedCfg as PretrainedCfg
    from .models.registry import get_pretrained_cfg as get_pretrained_cfg
    from .models.registry import is_model as is_model
    from .models.registry import model_entrypoint as model_entrypoint
    from .models.registry import register_model as register_model
    from .models.registry import register_model_deprecations as register_model_deprecations
    from .models.resnet import ResNet as ResNet
    from .models.sparsenet import SparseNet as SparseNet
    from .optimization.optimize import optimize as optimize
    from .pretrained.load import load_checkpoint as load_checkpoint
    from .pretrained.push import push_to_hub as push_to_hub
    from .pretrained.save import save_pretrained as save_pretrained

_HOMES = {
    "DenseNet": "models.densenet",
    "FeatureNet": "models.feature_net",
    "FractalNet": "models.fractalnet",
    "PretrainedCfg": "models.pretrained_cfg",
    "ResNet": "models.resnet",
    "SparseNet": "models.sparsenet",
    "StageGraph": "aggregation",
    "create_model": "factory",
    "create_transform": "data.transforms",
    "dense_aggregation_indices": "aggregation",
    "freeze": "models.freezing",
    "get_pretrained_cfg": "models.registry",
    "is_model": "models.registry",
    "list_models": "models.listing",
    "list_pretrained": "models.listing",
    "load_checkpoint": "pretrained.load",
    "model_entrypoint": "models.registry",
    "optimize": "optimization.optimize",
    "param_groups_layer_decay": "models.param_groups",
    "push_to_hub": "pretrained.push",
    "register_model": "models.registry",
    "register_model_deprecations": "models.registry",
    "resolve_data_config": "data.transforms",
    "resolve_model_data_config": "data.transforms",
    "save_pretrained": "pretrained.save",
    "sparse_aggregation_indices": "aggregation",
    "split_model_name_tag": "models.names",
    "unfreeze": "models.freezing",
}

__all__ = ["__version__", *_HOMES]
__getattr__, __dir__ = lazy_exports(__name__, _HOMES)

sys.meta_path.append(MovedModules(__name__, MOVED))
