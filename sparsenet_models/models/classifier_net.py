"""What every family's net has in common: the protocol of timm's models, around one head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ..layers.blocks import ClassifierHead
from ..layers.stage import Checkpointable
from .features import chosen_indices
from .pretrained_cfg import NO_METRICS

AFTER_EVERY_LAYER = 99_999
"""timm's number, in a group matcher, for what follows all layers of a stage."""


class ClassifierNet(nn.Module):
    """A net of feature maps and a head: ``(N, in_chans, H, W) -> (N, num_classes)``.

    A family's class sets the attributes below in its ``__init__`` and writes ``forward_stem``,
    ``forward_stage``, ``forward_final`` and ``parts``.

    Attributes:
        in_chans: channels of the input.
        num_features: channels of what ``forward_features`` returns.
        feature_info: one dict for each stage's feature map, with ``num_chs``, ``reduction`` and ``module``.
        head: the ``ClassifierHead``.
        pretrained_cfg: what ``create_model`` knows of the net and its weights; empty before.
        ends_with_norm: whether ``forward_final`` is a norm and a ReLU.
    """

    ends_with_norm = True
    in_chans: int
    num_features: int
    feature_info: list[dict[str, Any]]
    head: ClassifierHead
    pretrained_cfg: dict[str, Any]

    @property
    def num_classes(self) -> int:
        """Classes of the head; 0 where there is none."""
        return self.head.num_classes

    @property
    def global_pool(self) -> str:
        """The head's pooling, one of timm's words."""
        return self.head.global_pool

    @property
    def head_hidden_size(self) -> int:
        """Width of what ``forward_head(x, pre_logits=True)`` returns."""
        return self.head.hidden_size

    @property
    def default_cfg(self) -> dict[str, Any]:
        """timm's older name of ``pretrained_cfg``."""
        return self.pretrained_cfg

    @default_cfg.setter
    def default_cfg(self, cfg: dict[str, Any]) -> None:
        self.pretrained_cfg = cfg

    @property
    def skips_layers(self) -> bool:
        """Whether a training step may skip layers, whose parameters then get no gradient."""
        return False

    def get_classifier(self) -> nn.Module:
        """Return the linear layer, or an ``nn.Identity`` where there are no classes."""
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new, untrained head in place; what ``pretrained_cfg`` told of the old one's answers goes.

        Args:
            num_classes: classes of the new head; 0 for none.
            global_pool: the new pooling; None keeps what there is.

        Raises:
            ValueError: ``num_classes`` is negative, ``global_pool`` unknown, or "" with classes.
        """
        like = next(self.parameters())
        self.head.reset(num_classes, global_pool, like.device, like.dtype)
        known = self.pretrained_cfg.keys()
        news = {"num_classes": self.num_classes, "label_names": None, **NO_METRICS}
        self.pretrained_cfg |= {key: value for key, value in news.items() if key in known}

    def parts(self) -> list[str]:
        """Return the names of the submodules that hold all parameters, in the order of the forward pass."""
        raise NotImplementedError

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return regular expressions that put every parameter in one group, as timm's layer decay wants.

        Args:
            coarse: a group for each stage instead of one for each layer.
        """
        raise NotImplementedError

    def no_weight_decay(self) -> set[str]:
        """Return the names of parameters of two dimensions or more that must not decay: none.

        Norms and biases, of one dimension, are told by their shape.
        """
        return set()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute activations anew in the backward pass, or (``enable=False``) keep them.

        Outputs, gradients and batch-norm statistics are the same; memory grows with the depth L, not with
        L log L, for about a third more time.
        """
        for module in self.modules():
            if isinstance(module, Checkpointable):
                module.grad_checkpointing = enable

    def forward_stem(self, x: Tensor) -> Tensor:
        """Return what the first stage receives."""
        raise NotImplementedError

    def forward_stage(self, index: int, x: Tensor) -> Tensor:
        """Return the feature map of stage ``index``, of the map before it."""
        raise NotImplementedError

    def forward_final(self, x: Tensor) -> Tensor:
        """Return what the head receives, of the last feature map."""
        raise NotImplementedError

    def forward_features(self, x: Tensor) -> Tensor:
        """Return what the head receives, ``(N, num_features, H / r, W / r)``."""
        x = self.forward_stem(x)
        for index in range(len(self.feature_info)):
            x = self.forward_stage(index, x)
        return self.forward_final(x)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Return what the head receives and, before it, the feature maps of some stages.

        A map is what its stage makes, before the norm and ReLU that the next stage or the head begins
        with.

        Args:
            x: images ``(N, in_chans, H, W)``.
            indices: which maps, in which order; the last so many for a positive number; None for all.
            norm: the last stage's map comes after the final norm and ReLU, as ``forward_features`` has it;
                without a meaning where a net, as a FractalNet, has none.
            stop_early: compute no stage after the last that is wanted.
            output_fmt: "NCHW" is the only one.
            intermediates_only: return the list of maps alone.

        Raises:
            ValueError: an index out of range, or another ``output_fmt``; ``stop_early`` without
                ``intermediates_only`` where the last stage is not wanted.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt must be 'NCHW', got {output_fmt!r}")
        stages = len(self.feature_info)
        chosen = chosen_indices(indices, stages, "indices")
        wanted = max(chosen) + 1 if stop_early else stages
        if wanted < stages and not intermediates_only:
            raise ValueError(
                f"stop_early with indices={indices!r} never reaches the last feature map: pass "
                "intermediates_only=True too"
            )
        maps: list[Tensor] = []
        x = self.forward_stem(x)
        for index in range(wanted):
            x = self.forward_stage(index, x)
            maps.append(x)
        if wanted == stages and (norm or not intermediates_only):
            x = self.forward_final(x)
            if norm and self.ends_with_norm:
                maps[-1] = x
        found = [maps[index] for index in chosen]
        return found if intermediates_only else (x, found)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove the stages after the last of ``indices``, and the head; return the indices.

        ``forward_intermediates`` with ``stop_early`` and ``intermediates_only`` goes on to work.

        Args:
            indices: which maps are still wanted, as in ``forward_intermediates``.
            prune_norm: remove the final norm and its activation even where the last stage stays.
            prune_head: remove the classifier.
        """
        stages = len(self.feature_info)
        chosen = chosen_indices(indices, stages, "indices")
        last = self.feature_info[max(chosen)]["module"]
        parts = self.parts()
        after = parts[parts.index(last) + 1 :]
        for name in after:
            if name == "head":
                if prune_head:
                    self.reset_classifier(0)
            elif name not in ("norm", "act") or prune_norm or max(chosen) < stages - 1:
                parent, _, child = name.rpartition(".")
                setattr(self.get_submodule(parent), child, nn.Identity())
        return chosen

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits ``(N, num_classes)`` of a feature map, or the pooled features before them."""
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def __prepare_scriptable__(self) -> nn.Module:
        """Refuse torch.jit.script, which asks here first and else fails on a line of its own choice."""
        raise NotImplementedError(
            "torch.jit.script, which PyTorch retires, does not take this library's nets: use torch.export, "
            "torch.compile or ONNX (sparsenet_models.export), or torch.jit.trace"
        )


def initialise_convolution(module: nn.Module) -> None:
    """Initialise a convolution after He et al. 2015 (arXiv 1502.01852), on fan-out."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def rising(rate: float, count: int) -> list[float]:
    """Return ``count`` rates from 0 to ``rate``."""
    return [rate * index / max(1, count - 1) for index in range(count)]
