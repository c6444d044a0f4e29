"""FractalNet: columns of different depth side by side, joined by their mean.

Paper: Larsson, Maire, Shakhnarovich, "FractalNet: Ultra-Deep Neural Networks without Residuals", ICLR
2017, arXiv 1605.07648. The fractal f_1 is one convolution; f_(C+1) joins two f_C in a row with one
convolution beside them (section 2). Joins that meet become one join, the mean of all its inputs (figure 1).
Blocks and widths are those of the paper's CIFAR nets (section 4.1), without the dropout between blocks.
Official code: gustavla/fractalnet; no line of it is copied here. Code and weights: Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..common.arguments import fraction, integer
from ..layers.activations import ActLayer, get_act_layer
from ..layers.chain import Chain
from ..layers.checkpointing import Checkpointable
from ..layers.head import ClassifierHead
from ..layers.norms import NormLayer, get_norm_layer
from .classifier_net import ClassifierNet, checked_widths
from .dilation import dilate
from .pretrained_cfg import DATA_CONFIG_KEYS

COLUMN_KEYS = {
    *DATA_CONFIG_KEYS,
    "min_input_size",
    "pool_size",
    "num_classes",
    "label_names",
    "classifier",
}
"""The keys of a FractalNet's pretrained configuration that apply to its columns too.

A column has no registered name and no metrics of its own.
"""


class ConvolutionLayer(nn.Module, Chain):
    """conv3x3-BN-ReLU: ``(N, in_channels, H, W) -> (N, out_channels, H, W)``."""

    def __init__(
        self, in_channels: int, out_channels: int, norm_layer: NormLayer, act_layer: ActLayer
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.norm = norm_layer(out_channels)
        self.act = act_layer()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))

    def chain(self) -> list[nn.Module]:
        return [self.conv, self.norm, self.act]


class FractalBlock(Checkpointable):
    """The fractal f_C: ``(N, in_channels, H, W) -> (N, out_channels, H, W)``.

    Column i has ``2**i`` convolutions, so the block has ``2**C - 1``. The block has ``2**(C - 1)`` rows, and
    a convolution of column i spans ``2**(C - 1 - i)`` of them. Row r ends with a join of the columns that
    finish a convolution there, those whose span divides r. All of them continue from the join's mean.

    Args:
        in_channels: channels that the block receives.
        out_channels: channels of every convolution.
        columns: C.
        drop_path_rate: share of a join's inputs dropped in training (local drop-path), drawn for each join
            and batch; at least one input stays.
        norm_layer: called with the channels, makes a normalisation; default batch norm.
        act_layer: makes an activation; default ReLU.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        columns: int,
        drop_path_rate: float = 0.0,
        norm_layer: NormLayer = nn.BatchNorm2d,
        act_layer: ActLayer = nn.ReLU,
    ) -> None:
        super().__init__()
        self.drop_path_rate = drop_path_rate
        self.columns = nn.ModuleList(
            nn.ModuleList(
                ConvolutionLayer(
                    in_channels if step == 0 else out_channels, out_channels, norm_layer, act_layer
                )
                for step in range(2**column)
            )
            for column in range(columns)
        )

    def column(self, index: int) -> Column:
        """Return the ``2**index`` convolution layers of a column as a chain, in this block's mode."""
        column = Column(*self._layers(index))
        column.training, column.grad_checkpointing = self.training, self.grad_checkpointing
        return column

    def _layers(self, index: int) -> nn.ModuleList:
        return cast(nn.ModuleList, self.columns[index])

    def forward(self, x: Tensor) -> Tensor:
        heads = [x] * len(self.columns)
        rows = 2 ** (len(self.columns) - 1)
        for row in range(1, rows + 1):
            ending = [i for i in range(len(self.columns)) if row * 2**i % rows == 0]
            joined = [self.run(self._layers(i)[row * 2**i // rows - 1], heads[i]) for i in self._kept(ending)]
            mean = joined[0] if len(joined) == 1 else torch.stack(joined).mean(dim=0)
            for i in ending:
                heads[i] = mean
        return heads[-1]

    def _kept(self, ending: list[int]) -> list[int]:
        """Return the columns that a join averages: in training, those that local drop-path keeps."""
        if not self.training or self.drop_path_rate == 0.0 or len(ending) == 1:
            return ending
        draws = torch.rand(len(ending), device="cpu").tolist()
        kept = [column for column, draw in zip(ending, draws) if draw >= self.drop_path_rate]
        return kept or [ending[int(torch.randint(len(ending), (), device="cpu"))]]


class Column(nn.Sequential, Checkpointable):
    """One column of a fractal block: its convolution layers, one after another."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            x = self.run(layer, x)
        return x


class BlockNet(ClassifierNet):
    """The base of a FractalNet and of its columns: blocks, each followed by a 2x2 max pool."""

    ends_with_norm = False
    blocks: nn.ModuleList
    pools: nn.ModuleList

    def parts(self) -> list[str]:
        """Return ``blocks.0, pools.0, blocks.1, pools.1, ..., head``."""
        inner = [f"{part}.{index}" for index in range(len(self.blocks)) for part in ("blocks", "pools")]
        return [*inner, "head"]

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return regular expressions that put every parameter in one group, one for each block.

        The columns of a block run side by side, so ``coarse`` has no effect.
        """
        return {"blocks": r"^blocks\.(\d+)"}

    def forward_stem(self, x: Tensor) -> Tensor:
        """Return the images: there is no stem."""
        return x

    def forward_stage(self, index: int, x: Tensor) -> Tensor:
        """Return the feature map of block ``index`` before its pool, computed from the map before it."""
        return self.blocks[index](x if index == 0 else self.pools[index - 1](x))

    def forward_final(self, x: Tensor) -> Tensor:
        """Return the last map pooled, ``(N, num_features, H // 32, W // 32)`` for five blocks."""
        return self.pools[-1](x)


class ColumnNet(BlockNet):
    """One column of a FractalNet: a plain chain of convolutions, pools and the head.

    ``(N, in_chans, H, W) -> (N, num_classes)``, 32x32 pixels at least. ``FractalNet.column`` makes it.

    Args:
        blocks: the column of each block.
        net: the FractalNet that the columns belong to.
    """

    def __init__(self, blocks: Sequence[nn.Module], net: FractalNet) -> None:
        super().__init__(net.in_chans)
        self.num_features = net.num_features
        self.feature_info = [dict(info) for info in net.feature_info]
        self.blocks, self.pools = nn.ModuleList(blocks), nn.ModuleList(net.pools)
        # A head with the same weights, so that reset_classifier of one net leaves the other's head unchanged.
        self.head = ClassifierHead(net.num_features, 0, net.global_pool, net.head.drop.p)
        self.head.train(net.head.training)
        self.head.classes_at_reset, self.head.fc = net.num_classes, net.head.fc
        if net.pretrained_cfg:
            kept = {key: value for key, value in net.pretrained_cfg.items() if key in COLUMN_KEYS}
            self.pretrained_cfg = {**kept, "first_conv": "blocks.0.0.conv"}
        self.training = net.training


class FractalNet(BlockNet):
    """Fractal blocks, each followed by a 2x2 max pool.

    Input ``(N, in_chans, H, W)``, logits ``(N, num_classes)``. With five blocks images have at least 32x32
    pixels. The paper trains with local drop-path at a rate of 0.15 in one half of the batches and global
    drop-path in the other half: ``drop_path_rate=0.15, global_drop_path=0.5``. Both choose which layers run,
    which torch.compile cannot put into one graph: in train mode such a net compiles with graph breaks,
    without ``fullgraph=True``. torch.fx, in train mode, records the choice of one batch.

    Examples:
        >>> FractalNet(columns=3)  # fractalnet_c3
        >>> FractalNet(columns=3).column(2)  # its deepest column, a plain net

    Args:
        columns: C; a block is ``2**(C - 1)`` convolutions deep.
        widths: channels of each block.
        drop_path_rate: local drop-path: the share of a join's inputs dropped in training.
        global_drop_path: share of the training batches that run through one random column, the same in
            all blocks; the other batches run with local drop-path.
        num_classes: classes of the head; 0 for none.
        in_chans: channels of the input.
        global_pool: "avg", "max", "avgmax", "catavgmax", or "" (with ``num_classes=0``).
        drop_rate: dropout before the classifier.
        norm_layer: "batchnorm2d", "groupnorm", "frozenbatchnorm2d", "syncbatchnorm", or a function from
            channels to a layer.
        act_layer: a class, such as ``nn.SiLU``, or timm's name of one: "relu", "silu", "gelu", ...
        output_stride: the largest stride of a feature map; dilated convolutions replace the strides after
            it. Default: the net's own.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        columns: int,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        drop_path_rate: float = 0.0,
        global_drop_path: float = 0.0,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        norm_layer: str | NormLayer = "batchnorm2d",
        act_layer: str | ActLayer = nn.ReLU,
        output_stride: int | None = None,
    ) -> None:
        super().__init__(in_chans)
        self.num_columns = integer("columns", columns, minimum=1)
        self.drop_path_rate = fraction("drop_path_rate", drop_path_rate)
        self.global_drop_path = fraction("global_drop_path", global_drop_path, one_allowed=True)
        widths = checked_widths(widths)
        norm_layer, act_layer = get_norm_layer(norm_layer), get_act_layer(act_layer)

        channels = self.in_chans
        self.blocks = nn.ModuleList()
        for index, width in enumerate(widths):
            self.blocks.append(
                FractalBlock(channels, width, self.num_columns, self.drop_path_rate, norm_layer, act_layer)
            )
            channels = width
            self.add_feature_info(f"blocks.{index}", channels, reduction=2**index)
        self.pools = nn.ModuleList(nn.MaxPool2d(kernel_size=2) for _ in widths)
        self.add_head(channels, num_classes, global_pool, drop_rate)
        if output_stride is not None:
            dilate(self, output_stride)

    @property
    def skips_layers(self) -> bool:
        """Whether drop-path, local or global, may skip layers in a training step."""
        return self.drop_path_rate > 0 or self.global_drop_path > 0

    def column(self, index: int) -> ColumnNet:
        """Return column ``index`` as a plain net; the deepest is ``columns - 1`` (paper, section 4.3).

        It shares its weights and statistics with this net; ``copy.deepcopy(net.column(i))`` does not.

        Raises:
            TypeError: ``index`` is not an integer.
            ValueError: there is no such column.
        """
        index = integer("index", index, minimum=0)
        if index >= self.num_columns:
            raise ValueError(f"index must be at most {self.num_columns - 1}, the deepest column, got {index}")
        # A feature net has replaced the blocks that it does not need by an Identity.
        blocks = [block.column(index) if isinstance(block, FractalBlock) else block for block in self.blocks]
        return ColumnNet(blocks, self)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last feature map, ``(N, num_features, H // 32, W // 32)`` for five blocks."""
        column = self._drawn_column()
        return super().forward_features(x) if column is None else column.forward_features(x)

    def forward_intermediates(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Return ``(x, [map, ...])`` as in ``ClassifierNet``; under global drop-path all are one column's."""
        column = self._drawn_column()
        if column is None:
            return super().forward_intermediates(x, *args, **kwargs)
        return column.forward_intermediates(x, *args, **kwargs)

    def _drawn_column(self) -> ColumnNet | None:
        """Return the only column that global drop-path keeps for this batch, or None if it keeps all."""
        if not self.training or self.global_drop_path == 0.0:
            return None
        if torch.rand((), device="cpu").item() >= self.global_drop_path:
            return None
        return self.column(int(torch.randint(self.num_columns, (), device="cpu")))
