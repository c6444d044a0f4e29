"""Write the table of docs/models.md: `python docs/models.py`.

It comes from `sparsenet_models/weights/results.csv`, the sizes of the weight files, and `docs/speed.csv`. On
a quiet machine, this writes the latter:

    sparsenet benchmark sparsenet_bc_40_k12 sparsenet_bc_100_k12 sparsenet_bc_100_k24 densenet_bc_40_k12 \
        resnet_20 sparse_resnet_20 --engines optimize --batch 1,64 --rounds 15 --csv docs/speed.csv
"""

from __future__ import annotations

import csv
import re
import textwrap
from pathlib import Path

from sparsenet_models import get_pretrained_cfg
from sparsenet_models.models.registry import WEIGHTS_DIR

PAGE = Path(__file__).parent / "models.md"
SPEED = Path(__file__).parent / "speed.csv"
TABLE = re.compile(
    r"(?<=<!-- python docs/models.py writes this table -->\n\n).*?(?=\n\n<!-- its end -->)", re.DOTALL
)
HEADER = ("weight", "error", "parameters", "multiply-adds", "ms at batch 1", "at batch 64", "MiB")


def page() -> str:
    """Return the page's text with its table written anew."""
    return TABLE.sub(lambda _: table(), PAGE.read_text(encoding="utf-8"))


def table() -> str:
    """Return the table: a row for each weight, by data set and error."""
    with SPEED.open(encoding="utf-8") as file:
        speed = list(csv.DictReader(file))
    milliseconds = {(row["net"], int(row["batch"])): float(row["ms_per_image"]) for row in speed}
    with (WEIGHTS_DIR / "results.csv").open(encoding="utf-8") as file:
        weights = sorted(csv.DictReader(file), key=lambda row: (row["data"], -float(row["top1"])))
    rows = [HEADER, ("---",) + ("---:",) * (len(HEADER) - 1)]
    for weight in weights:
        net = weight["name"].partition(".")[0]
        times = (milliseconds.get((net, batch)) for batch in (1, 64))
        rows.append(
            (
                f"`{weight['name']}`",
                f"{100 - float(weight['top1']):.2f}%",
                f"{int(weight['num_params']):,}",
                f"{int(weight['macs']) / 1e6:.1f}M",
                *("not measured" if time is None else f"{time:.2f}" for time in times),
                f"{(get_pretrained_cfg(weight['name']).file_size or 0) / 2**20:.2f}",
            )
        )
    run = speed[0]
    caption = (
        f"Milliseconds for an image of 32x32: medians of {run['rounds']} rounds, `optimize`, "
        f"{run['dtype']}, on {run['cores']} cores of an {run['processor']} with {run['capability']}, torch "
        f"{run['torch'].partition('+')[0]}; the fastest matrix product reached "
        f"{float(run['peak_gflops']):.0f} GFLOP/s. MiB: the weight file. Multiply-adds are at the size of "
        "the weight's images: 96x96 for `tiny_imagenet_kd`, 64x64 for `tiny_imagenet`, 32x32 for the others."
    )
    return "\n".join(
        [
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
            *textwrap.wrap(caption, 120, break_on_hyphens=False),
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
