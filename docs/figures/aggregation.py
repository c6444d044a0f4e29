"""Draw docs/figures/aggregation.png: which earlier outputs each layer reads, sparse beside dense.

Run it from the repository root: python docs/figures/aggregation.py (needs the extra "docs").
"""

from pathlib import Path

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.patches import Arc

from sparsenet_models.aggregation import StageGraph

matplotlib.use("agg")

LAYERS = 16
SHOWN = LAYERS  # the layer whose own links are emphasised
DARK, PALE, ACCENT = "#1a1a1a", "#b9c4cf", "#0072b2"  # told apart in grey, too


def draw(axes, rule: str, title: str) -> None:
    """Draw the outputs as points on a line and every link as an arc above it."""
    graph = StageGraph(LAYERS, rule)
    for source, layer in graph.links():
        own = layer == SHOWN
        arc = Arc(
            ((source + layer) / 2, 0),
            layer - source,
            (layer - source) * 0.62,
            theta1=0,
            theta2=180,
            color=ACCENT if own else PALE,
            linewidth=2.2 if own else 1.0,
            zorder=2 if own else 1,
        )
        axes.add_patch(arc)
    axes.scatter(range(LAYERS + 1), [0] * (LAYERS + 1), s=34, color=DARK, zorder=3)
    for output in {*graph.inputs(SHOWN), SHOWN}:
        if rule == "sparse" or output in (0, 8, SHOWN):
            axes.text(output, -0.75, str(output), ha="center", va="top", fontsize=10, color=DARK)
    axes.set_title(title, fontsize=13, loc="left")
    axes.set_xlim(-0.7, LAYERS + 0.7)
    axes.set_ylim(-1.6, 5.4)
    axes.set_aspect("equal")
    axes.axis("off")


def main() -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 3.2))
    sparse, dense = (StageGraph(LAYERS, rule).link_count() for rule in ("sparse", "dense"))
    draw(left, "sparse", f"SparseNet: {sparse} links over {LAYERS} layers (blue: read by layer {SHOWN})")
    draw(right, "dense", f"DenseNet: {dense} links over {LAYERS} layers (blue: read by layer {SHOWN})")
    figure.tight_layout()
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    main()
