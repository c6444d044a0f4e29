"""create_model: every net, by name, with or without weights."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import torch
from torch import nn

from .common.arguments import check_keywords, integer
from .common.files import local_path
from .models.classifier_net import ClassifierNet
from .models.feature_net import FeatureNet
from .models.meta import building_on
from .models.names import with_tag
from .models.pretrained_cfg import IMAGE_KEYS, NO_COSTS, NO_METRICS, PretrainedCfg
from .pretrained.config_json import ModelSource
from .pretrained.fetch import verified_file
from .pretrained.load import load_into, warn_of_untrained_head
from .pretrained.source import find_model
from .pretrained.weight_file import described_by, read_weight_description


def create_model(
    model_name: str,
    pretrained: bool = False,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    checkpoint_path: str | PathLike[str] | None = None,
    pretrained_cfg: str | Mapping[str, Any] | PretrainedCfg | None = None,
    pretrained_cfg_overlay: Mapping[str, Any] | None = None,
    cache_dir: str | PathLike[str] | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    features_only: bool = False,
    out_indices: int | Sequence[int] | None = None,
    **model_kwargs: Any,
) -> nn.Module:
    """Build a net by name, in train mode and float32, with or without weights.

    Examples:
        >>> model = create_model("sparsenet_bc_100_k24", pretrained=True).eval()
        >>> logits = model(images)  # (N, 3, 32, 32) -> (N, 10)

    Args:
        model_name: ``architecture`` or ``architecture.tag``; ``list_models()`` names them. Or
            ``hf-hub:org/name[@revision]``, a repository of the Hub, or ``local-dir:path``, a folder by
            ``save_pretrained``: their config.json gives architecture and arguments; arguments given here
            replace those. Or ``local-dir:path`` of a training run's folder, or of a weight file by ``train``.
        pretrained: load the weights of the tag, the repository or the folder. Each load compares the file
            with its sha256.
        num_classes: number of classes of the head, 0 for no head; default that of the weights. If the
            weights have another number, the head is new and untrained, and everything else is loaded. If
            they have the same number, their head and class names are kept; ``reset_classifier`` makes a new
            one.
        in_chans: number of input channels; default that of the weights' configuration, else 3. Weights for
            three are adapted, as timm does.
        checkpoint_path: a weight file of your own, in place of ``pretrained``, of any layout that
            ``load_checkpoint`` reads. Its metadata, where it has them, name its classes and their number,
            and the image configuration; otherwise those of the tag in ``model_name`` or of
            ``pretrained_cfg`` hold.
        pretrained_cfg: in place of the configuration of ``model_name``: a tag, a ``PretrainedCfg``, or a
            dict of its fields. The architecture stays that of ``model_name``, and so does what a dict leaves
            out of the image configuration.
        pretrained_cfg_overlay: keys of the pretrained configuration to replace, for instance
            ``dict(file="my.safetensors")``.
        cache_dir: where fetched weights are kept, default the Hub's own cache (``HF_HUB_CACHE``). Bundled
            weights are not copied there.
        device: where the net is built.
        dtype: floating-point type of the net, after loading.
        features_only: return a ``FeatureNet``, which returns feature maps in place of logits.
        out_indices: with ``features_only``, the indices of the maps, in the order of the result; a positive
            number n stands for the last n; None for all.
        **model_kwargs: arguments of the net's class; None stands for the default.

    Raises:
        ValueError: unknown name or tag, a tag without weights, a file that does not fit, an argument
            out of range, a configuration that is refused. The message names the nearest right one.
        TypeError: an argument that the net does not take, or of the wrong type.
        OSError: a weight file is missing, or cannot be fetched or read. Hub errors keep their class, such
            as ``huggingface_hub.errors.RepositoryNotFoundError``.
    """
    model_kwargs = {key: value for key, value in model_kwargs.items() if value is not None}
    checkpoint_path = local_path(checkpoint_path) if checkpoint_path else None  # timm's scripts pass ""
    if out_indices is not None and not features_only:
        raise ValueError(f"out_indices={out_indices!r} goes with features_only=True")
    if pretrained and checkpoint_path is not None:
        raise ValueError("give one of pretrained=True and checkpoint_path, not both")
    if dtype is not None and not isinstance(dtype, torch.dtype):
        raise TypeError(f"dtype must be a torch.dtype such as torch.float16, got {dtype!r}")

    source = _source(model_name, pretrained_cfg, cache_dir)
    cfg = source.cfg
    if checkpoint_path is not None:
        _, description = read_weight_description(checkpoint_path)
        has_own_names = pretrained_cfg is not None or any(mark in model_name for mark in ".:")
        cfg = described_by(description, checkpoint_path, cfg, keep_names=has_own_names)
    cfg = _changed(cfg, source.model_args, model_kwargs, pretrained_cfg_overlay or {})
    arguments = {"num_classes": cfg.num_classes, **source.model_args, **model_kwargs}
    if num_classes is not None:
        arguments["num_classes"] = integer("num_classes", num_classes, minimum=0)
    elif features_only and arguments.get("global_pool") == "":
        arguments["num_classes"] = 0
    if in_chans is not None:
        arguments["in_chans"] = integer("in_chans", in_chans, minimum=1)
    elif cfg.input_size is not None and cfg.input_size[0] != 3:
        arguments.setdefault("in_chans", cfg.input_size[0])
    arguments = {key: value for key, value in arguments.items() if value is not None}
    check_keywords(model_name, source.entrypoint, arguments, also=_KEYWORDS)

    with building_on(device):
        model = source.entrypoint(**arguments)
    if features_only and not isinstance(model, ClassifierNet):
        raise ValueError(f"features_only needs a net of this library's families, {model_name!r} is not one")
    model.pretrained_cfg = cfg.dict_for(model, arguments.get("num_classes"))  # type: ignore[assignment]
    model.model_args = arguments  # type: ignore[assignment]

    new_head = num_classes is not None or features_only
    if pretrained:
        path = verified_file(cfg, cache_dir)
        load_into(model, path, new_head=new_head, headless=cfg.num_classes == 0, new_stem=True)
        model.pretrained_cfg = {**model.pretrained_cfg, "file": str(path)}  # type: ignore[assignment,dict-item]
    elif checkpoint_path is not None:
        keeps_head = load_into(model, checkpoint_path, new_head=new_head, headless=True, new_stem=True)
        if keeps_head and not features_only and getattr(model, "num_classes", None) != 0:
            warn_of_untrained_head(checkpoint_path)
    if features_only:
        model = FeatureNet(model, out_indices)  # type: ignore[arg-type]
    return model.to(device=device, dtype=dtype)


def _source(
    model_name: str,
    pretrained_cfg: str | Mapping[str, Any] | PretrainedCfg | None,
    cache_dir: str | PathLike[str] | None,
) -> ModelSource:
    """Return what ``model_name`` stands for, with ``pretrained_cfg`` in place of its own configuration."""
    if isinstance(pretrained_cfg, str):
        return find_model(with_tag(model_name, pretrained_cfg), cache_dir)
    source = find_model(model_name, cache_dir)
    if pretrained_cfg is None:
        return source
    if isinstance(pretrained_cfg, PretrainedCfg):
        cfg = pretrained_cfg
    elif isinstance(pretrained_cfg, Mapping):
        kept = {key: getattr(source.cfg, key) for key in (*IMAGE_KEYS, "classifier")}
        cfg = PretrainedCfg(**kept).overlaid(pretrained_cfg, "pretrained_cfg")
    else:
        raise TypeError(
            "pretrained_cfg must be a tag, a sparsenet_models.PretrainedCfg or a dict of its fields, got a "
            f"{type(pretrained_cfg).__module__}.{type(pretrained_cfg).__name__}"
        )
    return replace(source, cfg=replace(cfg, architecture=source.cfg.architecture))


def _changed(
    cfg: PretrainedCfg,
    saved_args: Collection[str],
    model_kwargs: Collection[str],
    overlay: Mapping[str, Any],
) -> PretrainedCfg:
    """Return ``cfg`` without what arguments of the net make wrong, and with the keys of ``overlay``."""
    if model_kwargs:
        cfg = replace(cfg, **NO_METRICS, **NO_COSTS)
    if not _CHANGE_MAPS.isdisjoint((*saved_args, *model_kwargs)):
        cfg = replace(cfg, pool_size=None)
    return replace(cfg.overlaid(overlay), architecture=cfg.architecture)


_CHANGE_MAPS = {"output_stride", "stem", "layers", "widths"}
"""The arguments that may change the size of a net's last map."""

_KEYWORDS = inspect.signature(create_model).parameters.keys() - {"model_kwargs"}
"""The keywords of ``create_model`` itself, which the error about an unknown one may suggest."""
