"""How strongly the layers of a trained net weigh each earlier output that they read."""

from __future__ import annotations

from typing import cast

from torch import nn

from ..layers.blocks import PreActivationLayer
from ..layers.stage import Stage
from ..models.aggregation_net import AggregationNet

SourceWeights = dict[int, float]
"""By source, the mean absolute weight that one layer puts on it."""


def weight_maps(net: nn.Module) -> list[list[SourceWeights]]:
    """Return, for every stage and reader, the mean absolute weight of each source that it reads.

    A stage has N + 1 readers: its layers, and the reader of its output, which is the transition or, after
    the last stage, the classifier. The last reader is empty if the net has no classifier of that width.

    Args:
        net: a net whose stages merge by concat.

    Raises:
        ValueError: the net has no such stages.
    """
    if not isinstance(net, AggregationNet) or any(
        cast(Stage, stage).merge != "concat" for stage in net.stages
    ):
        raise ValueError(
            f"{type(net).__name__} has no stages merged by concat, where each source has weights of its own"
        )
    readers_of_output = [*(transition.conv for transition in net.transitions), net.head.fc]
    return [
        _weights_of_stage(cast(Stage, stage), cast(nn.Module, reader))
        for stage, reader in zip(net.stages, readers_of_output)
    ]


def _weights_of_stage(stage: Stage, reader_of_output: nn.Module) -> list[SourceWeights]:
    layers = [cast(PreActivationLayer, layer) for layer in stage.layers]
    last_convolutions = [layer.conv2 if layer.bottleneck else layer.conv1 for layer in layers]
    widths = [layers[0].conv1.in_channels, *(conv.out_channels for conv in last_convolutions)]
    weights = [*(layer.conv1.weight for layer in layers), getattr(reader_of_output, "weight", None)]
    readers: list[SourceWeights] = []
    for weight, sources in zip(weights, stage.sources):
        source_widths = [widths[source] for source in sources]
        if weight is None or weight.shape[1] != sum(source_widths):
            readers.append({})
            continue
        parts = weight.detach().abs().split(source_widths, dim=1)
        readers.append({source: part.mean().item() for source, part in zip(sources, parts)})
    return readers
