"""Links, fan-in and paths of a stage's graph, in exact integers: no net is built, no torch imported.

- **links**: the outputs that the layers 1 ... N read. *Unrolled* counts every earlier output that reaches a
  layer, *as computed* every tensor that a layer reads. The two differ where a sum or a mean is kept and
  read again: a ResNet's running sum is N links as computed and N (N + 1) / 2 unrolled.
- **fan-in** and **path** are those of the unrolled graph. The path of layer l is the fewest links from
  output l back to output 0, the shortest way of a gradient (Zhu et al., arXiv 1801.05895, table 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..aggregation import StageGraph


class GraphFigures(NamedTuple):
    """The figures of one stage's graph, or of all stages of a net; the module's docstring defines them.

    ``shortest_path`` is the path of the last layer; ``path_mean`` and ``path_max`` are taken over all
    layers. ``live_outputs`` is the most outputs that wait for a reader at once.
    """

    layers: int
    links: int
    links_unrolled: int
    fan_in_mean: float
    fan_in_max: int
    shortest_path: int
    path_mean: float
    path_max: int
    live_outputs: int


def graph_figures(graph: StageGraph, *, running_sum: bool = False) -> GraphFigures:
    """Return the figures of one stage's graph.

    Args:
        graph: the unrolled graph.
        running_sum: every layer reads one tensor, a sum or mean that is kept.
    """
    layers, unrolled = graph.num_layers, graph.link_count()
    return GraphFigures(
        layers=layers,
        links=layers if running_sum else unrolled,
        links_unrolled=unrolled,
        fan_in_mean=unrolled / layers,
        fan_in_max=graph.max_fan_in(),
        shortest_path=graph.shortest_path(),
        path_mean=graph.total_path() / layers,
        path_max=graph.longest_path(),
        live_outputs=1 if running_sum else graph.most_waiting(),
    )


def combined(stages: Sequence[GraphFigures]) -> GraphFigures:
    """Return the figures of a net from those of its stages, first to last."""
    layers = sum(stage.layers for stage in stages)
    unrolled = sum(stage.links_unrolled for stage in stages)
    return GraphFigures(
        layers=layers,
        links=sum(stage.links for stage in stages),
        links_unrolled=unrolled,
        fan_in_mean=unrolled / layers,
        fan_in_max=max(stage.fan_in_max for stage in stages),
        shortest_path=stages[-1].shortest_path,
        path_mean=sum(stage.path_mean * stage.layers for stage in stages) / layers,
        path_max=max(stage.path_max for stage in stages),
        live_outputs=max(stage.live_outputs for stage in stages),
    )
