"""A net that returns only its feature maps: ``create_model(..., features_only=True)``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from .classifier_net import ClassifierNet
from .features import FeatureInfo, chosen_indices


class FeatureNet(nn.Module):
    """A net without its head: ``(N, in_chans, H, W)`` to a list of maps ``(N, num_chs, H / r, W / r)``.

    A map is its stage's output, before the norm and ReLU with which the transition or the head begins. The
    stages and norms that no selected map needs are removed.

    Args:
        net: a net of any family. It is pruned in place and becomes part of this one.
        out_indices: which maps, in which order, as in ``chosen_indices``.

    Attributes:
        feature_info: a ``FeatureInfo``; its ``reduction()`` is r of each map.
        pretrained_cfg: the net's pretrained configuration.

    Raises:
        TypeError: an index is not an integer.
        ValueError: an index is out of range.
    """

    def __init__(self, net: ClassifierNet, out_indices: int | Sequence[int] | None = None) -> None:
        super().__init__()
        chosen = chosen_indices(out_indices, len(net.feature_info))
        self.feature_info = FeatureInfo(net.feature_info, chosen)
        self.pretrained_cfg = net.pretrained_cfg
        net.prune_intermediate_layers(chosen, prune_norm=True)
        self.net = net

    @property
    def default_cfg(self) -> dict[str, Any]:
        """timm's older name of ``pretrained_cfg``."""
        return self.pretrained_cfg

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass, or (``enable=False``) keep them."""
        self.net.set_grad_checkpointing(enable)

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.net.forward_intermediates(
            x, self.feature_info.out_indices, stop_early=True, intermediates_only=True
        )
