"""The head: global pooling, dropout and the classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..common.arguments import fraction, integer, one_of

POOL_TYPES = ("avg", "max", "avgmax", "catavgmax", "")
"""timm's names for pooling: mean, maximum, the mean of both, both side by side, no pooling."""


class GlobalPool2d(nn.Module):
    """Pool ``(N, C, H, W)`` to ``(N, C)``, ``(N, 2C)`` for "catavgmax"; "" returns ``x``.

    Args:
        pool_type: one of ``POOL_TYPES``.

    Raises:
        ValueError: ``pool_type`` is unknown.
    """

    def __init__(self, pool_type: str) -> None:
        super().__init__()
        self.pool_type = one_of("global_pool", pool_type, POOL_TYPES)

    def forward(self, x: Tensor) -> Tensor:
        if self.pool_type == "":
            return x
        if self.pool_type == "avg":
            return x.mean((2, 3))
        if self.pool_type == "max":
            return x.amax((2, 3))
        average, maximum = x.mean((2, 3)), x.amax((2, 3))
        if self.pool_type == "avgmax":
            return 0.5 * (average + maximum)
        return torch.cat((average, maximum), dim=1)

    def extra_repr(self) -> str:
        return repr(self.pool_type)


class ClassifierHead(nn.Module):
    """Global pool, dropout, linear: ``(N, in_features, H, W) -> (N, num_classes)``.

    With ``num_classes=0`` there is no linear layer. The head then returns the pooled features
    ``(N, hidden_size)``, or with ``global_pool=""`` the feature map.

    Args:
        in_features: channels that the head receives.
        num_classes: number of classes, 0 for none.
        global_pool: one of ``POOL_TYPES``.
        drop_rate: share of the pooled features dropped in training, in [0, 1).

    Raises:
        TypeError: ``num_classes`` is not an integer, or ``drop_rate`` not a number.
        ValueError: an argument is out of range, or ``global_pool`` is "" although there are classes.
    """

    def __init__(
        self, in_features: int, num_classes: int, global_pool: str = "avg", drop_rate: float = 0.0
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.pool = GlobalPool2d(global_pool)
        self.drop = nn.Dropout(fraction("drop_rate", drop_rate))
        self.reset(num_classes)

    @property
    def global_pool(self) -> str:
        """timm's name of the pooling."""
        return self.pool.pool_type

    @property
    def num_classes(self) -> int:
        """Outputs of ``fc``: its ``out_features``, 0 for an ``nn.Identity``.

        For another module in its place, the number of classes that the head was built or last reset with.
        """
        if isinstance(self.fc, nn.Identity):
            return 0
        outputs = getattr(self.fc, "out_features", None)
        return outputs if isinstance(outputs, int) else self.classes_at_reset

    @property
    def hidden_size(self) -> int:
        """Width of the pooled features."""
        return self.in_features * (2 if self.global_pool == "catavgmax" else 1)

    def reset(
        self,
        num_classes: int,
        global_pool: str | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Replace the linear layer; ``global_pool=None`` keeps the pooling.

        Raises:
            TypeError: ``num_classes`` is not an integer.
            ValueError: as the class; the head is then unchanged.
        """
        classes = integer("num_classes", num_classes, minimum=0)
        pool = self.pool if global_pool is None else GlobalPool2d(global_pool)
        if pool.pool_type == "" and classes > 0:
            raise ValueError(f"global_pool='' needs num_classes=0, got num_classes={classes}")
        self.classes_at_reset, self.pool = classes, pool
        self.fc: nn.Module = nn.Identity()
        if classes > 0:
            self.fc = nn.Linear(self.hidden_size, classes, device=device, dtype=dtype)
            nn.init.zeros_(self.fc.bias)
        for new in (self.pool, self.fc):
            new.train(self.training)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.drop(self.pool(x))
        return x if pre_logits else self.fc(x)
