"""The analysis of a rule alone: the graph of one stage, which needs neither widths nor torch."""

from __future__ import annotations

from dataclasses import dataclass

from ..aggregation import StageGraph
from ..common.arguments import one_of
from .costs import Costs
from .graphs import GraphFigures, graph_figures

RULES = ("sparse", "dense", "resnet")


@dataclass(frozen=True)
class Analysis:
    """A row of the table: a rule at a depth, or a net.

    For a rule, ``depth`` is N, the layers of the stage, and ``costs`` is None. For a net, ``depth`` counts
    the convolutions and linear layers on the longest way, without projections; links are summed over the
    stages, and paths lead back to the input of the layer's own stage.
    """

    name: str
    depth: int
    graph: GraphFigures
    costs: Costs | None = None

    def row(self) -> dict[str, str | int | float | None]:
        """Return all figures by name; the costs of a rule are None."""
        costs = self.costs._asdict() if self.costs else dict.fromkeys(Costs._fields)
        return {"name": self.name, "depth": self.depth, **self.graph._asdict(), **costs}


def analyze_rule(rule: str, depth: int, base: int = 2) -> Analysis:
    """Analyse one stage of ``depth`` layers under a rule; ``stage_costs`` returns its costs.

    Examples:
        >>> analyze_rule("sparse", 1024).graph.path_max
        10

    Args:
        rule: "sparse", "dense", or "resnet" (dense, computed as a running sum).
        depth: N, from 1.
        base: offset base of the sparse rule.

    Raises:
        TypeError: a number is not an integer.
        ValueError: the rule is unknown or a number is out of range.
    """
    one_of("rule", rule, RULES)
    running_sum = rule == "resnet"
    graph = StageGraph(depth, "dense" if running_sum else rule, base)
    return Analysis(rule, graph.num_layers, graph_figures(graph, running_sum=running_sum))
