"""SparseNet: each layer reads the outputs at exponentially growing distance.

Paper: Zhu, Deng, Maire, Deng, Mori, Tan, "Sparsely Aggregated Convolutional Networks", ECCV 2018, arXiv
1801.05895 (not the SparseNet of arXiv 1804.05340). Official code: Lyken17/SparseNet (MIT); no line of it is
copied here, and the parameter counts equal those of its nets.

The stem has k channels, as in the official code. The paper's counts (0.76M, 1.46M, 5.65M, 7.22M) need a
stem of 2k channels, which ``stem_channels`` gives. The counts of the ImageNet nets equal those of
pytorchcv's nets; the paper prints 4.51M, 6.23M, 7.22M and 14.91M for 121, 169, 201 and 201-48, which no
public code reaches. The ``sum`` merge is this library's own, and so are the norms' biases of a new net, 1
instead of 0 (``layers.norms.start_near_linear``). Code and weights: Apache-2.0.
"""

from __future__ import annotations

from .aggregation_net import AggregationNet


class SparseNet(AggregationNet):
    """A net whose layers each read O(log N) earlier outputs: ``(B, in_chans, H, W) -> (B, num_classes)``.

    **Rule.** Output 0 of a stage is its input, output l is layer l's. Layer l reads the outputs l - 1, l - 2,
    l - 4, l - 8, ... (with ``base=b``: l - 1, l - b, l - b**2, ...), and so does the stage's own output::

        layer   1  2    3    4      5      6      7      8
        reads   0  1 0  2 1  3 2 0  4 3 1  5 4 2  6 5 3  7 6 4 0

    **Layer.** BN-ReLU-conv3x3 makes k channels (``growth_rate``) from the outputs that it reads, joined
    along channels. With ``bottleneck``, BN-ReLU-conv1x1 to 4k channels comes first.

    **Net**, for CIFAR at depth L: N = (L - 4) // 3 layers in each stage, N // 2 with ``bottleneck``::

        stem            conv3x3 to k channels           32x32
        stages.0        N layers
        transitions.0   BN-ReLU-conv1x1, average pool   16x16   keeps all channels, half with bottleneck
        stages.1        N layers
        transitions.1   BN-ReLU-conv1x1, average pool    8x8
        stages.2        N layers
        norm, act       BN-ReLU
        head            global average, linear

    For ImageNet: conv7x7/2 to 2k channels, BN-ReLU, max pool 3x3/2, then four stages. ``AggregationNet``
    documents the arguments.

    Examples:
        >>> SparseNet(depth=100, growth_rate=24, bottleneck=True)  # sparsenet_bc_100_k24
        >>> SparseNet(depth=40, growth_rate=12, aggregation=lambda layer: (layer - 1,))  # a plain chain
    """

    family_aggregation = "sparse"
