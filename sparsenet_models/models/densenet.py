"""DenseNet: each layer reads every earlier output. The dense twins of the SparseNets.

Paper: Huang, Liu, van der Maaten, Weinberger, "Densely Connected Convolutional Networks", CVPR 2017,
arXiv 1608.06993. The layout is that of its CIFAR nets, so that a twin differs from its SparseNet in
the aggregation rule and the stem (2k channels) alone. Code and weights: Apache-2.0.
"""

from __future__ import annotations

from .aggregation_net import AggregationNet
from .entrypoints import cifar_table, register_cifar_models


class DenseNet(AggregationNet):
    """A net whose layers each read all earlier outputs; arguments as ``AggregationNet`` tells.

    ``(N, in_chans, H, W) -> (N, num_classes)``.

    >>> DenseNet(depth=100, growth_rate=12, bottleneck=True)  # densenet_bc_100_k12
    """

    family_aggregation = "dense"


register_cifar_models(
    DenseNet,
    cifar_table("densenet"),
    paper_name="Densely Connected Convolutional Networks",
    paper_ids="arXiv:1608.06993",
)
