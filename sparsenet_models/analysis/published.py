"""Errors that others published, for comparison: the SparseNet and DenseNet papers, the course project."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class PublishedResult:
    """A net's top-1 test error in percent on CIFAR-10 and CIFAR-100, None where none was published.

    ``model`` and ``arguments`` build the net that was meant, so that its parameters and multiply-adds
    can be counted.
    """

    source: str
    model: str
    cifar10: float | None
    cifar100: float | None
    arguments: dict[str, Any] = field(default_factory=dict)


SPARSENET_PAPER = "SparseNet paper"
DENSENET_PAPER = "DenseNet paper"
COURSE_SPARSE = "course project, SparseNet"
COURSE_DENSE = "course project, DenseNet"

PUBLISHED = (
    # Zhu et al., ECCV 2018 (arXiv 1801.05895) and the tables of its official README; stems of 2k channels.
    PublishedResult(SPARSENET_PAPER, "sparsenet_40_k24", 5.47, 24.65, dict(stem_channels=48)),
    PublishedResult(SPARSENET_PAPER, "sparsenet_100_k36", None, 20.50, dict(stem_channels=72)),
    PublishedResult(
        SPARSENET_PAPER, "sparsenet_100_k12", None, 19.49, dict(growth_rate=(16, 32, 64), stem_channels=32)
    ),
    PublishedResult(SPARSENET_PAPER, "sparsenet_bc_100_k24", None, 22.12, dict(stem_channels=48)),
    PublishedResult(SPARSENET_PAPER, "sparsenet_bc_100_k16_32_64", None, 19.71, dict(stem_channels=32)),
    PublishedResult(SPARSENET_PAPER, "sparsenet_bc_100_k32_64_128", None, 17.71, dict(stem_channels=64)),
    # Huang et al., CVPR 2017 (arXiv 1608.06993), table 2, with augmentation.
    PublishedResult(DENSENET_PAPER, "densenet_40_k12", 5.24, 24.42),
    PublishedResult(DENSENET_PAPER, "densenet_100_k12", 4.10, 20.20),
    PublishedResult(DENSENET_PAPER, "densenet_100_k24", 3.74, 19.25),
    PublishedResult(DENSENET_PAPER, "densenet_bc_100_k12", 4.51, 22.27),
    PublishedResult(DENSENET_PAPER, "densenet_bc_100_k12", 3.62, 17.60, dict(depth=250, growth_rate=24)),
    PublishedResult(DENSENET_PAPER, "densenet_bc_100_k12", 3.46, 17.18, dict(depth=190, growth_rate=40)),
    # The course project: 7 to 70 epochs, a constant rate, no augmentation.
    PublishedResult(COURSE_SPARSE, "sparsenet_bc_40_k12", 17, 53),
    PublishedResult(COURSE_SPARSE, "sparsenet_bc_100_k24", 13, 43),
    PublishedResult(COURSE_SPARSE, "sparsenet_bc_100_k64", 13, 37),
    PublishedResult(COURSE_SPARSE, "sparsenet_bc_100_k16_32_64", 13, 41, dict(stem_channels=24)),
    PublishedResult(COURSE_DENSE, "densenet_bc_40_k12", 16, 46),
    PublishedResult(COURSE_DENSE, "densenet_bc_100_k24", 12, 35),
    PublishedResult(COURSE_DENSE, "densenet_bc_100_k64", 16, 37),
)
