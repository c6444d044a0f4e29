"""create_model: the one door to every net, with or without weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .common.arguments import integer, keywords_of
from .common.messages import did_you_mean
from .models.classifier_net import ClassifierNet
from .models.feature_net import FeatureNet
from .models.pretrained_cfg import NO_METRICS, PretrainedCfg, cfg_of
from .models.registry import get_pretrained_cfg, model_entrypoint
from .pretrained.load import load_into, load_pretrained
from .pretrained.source import described_elsewhere


def create_model(
    model_name: str,
    pretrained: bool = False,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    checkpoint_path: str | PathLike[str] | None = None,
    pretrained_cfg_overlay: Mapping[str, Any] | None = None,
    cache_dir: str | PathLike[str] | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    features_only: bool = False,
    out_indices: int | Sequence[int] | None = None,
    **model_kwargs: Any,
) -> nn.Module:
    """Build a net by name, in train mode and float32, with or without weights.

    >>> model = create_model("sparsenet_bc_100_k24", pretrained=True).eval()
    >>> logits = model(images)  # (N, 3, 32, 32) -> (N, 10)

    Args:
        model_name: ``architecture`` or ``architecture.tag``; ``list_models()`` names them. Or
            ``hf-hub:org/name[@revision]``, a repository of the Hub, or ``local-dir:path``, a folder:
            their config.json tells architecture and arguments, which arguments here replace.
        pretrained: load the weights of the tag, the repository or the folder.
        num_classes: classes of the head, 0 for none; default the tag's. With weights for another
            number the head is new and untrained, everything else is loaded.
        in_chans: input channels, default 3. Weights for three are adapted, as timm does.
        checkpoint_path: a weight file of your own, in place of ``pretrained``, of any layout that
            ``load_checkpoint`` reads. Its head must fit, unless ``num_classes`` says otherwise.
        pretrained_cfg_overlay: keys of the pretrained configuration to replace, for instance
            ``dict(file="my.safetensors")``.
        cache_dir: where fetched weights are kept, default the Hub's own cache (``HF_HUB_CACHE``); bundled
            ones are read where they are.
        device: where the net is built.
        dtype: floating-point type of the net, after loading.
        features_only: return a ``FeatureNet``, which returns feature maps in place of logits.
        out_indices: with ``features_only``, which maps, in which order; the last so many for a positive
            number; None for all.
        **model_kwargs: arguments of the net's class; those that are None are left out.

    Raises:
        ValueError: unknown name or tag, no weights under the tag, a file that does not fit, an
            argument out of range, a configuration that is refused. The message names the nearest right
            one.
        TypeError: an argument that the net does not take, or of the wrong type.
        OSError: a weight file is missing, or cannot be fetched or read. Hub errors keep their class, such
            as ``huggingface_hub.errors.RepositoryNotFoundError``.
    """
    model_kwargs = {key: value for key, value in model_kwargs.items() if value is not None}
    described = described_elsewhere(model_name, cache_dir)
    if described is None:
        cfg = get_pretrained_cfg(model_name)
        entrypoint = model_entrypoint(cfg.architecture)
    else:
        entrypoint, cfg = model_entrypoint(described.architecture), described.cfg
    if model_kwargs:
        cfg = replace(cfg, **NO_METRICS)
    if described is not None:
        model_kwargs = {**described.model_args, **model_kwargs}
        if in_chans is not None:
            model_kwargs.pop("in_chans", None)
    if pretrained_cfg_overlay:
        cfg = cfg.overlaid(pretrained_cfg_overlay)
    if out_indices is not None and not features_only:
        raise ValueError(f"out_indices={out_indices!r} goes with features_only=True")
    if pretrained and checkpoint_path is not None:
        raise ValueError("give one of pretrained=True and checkpoint_path, not both")
    if num_classes is not None:
        num_classes = integer("num_classes", num_classes, minimum=0)
    elif features_only and model_kwargs.get("global_pool") == "":
        num_classes = 0
    if in_chans is not None:
        in_chans = integer("in_chans", in_chans, minimum=1)
    if dtype is not None and not isinstance(dtype, torch.dtype):
        raise TypeError(f"dtype must be a torch.dtype such as torch.float16, got {dtype!r}")
    classes = cfg.num_classes if num_classes is None else num_classes
    channels = cfg.input_size[0] if in_chans is None and cfg.input_size[0] != 3 else in_chans
    kwargs = {"num_classes": classes, "in_chans": channels, **model_kwargs}
    kwargs = {key: value for key, value in kwargs.items() if value is not None}
    _check_keywords(model_name, entrypoint, kwargs)

    with nullcontext() if device is None else torch.device(device):
        model = entrypoint(**kwargs)
    model.pretrained_cfg = _cfg_dict(model, cfg)  # type: ignore[assignment]
    model.model_args = kwargs  # type: ignore[assignment]
    new_head = num_classes is not None or features_only
    if pretrained:
        path = load_pretrained(model, cfg, new_head=new_head, cache_dir=cache_dir)
        cfg_of(model)["file"] = str(path)
    elif checkpoint_path is not None:
        load_into(model, Path(checkpoint_path), new_head=new_head, headless=True, new_stem=True)
    if features_only:
        if not isinstance(model, ClassifierNet):
            raise ValueError(f"features_only needs a net of this library's families, {model_name!r} is none")
        model = FeatureNet(model, out_indices)
    return model.to(device=device, dtype=dtype)


def _check_keywords(name: str, entrypoint: Callable[..., nn.Module], kwargs: Mapping[str, Any]) -> None:
    """Raise a TypeError with the nearest right word for a keyword that the net does not take."""
    taken = keywords_of(entrypoint)
    if taken is None:
        return
    known = {*taken, *inspect.signature(create_model).parameters} - {"model_kwargs"}
    for keyword in kwargs:
        if keyword not in taken:
            raise TypeError(f"{name!r} takes no argument {keyword!r}{did_you_mean(keyword, known)}")


def _cfg_dict(model: nn.Module, cfg: PretrainedCfg) -> dict[str, Any]:
    """Return ``cfg`` as a dict, with the fields that the net's own head and stem decide."""
    if not cfg.has_data_config:
        # Registered without a configuration: what images it wants is not known, and not made up.
        return {"architecture": cfg.architecture, "num_classes": getattr(model, "num_classes", None)}
    classes = getattr(model, "num_classes", cfg.num_classes)
    channels = getattr(model, "in_chans", cfg.input_size[0])
    changes: dict[str, Any] = {"num_classes": classes}
    if classes != cfg.num_classes:
        changes |= NO_METRICS
    if cfg.label_names is not None and classes != len(cfg.label_names):
        changes["label_names"] = None
    if channels != cfg.input_size[0]:
        changes["input_size"] = (channels, *cfg.input_size[1:])
        changes["mean"] = _per_channel(cfg.mean, channels)
        changes["std"] = _per_channel(cfg.std, channels)
        if cfg.min_input_size is not None:
            changes["min_input_size"] = (channels, *cfg.min_input_size[1:])
    return cfg.overlaid(changes).to_dict()


def _per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Return statistics for another number of channels: the mean for one, else repeated."""
    if channels == 1:
        return (sum(values) / len(values),)
    return tuple(values[index % len(values)] for index in range(channels))
