"""A stage: layers, the graph of who reads whom, and the merge that makes one tensor of what is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..aggregation import StageGraph
from .checkpointing import checkpointed

MERGES = ("concat", "sum")


class Checkpointable(nn.Module):
    """A module that can compute its inner activations anew in the backward pass."""

    grad_checkpointing = False

    def run(self, layer: nn.Module, x: Tensor) -> Tensor:
        """Return ``layer(x)``, checkpointed where that is asked for."""
        return checkpointed(layer, layer, x) if self.grad_checkpointing and self.training else layer(x)


class Stage(Checkpointable):
    """N layers, each fed with the earlier outputs that the graph names, merged by concat or sum.

    ``(N, in_channels, H, W) -> (N, out_channels, H', W')``, where ``H', W'`` are what the layers leave.

    Args:
        graph: which outputs each layer reads.
        merge: "concat" joins along channels, in the order of the graph; "sum" adds up and needs
            outputs of one width.
        in_channels: channels of output 0, by default the stage's input.
        width: channels that each layer makes.
        make_layer: called with a layer's input channels, returns the layer, which must make
            ``width`` channels.
        first_layer: takes the place of layer 1 and maps the stage's input to output 0 and output 1, a
            pair. For a stage whose outputs have another shape than what enters it.

    With merge "sum" and the dense rule every sum is the one before it and one output more: a running
    sum, as in a ResNet, whose floating-point result is that of adding up anew, oldest first.

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
        first_layer: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if merge not in MERGES:
            raise ValueError(f"merge must be one of {MERGES}, got {merge!r}")
        if merge == "sum" and in_channels != width:
            raise ValueError(
                f"merge='sum' needs one width in a stage, got in_channels={in_channels}, width={width}"
            )
        self.merge = merge
        self.runs_sum = merge == "sum" and graph.aggregation == "dense"
        self.sources = [graph.inputs(layer) for layer in range(1, graph.num_layers + 2)]
        last = {source: layer for layer, sources in enumerate(self.sources) for source in sources}
        self.read_last: list[list[int]] = [[] for _ in self.sources]
        for output, layer in last.items():
            self.read_last[layer].append(output)
        widths = [in_channels] + [width] * graph.num_layers
        merged = [
            width if merge == "sum" else sum(widths[source] for source in sources) for sources in self.sources
        ]
        self.makes_output_0 = first_layer is not None
        made = [] if first_layer is None else [first_layer]
        self.layers = nn.ModuleList(made + [make_layer(channels) for channels in merged[len(made) : -1]])
        self.out_channels = merged[-1]

    def forward(self, x: Tensor) -> Tensor:
        made = self._run(self.layers[0], [x]) if self.makes_output_0 else (x,)
        outputs: dict[int, Tensor] = dict(enumerate(made))
        first = len(outputs)
        if self.runs_sum:
            total = self._merged(list(made))
            for layer in list(self.layers)[first - 1 :]:
                total = total + self._run(layer, [total])
            return total
        # By position: torch 2.4's compiler does not know the keyword `start`.
        for number, layer in enumerate(list(self.layers)[first - 1 :], first):
            outputs[number] = self._run(layer, [outputs[source] for source in self.sources[number - 1]])
            for output in self.read_last[number - 1]:  # their memory is free from here on
                del outputs[output]
        return self._merged([outputs[source] for source in self.sources[-1]])

    def _run(self, layer: nn.Module, read: list[Tensor]) -> Any:
        if not (self.grad_checkpointing and self.training):
            return layer(self._merged(read))
        return checkpointed(lambda *read: layer(self._merged(list(read))), layer, *read)

    def _merged(self, read: list[Tensor]) -> Tensor:
        if len(read) == 1:
            return read[0]
        if self.merge == "concat":
            return torch.cat(read, dim=1)
        total = read[0]
        for output in read[1:]:
            total = total + output
        return total
