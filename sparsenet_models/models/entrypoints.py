"""From a family's table to registered entrypoints, with the tags that every net of it has."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ..data.cifar import (
    CIFAR10_CLASSES,
    CIFAR10_MEAN,
    CIFAR10_STD,
    CIFAR100_CLASSES,
    CIFAR100_MEAN,
    CIFAR100_STD,
)
from .pretrained_cfg import PretrainedCfg
from .registry import register_model

CIFAR_SIZES: dict[str, dict[str, Any]] = {
    "40_k12": dict(depth=40, growth_rate=12),
    "40_k24": dict(depth=40, growth_rate=24),
    "100_k12": dict(depth=100, growth_rate=12),
    "100_k24": dict(depth=100, growth_rate=24),
    "100_k36": dict(depth=100, growth_rate=36),
    "bc_40_k12": dict(depth=40, growth_rate=12, bottleneck=True),
    "bc_100_k12": dict(depth=100, growth_rate=12, bottleneck=True),
    "bc_100_k24": dict(depth=100, growth_rate=24, bottleneck=True),
    "bc_100_k36": dict(depth=100, growth_rate=36, bottleneck=True),
    "bc_100_k64": dict(depth=100, growth_rate=64, bottleneck=True),
    "bc_100_k16_32_64": dict(depth=100, growth_rate=(16, 32, 64), bottleneck=True),
    "bc_100_k32_64_128": dict(depth=100, growth_rate=(32, 64, 128), bottleneck=True),
}
"""The CIFAR nets' arguments. SparseNets and their dense twins share them, so that twins they stay."""


def cifar_table(family: str) -> dict[str, dict[str, Any]]:
    """Return the arguments of ``family`` in every CIFAR size, by name."""
    return {f"{family}_{size}": arguments for size, arguments in CIFAR_SIZES.items()}


def register_cifar_models(
    net: type[nn.Module],
    table: Mapping[str, dict[str, Any]],
    *,
    min_side: int = 8,
    pool_side: int = 8,
    first_conv: str | tuple[str, ...] = "stem.conv",
    **paper: str,
) -> None:
    """Register every net of ``table`` (name -> arguments) with the tags cifar10 and cifar100.

    Args:
        net: the family's class.
        table: the arguments of each net.
        min_side: the smallest height and width in pixels that the nets take.
        pool_side: height and width in pixels of the last map of a 32x32 image.
        first_conv: name of the convolution that reads the image, or the names of all that do.
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
        tagged = {cfg.tag: cfg for cfg in (cifar10, cifar100)}
        register_model(pretrained_cfgs=tagged)(_entrypoint(name, net, arguments))


def register_imagenet_models(net: type[nn.Module], table: Mapping[str, dict[str, Any]], **paper: str) -> None:
    """Register every net of ``table`` (name -> arguments) with the tag in1k, for 224x224 images."""
    for name, arguments in table.items():
        fields: dict[str, Any] = dict(paper)
        cfg = PretrainedCfg(
            architecture=name,
            tag="in1k",
            min_input_size=(3, 32, 32),
            pool_size=(7, 7),
            num_classes=1000,
            first_conv="stem.conv",
            classifier="head.fc",
            **fields,
        )
        register_model(pretrained_cfgs={cfg.tag: cfg})(_entrypoint(name, net, arguments))


def _entrypoint(name: str, net: type[nn.Module], arguments: dict[str, Any]) -> Callable[..., nn.Module]:
    def entrypoint(**kwargs: Any) -> nn.Module:
        return net(**{**arguments, **kwargs})

    entrypoint.__name__ = entrypoint.__qualname__ = name
    entrypoint.__doc__ = f"{net.__name__} with {arguments}."
    entrypoint.__signature__ = inspect.signature(net)  # type: ignore[attr-defined]
    return entrypoint
