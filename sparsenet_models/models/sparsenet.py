"""SparseNet: each layer reads the outputs at exponentially growing distance.

Paper: Zhu, Deng, Maire, Deng, Mori, Tan, "Sparsely Aggregated Convolutional Networks", ECCV 2018, arXiv
1801.05895 (not the SparseNet of arXiv 1804.05340). Official code: Lyken17/SparseNet (MIT); nothing of
it is copied here, and the parameter counts equal those of its nets.

The official code's stem has k channels, as ours; the paper's counts (0.76M, 1.46M, 5.65M, 7.22M) are
those of a stem of 2k, which ``stem_channels`` gives. The ImageNet family has the counts of
pytorchcv's nets; the paper prints 4.51M, 6.23M, 7.22M and 14.91M for 121, 169, 201 and 201-48, which
no public code reaches. The ``sum`` merge is this library's. Code and weights: Apache-2.0.
"""

from __future__ import annotations

from typing import Any

from .aggregation_net import AggregationNet
from .entrypoints import cifar_table, register_cifar_models, register_imagenet_models


class SparseNet(AggregationNet):
    """A net whose layers each read O(log L) earlier outputs; arguments as ``AggregationNet`` tells.

    ``(N, in_chans, H, W) -> (N, num_classes)``.

    >>> SparseNet(depth=100, growth_rate=24, bottleneck=True)  # sparsenet_bc_100_k24
    >>> SparseNet(depth=40, growth_rate=12, aggregation=lambda layer: (layer - 1,))  # a plain chain
    """

    family_aggregation = "sparse"


_IMAGENET: dict[str, dict[str, Any]] = {
    name: dict(layers=layers, growth_rate=growth, bottleneck=True, stem="imagenet", num_classes=1000)
    for name, layers, growth in (
        ("sparsenet121", (6, 12, 24, 16), 32),
        ("sparsenet161", (6, 12, 36, 24), 48),
        ("sparsenet169", (6, 12, 32, 32), 32),
        ("sparsenet201", (6, 12, 48, 32), 32),
        ("sparsenet201_k48", (6, 12, 48, 32), 48),
        ("sparsenet264", (6, 12, 64, 48), 32),
    )
}

_PAPER: dict[str, Any] = dict(
    paper_name="Sparsely Aggregated Convolutional Networks", paper_ids="arXiv:1801.05895"
)

register_cifar_models(SparseNet, cifar_table("sparsenet"), **_PAPER)
register_imagenet_models(SparseNet, _IMAGENET, **_PAPER)
