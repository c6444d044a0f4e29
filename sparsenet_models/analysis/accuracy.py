"""Error, parameters and multiply-adds of every net whose error on CIFAR is known: ours and published ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from torch import nn

from ..factory import create_model
from ..layers.stage import Stage
from ..models.aggregation_net import AggregationNet
from ..models.fractalnet import FractalNet
from ..models.listing import list_pretrained
from ..models.registry import get_pretrained_cfg, split_model_name_tag
from ..models.resnet import ResNet
from .nets import analyze_model
from .published import PUBLISHED

DATA_SETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
"""Data sets by the tag of the weights; a tag such as ``cifar100_kd`` is a variant of ``cifar100``."""


class AccuracyPoint(NamedTuple):
    """A net's top-1 error in percent on one data set, and its costs.

    ``source`` is who measured it, with the family; ``net`` is the net's name within its family.
    """

    source: str
    net: str
    data: str
    error: float
    parameters: int
    macs: int


def accuracy_points() -> list[AccuracyPoint]:
    """Return a point for each registered weight and each published error.

    Registered nets that belong to no family of this library are left out.
    """
    ours, published = [], []
    for name in list_pretrained():
        cfg = get_pretrained_cfg(name)
        data = DATA_SETS.get(cfg.tag.split("_")[0])
        family = family_of(create_model(name, device="meta"))
        if data is not None and cfg.top1 is not None and family is not None:
            ours.append(_point(f"this library, {family}", name, data, 100 - cfg.top1))
    for result in PUBLISHED:
        for tag, error in (("cifar10", result.cifar10), ("cifar100", result.cifar100)):
            if error is not None:
                name = f"{result.model}.{tag}"
                published.append(_point(result.source, name, DATA_SETS[tag], error, result.arguments))
    return [*ours, *published]


def family_of(net: nn.Module) -> str | None:
    """Return the family of a net, by its class and its aggregation rule; None for any other module.

    A SparseNet that reads every earlier output is a DenseNet, and the other way round.
    """
    if isinstance(net, FractalNet):
        return "FractalNet"
    if isinstance(net, (AggregationNet, ResNet)):
        sources = [cast(Stage, stage).sources for stage in net.stages]
        dense = all(len(read) == layer for stage in sources for layer, read in enumerate(stage, start=1))
        if isinstance(net, ResNet):
            return "ResNet" if dense else "sparse ResNet"
        return "DenseNet" if dense else "SparseNet"
    return None


def short_name(name: str, family: str, arguments: Mapping[str, Any] | None = None) -> str:
    """Return the part of a name that distinguishes a net within its family.

    >>> short_name("sparsenet_bc_100_k24.cifar10", "SparseNet")
    'bc_100_k24'

    Args:
        name: ``architecture`` or ``architecture.tag``.
        family: the family, as ``family_of`` returns it.
        arguments: arguments of ``create_model``; a ``depth`` or ``growth_rate`` replaces that of the name.
    """
    kind = split_model_name_tag(name)[0].removeprefix(family.lower().replace(" ", "_")).removeprefix("_")
    kind, k, rate = kind.partition("_k")
    if arguments and "depth" in arguments:
        kind = f"{kind.rpartition('_')[0]}_{arguments['depth']}"
    if arguments and "growth_rate" in arguments:
        growth_rate = arguments["growth_rate"]
        rate = "_".join(map(str, growth_rate if isinstance(growth_rate, tuple) else (growth_rate,)))
    return f"{kind}{k}{rate}"


def _point(
    source: str, name: str, data: str, error: float, arguments: Mapping[str, Any] | None = None
) -> AccuracyPoint:
    net = create_model(name, device="meta", **(arguments or {}))
    costs = analyze_model(net).costs
    assert costs is not None
    label = short_name(name, family_of(net) or "", arguments)
    return AccuracyPoint(source, label, data, error, costs.parameters, costs.macs)
