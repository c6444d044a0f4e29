"""Register the nets of a family's table, each with the family's tags; the family is imported later."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache, partial
from importlib import import_module
from typing import Any

from ..data.cifar import (
    CIFAR10_CLASSES,
    CIFAR10_MEAN,
    CIFAR10_STD,
    CIFAR100_CLASSES,
    CIFAR100_MEAN,
    CIFAR100_STD,
)
from ..data.tiny_imagenet_classes import TINY_IMAGENET_CLASSES, TINY_IMAGENET_MEAN, TINY_IMAGENET_STD
from .pretrained_cfg import PretrainedCfg
from .registry import BuildModel, register_lazily


def register_cifar_models(
    net: str,
    table: Mapping[str, dict[str, Any]],
    *,
    min_side: int = 8,
    pool_side: int = 8,
    first_conv: str | tuple[str, ...] = "stem.conv",
    **paper: str,
) -> None:
    """Register every net of ``table`` with the tags cifar10 (the default) and cifar100.

    Args:
        net: the family's class with its file in this folder, such as "sparsenet.SparseNet".
        table: by name, the arguments of each net.
        min_side: the smallest height and width in pixels that the nets take.
        pool_side: height and width of the last feature map for an image of 32x32 pixels.
        first_conv: name of the convolution that reads the image, or of all that do.
        **paper: ``paper_name`` and ``paper_ids``.
    """
    for name, arguments in table.items():
        common: dict[str, Any] = dict(
            architecture=name,
            input_size=(3, 32, 32),
            min_input_size=(3, min_side, min_side),
            pool_size=(pool_side, pool_side),
            crop_pct=1.0,
            first_conv=first_conv,
            classifier="head.fc",
            **paper,
        )
        cifar10 = PretrainedCfg(
            tag="cifar10",
            mean=CIFAR10_MEAN,
            std=CIFAR10_STD,
            num_classes=10,
            label_names=CIFAR10_CLASSES,
            **common,
        )
        cifar100 = PretrainedCfg(
            tag="cifar100",
            mean=CIFAR100_MEAN,
            std=CIFAR100_STD,
            num_classes=100,
            label_names=CIFAR100_CLASSES,
            **common,
        )
        _register(name, net, arguments, cifar10, cifar100)


def register_imagenet_models(net: str, table: Mapping[str, dict[str, Any]], **paper: str) -> None:
    """Register every net of ``table`` with the tags in1k (the default) and tiny_imagenet.

    Args:
        net: the family's class with its file in this folder, such as "sparsenet.SparseNet".
        table: by name, the arguments of each net.
        **paper: ``paper_name`` and ``paper_ids``.
    """
    for name, arguments in table.items():
        common: dict[str, Any] = dict(
            architecture=name,
            min_input_size=(3, 32, 32),
            first_conv="stem.conv",
            classifier="head.fc",
            **paper,
        )
        in1k = PretrainedCfg(tag="in1k", pool_size=(7, 7), num_classes=1000, **common)
        tiny_imagenet = PretrainedCfg(
            tag="tiny_imagenet",
            input_size=(3, 64, 64),
            pool_size=(2, 2),
            crop_pct=1.0,
            mean=TINY_IMAGENET_MEAN,
            std=TINY_IMAGENET_STD,
            num_classes=200,
            label_names=TINY_IMAGENET_CLASSES,
            **common,
        )
        _register(name, net, arguments, in1k, tiny_imagenet)


def _register(name: str, net: str, arguments: dict[str, Any], *cfgs: PretrainedCfg) -> None:
    file, _, class_name = net.partition(".")
    module = f"{__package__}.{file}"
    entrypoint = cache(partial(_entrypoint, name, module, class_name, arguments))
    register_lazily(name, module, entrypoint, {cfg.tag: cfg for cfg in cfgs})


def _entrypoint(name: str, module: str, class_name: str, arguments: dict[str, Any]) -> BuildModel:
    net = getattr(import_module(module), class_name)

    def entrypoint(**kwargs: Any) -> Any:
        return net(**{**arguments, **kwargs})

    entrypoint.__name__ = entrypoint.__qualname__ = name
    entrypoint.__module__ = module
    entrypoint.__doc__ = f"{class_name} with {arguments}."
    entrypoint.__signature__ = inspect.signature(net)  # type: ignore[attr-defined]
    return entrypoint
