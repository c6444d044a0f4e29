"""The training speed of nets on this machine, side by side, and their share of its fastest matrix product.

    python examples/benchmarks/training_speed.py sparsenet_bc_40_k12 densenet_bc_40_k12

The command beneath, `sparsenet benchmark --train`, has more engines; its options can be given here too.
"""

from __future__ import annotations

import sys

from sparsenet_models.cli import main

if __name__ == "__main__":
    main(["benchmark", "--train", "--engines", "compile", "--batch", "128", *sys.argv[1:]])
