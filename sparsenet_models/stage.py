"""A stage: layers, the graph of who reads whom, and the merge that makes one tensor of what is read."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .aggregation import StageGraph

MERGES = ("concat", "sum")


class Stage(nn.Module):
    """N layers, each fed with the earlier outputs that the graph names, merged by concat or sum.

    ``(N, in_channels, H, W) -> (N, out_channels, H', W')``, where ``H', W'`` are what the layers leave.

    Args:
        graph: which outputs each layer reads.
        merge: "concat" joins along channels, in the order of the graph; "sum" adds up and needs
            outputs of one width.
        in_channels: channels of output 0, the stage's input.
        width: channels that each layer makes.
        make_layer: called with a layer's input channels, returns the layer, which must make
            ``width`` channels.

    Raises:
        ValueError: ``merge`` is unknown, or it is "sum" and ``in_channels != width``.
    """

    def __init__(
        self,
        graph: StageGraph,
        merge: str,
        in_channels: int,
        width: int,
        make_layer: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        if merge not in MERGES:
            raise ValueError(f"merge must be one of {MERGES}, got {merge!r}")
        if merge == "sum" and in_channels != width:
            raise ValueError(
                f"merge='sum' needs one width in a stage, got in_channels={in_channels}, width={width}"
            )
        self.merge = merge
        self.sources = [graph.inputs(layer) for layer in range(1, graph.num_layers + 2)]
        widths = [in_channels] + [width] * graph.num_layers
        merged = [
            width if merge == "sum" else sum(widths[source] for source in sources) for sources in self.sources
        ]
        self.layers = nn.ModuleList(make_layer(channels) for channels in merged[:-1])
        self.out_channels = merged[-1]

    def forward(self, x: Tensor) -> Tensor:
        outputs = [x]
        for layer, sources in zip(self.layers, self.sources):
            outputs.append(layer(self._merged(outputs, sources)))
        return self._merged(outputs, self.sources[-1])

    def _merged(self, outputs: list[Tensor], sources: tuple[int, ...]) -> Tensor:
        if len(sources) == 1:
            return outputs[sources[0]]
        if self.merge == "concat":
            return torch.cat([outputs[source] for source in sources], dim=1)
        total = outputs[sources[0]]
        for source in sources[1:]:
            total = total + outputs[source]
        return total
