"""Entry points of torch.hub: every model and every ``model.tag`` that ``list_models()`` names.

>>> model = torch.hub.load("path/to/this/repository", "sparsenet_bc_40_k12", source="local", pretrained=True)
"""

from functools import partial as _partial

from sparsenet_models import create_model as _create_model
from sparsenet_models import list_models as _list_models

dependencies = ["torch", "safetensors"]


def _entrypoint(name):
    entrypoint = _partial(_create_model, name)
    entrypoint.__doc__ = f"{name}; it takes the arguments of sparsenet_models.create_model."
    return entrypoint


globals().update({name: _entrypoint(name) for name in {*_list_models(), *_list_models(include_tags=True)}})
