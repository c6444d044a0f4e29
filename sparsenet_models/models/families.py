"""The nets of every family, by name: their arguments, tags and papers. No torch.

Importing it registers them; the file of a family is imported when one of its nets is built.
"""

from __future__ import annotations

from typing import Any

from .entrypoints import register_cifar_models, register_imagenet_models

_SHAPES: dict[str, dict[str, Any]] = {
    "40_k12": dict(depth=40, growth_rate=12),
    "40_k24": dict(depth=40, growth_rate=24),
    "100_k12": dict(depth=100, growth_rate=12),
    "100_k24": dict(depth=100, growth_rate=24),
    "100_k36": dict(depth=100, growth_rate=36),
    "bc_40_k12": dict(depth=40, growth_rate=12, bottleneck=True),
    "bc_100_k12": dict(depth=100, growth_rate=12, bottleneck=True),
    "bc_100_k16": dict(depth=100, growth_rate=16, bottleneck=True),
    "bc_100_k24": dict(depth=100, growth_rate=24, bottleneck=True),
    "bc_100_k36": dict(depth=100, growth_rate=36, bottleneck=True),
    "bc_100_k64": dict(depth=100, growth_rate=64, bottleneck=True),
    "bc_100_k16_32_64": dict(depth=100, growth_rate=(16, 32, 64), bottleneck=True),
    "bc_100_k32_64_128": dict(depth=100, growth_rate=(32, 64, 128), bottleneck=True),
}

SPARSENET_CIFAR = {f"sparsenet_{shape}": arguments for shape, arguments in _SHAPES.items()}
DENSENET_CIFAR = {f"densenet_{shape}": arguments for shape, arguments in _SHAPES.items()}
"""The dense twin of each SparseNet."""

_IMAGENET: dict[str, Any] = dict(bottleneck=True, stem="imagenet", num_classes=1000)

SPARSENET_IMAGENET: dict[str, dict[str, Any]] = {
    "sparsenet121": dict(layers=(6, 12, 24, 16), growth_rate=32, **_IMAGENET),
    "sparsenet161": dict(layers=(6, 12, 36, 24), growth_rate=48, **_IMAGENET),
    "sparsenet169": dict(layers=(6, 12, 32, 32), growth_rate=32, **_IMAGENET),
    "sparsenet201": dict(layers=(6, 12, 48, 32), growth_rate=32, **_IMAGENET),
    "sparsenet201_k48": dict(layers=(6, 12, 48, 32), growth_rate=48, **_IMAGENET),
    "sparsenet264": dict(layers=(6, 12, 64, 48), growth_rate=32, **_IMAGENET),
}

RESNET_CIFAR: dict[str, dict[str, Any]] = {
    **{f"resnet_{depth}": dict(depth=depth) for depth in (20, 32, 44, 56, 110)},
    **{f"resnet_{depth}": dict(depth=depth, bottleneck=True) for depth in (164, 1001)},
}
SPARSE_RESNET_CIFAR = {
    f"sparse_{name}": dict(arguments, aggregation="sparse") for name, arguments in RESNET_CIFAR.items()
}

_SPARSE_PAPER: dict[str, Any] = dict(
    paper_name="Sparsely Aggregated Convolutional Networks", paper_ids="arXiv:1801.05895"
)

register_cifar_models("sparsenet.SparseNet", SPARSENET_CIFAR, **_SPARSE_PAPER)
register_imagenet_models("sparsenet.SparseNet", SPARSENET_IMAGENET, **_SPARSE_PAPER)
register_cifar_models(
    "densenet.DenseNet",
    DENSENET_CIFAR,
    paper_name="Densely Connected Convolutional Networks",
    paper_ids="arXiv:1608.06993",
)
register_cifar_models(
    "resnet.ResNet",
    RESNET_CIFAR,
    paper_name="Identity Mappings in Deep Residual Networks",
    paper_ids="arXiv:1603.05027",
)
register_cifar_models("resnet.ResNet", SPARSE_RESNET_CIFAR, **_SPARSE_PAPER)
for columns in (2, 3, 4):
    register_cifar_models(
        "fractalnet.FractalNet",
        {f"fractalnet_c{columns}": dict(columns=columns)},
        min_side=32,
        pool_side=1,
        first_conv=tuple(f"blocks.0.columns.{column}.0.conv" for column in range(columns)),
        paper_name="FractalNet: Ultra-Deep Neural Networks without Residuals",
        paper_ids="arXiv:1605.07648",
    )
