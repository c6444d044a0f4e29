"""Settings of the interactive diagram, docs/explore.md, and what the library counts for them."""

from __future__ import annotations

import random
from typing import Any

from sparsenet_models.aggregation import StageGraph
from sparsenet_models.analysis import analyze_rule, stage_costs
from sparsenet_models.analysis.graphs import graph_figures
from support.repository import REPOSITORY

PAGE = REPOSITORY / "docs" / "explore.md"
SCRIPTS = REPOSITORY / "docs" / "explore"


def random_settings(count: int) -> list[dict[str, Any]]:
    generator = random.Random(20)
    settings = []
    for _ in range(count):
        rule = generator.choice(["sparse", "dense", "resnet", "own"])
        others = generator.sample(range(2, 65), generator.randint(0, 12))
        settings.append(
            {
                "depth": generator.randint(1, 64),
                "rule": rule,
                "base": generator.randint(2, 8),
                "offsets": sorted([1, *others]),
                "merge": "sum" if rule == "resnet" else generator.choice(["concat", "sum"]),
            }
        )
    return settings


def library_graph(setting: dict[str, Any]) -> StageGraph:
    rule, offsets = setting["rule"], setting["offsets"]
    if rule == "own":
        return StageGraph(setting["depth"], lambda layer: [layer - o for o in offsets if o <= layer])
    return StageGraph(setting["depth"], "dense" if rule == "resnet" else rule, setting["base"])


def library_figures(setting: dict[str, Any]) -> dict[str, int]:
    graph, merge = library_graph(setting), setting["merge"]
    if setting["rule"] == "resnet":
        figures = analyze_rule("resnet", setting["depth"]).graph
    else:
        # As the nets compute it: see `Stage.running_sum`.
        figures = graph_figures(graph, running_sum=merge == "sum" and graph.reads_everything)
    costs = stage_costs(graph, merge, width=12)
    return {
        "links": figures.links,
        "links_unrolled": figures.links_unrolled,
        "parameters": costs.parameters,
        "macs": costs.macs,
        "live_outputs": figures.live_outputs,
        "shortest_path": figures.shortest_path,
    }
