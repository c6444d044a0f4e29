"""A stage: layers, the graph of who reads whom, and the merge that makes one tensor of what is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..aggregation import StageGraph
from ..common.arguments import one_of
from .checkpointing import Checkpointable, checkpointed
from .widths import MERGES


class Stage(Checkpointable):
    """N layers, each of which reads the earlier outputs that the graph names, merged by concat or sum.

    ``(N, in_channels, H, W) -> (N, out_channels, H', W')``, where ``H', W'`` is the size that the layers
    return.

    Args:
        graph: which outputs each layer reads.
        merge: "concat" joins along channels, in the order of the graph; "sum" adds up and needs
            outputs of one width.
        in_channels: channels of output 0, the stage's input.
        width: channels of the other outputs.
        make_layer: called with a layer's number (1 ... N) and its input channels, returns the layer, which
            must return ``width`` channels.

    Attributes:
        sources: the outputs that layer 1 ... N + 1 reads; layer N + 1 is the stage's own output.
        running_sum: whether a layer reads the sum before it plus one output more, as in a ResNet: merge
            "sum" under the dense rule. The floating-point result equals adding all outputs up, oldest first.
        out_channels: channels of the stage's output.

    Raises:
        ValueError: ``merge`` is unknown, or it is "sum" and ``in_channels != width``.
    """

    first_computed = 1
    """The first output that a layer computes."""

    def __init__(
        self,
        graph: StageGraph,
        merge: str,
        in_channels: int,
        width: int,
        make_layer: Callable[[int, int], nn.Module],
    ) -> None:
        super().__init__()
        one_of("merge", merge, MERGES)
        if merge == "sum" and in_channels != width:
            raise ValueError(
                f"merge='sum' needs one width in a stage, got in_channels={in_channels}, width={width}"
            )
        self.merge = merge
        self.running_sum = merge == "sum" and graph.reads_everything
        # The graph itself is not kept: a user's rule may be a function that cannot be pickled.
        self.sources = [graph.inputs(layer) for layer in range(1, graph.num_layers + 2)]
        self.read_last = _read_last(self.sources)
        channels = [in_channels] + [width] * graph.num_layers
        if merge == "sum":
            merged = [width] * (graph.num_layers + 1)
        else:
            merged = [sum(channels[source] for source in sources) for sources in self.sources]
        self.layers = nn.ModuleList(make_layer(layer, merged[layer - 1]) for layer in range(1, len(merged)))
        self.out_channels = merged[-1]

    @property
    def skips_layers(self) -> bool:
        """Whether the rule leaves out layers: the stage's output does not depend on what they compute."""
        needed = set(self.sources[-1])
        for layer in range(len(self.layers), 1, -1):
            if layer in needed:
                needed.update(self.sources[layer - 1])
        return not needed.issuperset(range(self.first_computed, len(self.sources)))

    def forward(self, x: Tensor) -> Tensor:
        return self._continue({0: x})

    def _continue(self, outputs: dict[int, Tensor]) -> Tensor:
        """Run the layers that have no output yet; return the stage's output.

        Args:
            outputs: the outputs so far, 0 and what the first layers returned, by number.
        """
        first = len(outputs)
        remaining = list(self.layers)[first - 1 :]
        if self.running_sum:
            total = self._merged(list(outputs.values()))
            for layer in remaining:
                total = total + self._run(layer, [total])
            return total
        for read in self.read_last[: first - 1]:
            for output in read:
                del outputs[output]
        # By position: torch 2.4's compiler does not know the keyword `start`.
        for number, layer in enumerate(remaining, first):
            outputs[number] = self._run(layer, [outputs[source] for source in self.sources[number - 1]])
            for output in self.read_last[number - 1]:
                del outputs[output]  # frees its memory
        return self._merged([outputs[source] for source in self.sources[-1]])

    def _run(self, layer: nn.Module, read: list[Tensor]) -> Any:
        """Return the output of ``layer``; with checkpointing only the tensors that it reads are kept."""
        if not self.recomputes:
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


def _read_last(sources: list[tuple[int, ...]]) -> list[list[int]]:
    """Return, for layer 1 ... N + 1, the outputs that no later layer reads, its own too."""
    made_by = {output: output - 1 for output in range(1, len(sources))}
    last_reader = made_by | {output: index for index, read in enumerate(sources) for output in read}
    read_last: list[list[int]] = [[] for _ in sources]
    for output, index in last_reader.items():
        read_last[index].append(output)
    return read_last
