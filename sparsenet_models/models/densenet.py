"""DenseNet: each layer reads every earlier output. The dense twins of the SparseNets.

Paper: Huang, Liu, van der Maaten, Weinberger, "Densely Connected Convolutional Networks", CVPR 2017,
arXiv 1608.06993. The layout is that of its CIFAR nets: a twin differs from its SparseNet only in the
aggregation rule and the stem, which has 2k channels. Code and weights: Apache-2.0.
"""

from __future__ import annotations

from .aggregation_net import AggregationNet


class DenseNet(AggregationNet):
    """A net whose layers each read all earlier outputs: ``(B, in_chans, H, W) -> (B, num_classes)``.

    **Rule.** Output 0 of a stage is its input, output l is layer l's. Layer l reads the outputs 0, 1, ...,
    l - 1, and the stage's own output is all of them.

    **Layer.** BN-ReLU-conv3x3 makes k channels (``growth_rate``) from the outputs that it reads, joined
    along channels. With ``bottleneck``, BN-ReLU-conv1x1 to 4k channels comes first.

    **Net**, for CIFAR at depth L: N = (L - 4) // 3 layers in each stage, N // 2 with ``bottleneck``::

        stem            conv3x3 to 2k channels          32x32
        stages.0        N layers
        transitions.0   BN-ReLU-conv1x1, average pool   16x16   keeps all channels, half with bottleneck
        stages.1        N layers
        transitions.1   BN-ReLU-conv1x1, average pool    8x8
        stages.2        N layers
        norm, act       BN-ReLU
        head            global average, linear

    ``AggregationNet`` documents the arguments.

    Examples:
        >>> DenseNet(depth=100, growth_rate=12, bottleneck=True)  # densenet_bc_100_k12
    """

    family_aggregation = "dense"
