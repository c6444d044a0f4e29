"""Every net and tag of this library in timm's registry.

Examples:
    >>> from sparsenet_models.integrations.timm import register
    >>> register()
    >>> model = timm.create_model("sparsenet_bc_40_k12.cifar10", pretrained=True)

timm builds the nets and loads their weights with its own code, so all of its functions work as for its own
nets. Feature maps come from its ``FeatureGetterNet``, which calls the net's ``forward_intermediates``. Any
other ``feature_cls`` is refused with a ValueError: timm's other wrappers take a net apart, or return the maps
of unsorted ``out_indices`` in another order.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from ..common.extras import pip_install
from ..factory import create_model
from ..models.listing import list_models
from ..models.pretrained_cfg import PretrainedCfg, pretrained_cfg_of
from ..models.registry import get_pretrained_cfg
from ..pretrained.fetch import verified_file

try:
    import timm
    from timm.models._features import FeatureGetterNet
except ImportError as error:
    raise ImportError(f"the package timm cannot be imported ({error}): {pip_install('timm')}") from error

default_cfgs: dict[str, Any] = {}
"""timm's configurations by architecture; timm's ``register_model`` requires this name."""


def register() -> list[str]:
    """Add every registered net to timm's registry; return the names under which timm builds our nets.

    A second call adds the nets that were registered since the first. A name that timm's registry has for
    another net keeps that net; one warning lists all such names.
    """
    from timm.models import generate_default_cfgs, is_model, model_entrypoint, register_model

    taken, registered = [], []
    for name in list_models():
        if not is_model(name):
            default_cfgs.update(generate_default_cfgs(_timm_cfgs(name)))
            globals()[name] = register_model(_entrypoint(name))
        elif model_entrypoint(name).__module__ != __name__:
            taken.append(name)
            continue
        registered.append(name)
    if taken:
        warnings.warn(
            f"timm's registry has other nets named {', '.join(taken)}, which it keeps; "
            "sparsenet_models.create_model builds those of this library",
            stacklevel=2,
        )
    return registered


def _entrypoint(name: str) -> Callable[..., nn.Module]:
    """Return the function that timm calls to build ``name``."""

    def entrypoint(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        feature_cls = kwargs.get("feature_cls", "getter")
        is_getter = feature_cls is None or feature_cls is FeatureGetterNet
        if not is_getter and str(feature_cls).lower() != "getter":
            raise ValueError(
                f"feature_cls of {name} must be 'getter', which is its default; got {feature_cls!r}"
            )
        cfg, overlay = kwargs.pop("pretrained_cfg", None), kwargs.pop("pretrained_cfg_overlay", None) or {}
        if overlay.get("url") or overlay.get("hf_hub_id"):  # timm would prefer the tag's own file
            overlay = {"file": None, "hf_hub_id": None, "hf_hub_filename": None, **overlay}
        if pretrained:
            _check_sha256(name, cfg, overlay, kwargs.get("cache_dir"))
        kwargs.setdefault("pretrained_filter_fn", partial(_complete_state, name))
        return timm.models.build_model_with_cfg(
            partial(create_model, name),
            name,
            pretrained,
            feature_cfg={"out_indices": None, "feature_cls": "getter"},
            pretrained_cfg=_without_our_fields(cfg) if isinstance(cfg, Mapping) else cfg,
            pretrained_cfg_overlay=_without_our_fields(overlay),
            **kwargs,
        )

    entrypoint.__name__ = entrypoint.__qualname__ = name
    entrypoint.__doc__ = f"{name} of sparsenet_models."
    return entrypoint


def _check_sha256(name: str, timm_cfg: Any, overlay: Mapping[str, Any], cache_dir: Any) -> None:
    """Verify the file that timm is about to load, if its configuration has a sha256.

    Args:
        name: the net.
        timm_cfg: timm's ``pretrained_cfg``: a tag, a dict or an object; None for the default tag.
        overlay: the keys to replace in it.
        cache_dir: folder of fetched weights.

    Raises:
        ValueError: the file has another sha256, or the tag has no weights.
    """
    if overlay.get("state_dict"):
        return
    by_tag = timm_cfg is None or isinstance(timm_cfg, str)
    if by_tag:
        cfg = get_pretrained_cfg(f"{name}.{timm_cfg}" if timm_cfg else name)
    else:
        cfg = PretrainedCfg(**_our_fields(timm_cfg if isinstance(timm_cfg, Mapping) else vars(timm_cfg)))
    cfg = cfg.overlaid(_our_fields(overlay))
    # For a tag without weights, verified_file raises an error that lists the tags with weights.
    if cfg.sha256 is not None or (by_tag and not cfg.has_weights and not overlay.get("url")):
        verified_file(cfg, cache_dir)


def _our_fields(cfg: Mapping[str, Any]) -> dict[str, Any]:
    fields = {field.name for field in dataclasses.fields(PretrainedCfg)}
    return {key: value for key, value in cfg.items() if key in fields}


def _without_our_fields(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``cfg`` without the fields that only this library has, such as sha256."""
    fields = {field.name for field in dataclasses.fields(timm.models.PretrainedCfg)}
    return {key: value for key, value in cfg.items() if key in fields or key not in _our_fields(cfg)}


def _complete_state(name: str, state: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """Return ``state`` unchanged if all of it fits: with a new head, timm drops every tensor that does not.

    Raises:
        ValueError: a tensor outside the head is missing or unexpected.
    """
    head = f"{pretrained_cfg_of(model).classifier or 'head.fc'}."
    # Old files lack num_batches_tracked, and torch loads them.
    differing = (key for key in state.keys() ^ model.state_dict().keys() if not key.endswith("_tracked"))
    if misfits := sorted(key for key in differing if not key.startswith(head)):
        raise ValueError(
            f"the pretrained weights do not fit the {name} that these arguments make, {len(misfits)} tensors "
            f"differ, {misfits[0]!r} first: leave out what changes its layers, such as norm_layer"
        )
    return state


def _timm_cfgs(name: str) -> dict[str, Any]:
    """Return timm's configurations of a net, by ``architecture.tag``; a star marks the default tag.

    That comes last, as timm would prefer a later tag with weights to it.
    """
    default = f"{name}.{get_pretrained_cfg(name).tag}"
    others = [full for full in list_models(name, include_tags=True) if full not in (name, default)]
    cfgs = {full: _timm_cfg(get_pretrained_cfg(full)) for full in others}
    return cfgs | {f"{default}*": _timm_cfg(get_pretrained_cfg(default))}


def _timm_cfg(cfg: PretrainedCfg) -> Any:
    """Return the fields that timm has too, as timm's ``PretrainedCfg``."""
    shared = {field.name for field in dataclasses.fields(timm.models.PretrainedCfg)}
    values = {name: getattr(cfg, name) for name in shared if getattr(cfg, name, None) is not None}
    if cfg.hf_hub_id is not None and cfg.revision is not None:
        values["hf_hub_id"] = f"{cfg.hf_hub_id}@{cfg.revision}"
    return timm.models.PretrainedCfg(**values)
