"""The base class of every family's net: the methods of timm's models, around one head."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Literal, overload

from torch import Tensor, nn

from ..common.arguments import integer
from ..layers.checkpointing import set_checkpointing
from ..layers.head import ClassifierHead
from ..layers.stage import Stage
from .features import chosen_indices
from .pretrained_cfg import NO_COSTS, NO_METRICS

AFTER_EVERY_LAYER = 99_999
"""timm's number in a group matcher: after all layers of a stage."""


class ClassifierNet(nn.Module):
    """Stages that make feature maps, and a head: ``(N, in_chans, H, W) -> (N, num_classes)``.

    A family's ``__init__`` registers its stages, calls ``add_feature_info`` for each and ends with
    ``add_head``. Its class defines ``forward_stem``, ``forward_stage``, ``forward_final``, ``parts`` and
    ``group_matcher``.

    Args:
        in_chans: channels of the input.

    Attributes:
        in_chans: channels of the input.
        num_features: channels of the map that ``forward_features`` returns.
        feature_info: one dict for each feature map, with ``num_chs``, ``reduction`` and ``module``: those of
            the stages, and before them the stem's where ``has_stem_map``.
        has_stem_map: whether the stem's output is a feature map: it has half the image's height and width.
        head: the ``ClassifierHead``.
        pretrained_cfg: the pretrained configuration, which ``create_model`` fills in.
        ends_with_norm: whether ``forward_final`` is a norm and an activation.
    """

    ends_with_norm = True
    has_stem_map = False
    num_features: int
    head: ClassifierHead

    def __init__(self, in_chans: int) -> None:
        super().__init__()
        self.in_chans = integer("in_chans", in_chans, minimum=1)
        self.feature_info: list[dict[str, Any]] = []
        self.pretrained_cfg: dict[str, Any] = {}

    def add_feature_info(self, module: str, channels: int, reduction: int) -> None:
        """Describe the next feature map.

        Args:
            module: name of the submodule that returns the map.
            channels: channels of the map.
            reduction: how many times smaller than the image the map is, in height and in width.
        """
        self.feature_info.append({"num_chs": channels, "reduction": reduction, "module": module})

    def add_head(self, num_features: int, num_classes: int, global_pool: str, drop_rate: float) -> None:
        """Add the head, the last of a net's layers, then initialise what torch begins otherwise."""
        self.num_features = num_features
        self.head = ClassifierHead(num_features, num_classes, global_pool, drop_rate)
        self._initialise()

    def init_weights(self) -> None:
        """Initialise all weights and statistics anew, as for a new net.

        A net that was built on the device "meta" needs it after ``to_empty``, unless weights are loaded.
        """
        for module in self.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
        self._initialise()

    def _initialise(self) -> None:
        """Initialise convolutions (He et al. 2015, arXiv 1502.01852, on fan-out) and the head's biases."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(self.head.fc, nn.Linear) and self.head.fc.bias is not None:
            nn.init.zeros_(self.head.fc.bias)

    @property
    def num_classes(self) -> int:
        """Classes of the head; 0 where it has no linear layer."""
        return self.head.num_classes

    @property
    def global_pool(self) -> str:
        """timm's name of the head's pooling."""
        return self.head.global_pool

    @property
    def head_hidden_size(self) -> int:
        """Width of the features that ``forward_head(x, pre_logits=True)`` returns."""
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
        return any(isinstance(module, Stage) and module.skips_layers for module in self.modules())

    @overload
    def get_classifier(self, name_only: Literal[False] = ...) -> nn.Module: ...
    @overload
    def get_classifier(self, name_only: Literal[True]) -> str: ...
    def get_classifier(self, name_only: bool = False) -> nn.Module | str:
        """Return the linear layer, or an ``nn.Identity`` if there are no classes.

        Args:
            name_only: return the name of the module instead.
        """
        return "head.fc" if name_only else self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by an untrained one; clear names, metrics and costs in ``pretrained_cfg``.

        Args:
            num_classes: classes of the new classifier; 0 for none.
            global_pool: the new pooling; None keeps the pooling.

        Raises:
            TypeError: ``num_classes`` is not an integer.
            ValueError: ``num_classes`` is negative, ``global_pool`` is unknown, or it is "" with classes.
        """
        weight = next(self.parameters())
        self.head.reset(num_classes, global_pool, weight.device, weight.dtype)
        changes = {"num_classes": self.num_classes, "label_names": None, **NO_METRICS, **NO_COSTS}
        self.pretrained_cfg |= {key: value for key, value in changes.items() if key in self.pretrained_cfg}

    def parts(self) -> list[str]:
        """Return the names of the submodules that hold all parameters, in the order of the forward pass."""
        raise NotImplementedError

    def trunk(self) -> nn.Sequential:
        """Return the parts before the head in a row: ``(N, in_chans, H, W)`` to the head's input.

        For libraries that run a net's children one after another, as ``nn.Sequential(*net.children())``. The
        modules are those of this net. The names are those of ``parts``, with ``_`` for the dots.
        """
        names = self.parts()[:-1]
        return nn.Sequential(
            OrderedDict((name.replace(".", "_"), self.get_submodule(name)) for name in names)
        )

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return regular expressions that put every parameter in one group, for timm's layer-wise decay.

        Args:
            coarse: one group for each stage instead of one for each layer.
        """
        raise NotImplementedError

    def no_weight_decay(self) -> set[str]:
        """Return the parameters that weight decay must leave out although they have two dimensions: none.

        Optimizers recognise norms and biases by their one dimension.
        """
        return set()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass, or (``enable=False``) keep them.

        Outputs, gradients and batch-norm statistics are the same. Memory grows with the depth L, instead of
        L log L in a SparseNet and L^2 in a DenseNet. A step takes 1.2 to 1.8 times as long
        (docs/efficiency.md). torch.compile needs a backend by AOTAutograd for it, such as "inductor" or
        "aot_eager": from torch 2.10 on, the backward pass fails with "eager".
        """
        set_checkpointing(self, enable)

    def forward_stem(self, x: Tensor) -> Tensor:
        """Return the stem's output, ``(N, C, H / r, W / r)``."""
        raise NotImplementedError

    def forward_stage(self, index: int, x: Tensor) -> Tensor:
        """Return the feature map of stage ``index``, computed from the map before it or the stem's output.

        Channels and reduction of this map, ``(N, num_chs, H / reduction, W / reduction)``, and of that before
        it are in ``feature_info``.
        """
        raise NotImplementedError

    def forward_final(self, x: Tensor) -> Tensor:
        """Return the head's input, ``(N, num_features, H / r, W / r)``, from the last feature map."""
        raise NotImplementedError

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the head's input, ``(N, num_features, H / r, W / r)``."""
        x = self.forward_stem(x)
        for index in range(len(self.feature_info) - self.has_stem_map):
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
        """Return the head's input and some feature maps, ``(x, [map, ...])``.

        A map ``(N, num_chs, H / reduction, W / reduction)`` is the output of its stage, before the norm and
        ReLU with which the transition or the head begins, or the stem's.

        Args:
            x: images ``(N, in_chans, H, W)``.
            indices: which maps, in which order, as in ``chosen_indices``.
            norm: apply the final norm and ReLU to the last stage's map; no effect on a FractalNet, which
                has none.
            stop_early: skip the stages after the last one in ``indices``.
            output_fmt: only "NCHW".
            intermediates_only: return only the list of maps.

        Raises:
            TypeError: an index is not an integer.
            ValueError: an index is out of range, ``output_fmt`` is unknown, or ``stop_early`` would skip the
                last stage, which the head's input needs, without ``intermediates_only``.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt must be 'NCHW', got {output_fmt!r}")
        count = len(self.feature_info)
        chosen = chosen_indices(indices, count, "indices")
        to_run = max(chosen) + 1 if stop_early else count
        if to_run < count and not intermediates_only:
            raise ValueError(
                f"stop_early with indices={indices!r} never reaches the last feature map: pass "
                "intermediates_only=True too"
            )
        x = self.forward_stem(x)
        maps = [x] if self.has_stem_map else []
        for index in range(to_run - len(maps)):
            x = self.forward_stage(index, x)
            maps.append(x)
        if to_run == count and (norm or not intermediates_only):
            x = self.forward_final(x)
            if norm and self.ends_with_norm:
                maps[-1] = x
        intermediates = [maps[index] for index in chosen]
        return intermediates if intermediates_only else (x, intermediates)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove the stages after the last of ``indices``, and the classifier; return the indices.

        ``feature_info`` then ends with the last of these maps.

        Args:
            indices: which maps to keep, as in ``chosen_indices``.
            prune_norm: remove the final norm and activation even if the last stage stays.
            prune_head: remove the classifier.

        Raises:
            TypeError: an index is not an integer.
            ValueError: an index is out of range.
        """
        count = len(self.feature_info)
        chosen = chosen_indices(indices, count, "indices")
        last = self.feature_info[max(chosen)]["module"]
        parts = self.parts()
        after = parts[parts.index(last) + 1 :]
        for name in after:
            if name == "head":
                if prune_head:
                    self.reset_classifier(0)
            elif max(chosen) < count - 1 or (prune_norm and self.ends_with_norm):
                parent, _, child = name.rpartition(".")
                setattr(self.get_submodule(parent), child, nn.Identity())
        del self.feature_info[max(chosen) + 1 :]
        return chosen

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits ``(N, num_classes)`` from the head's input.

        With ``pre_logits`` return the pooled features ``(N, head_hidden_size)`` before the linear layer.
        """
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def __prepare_scriptable__(self) -> nn.Module:
        """Refuse torch.jit.script, which calls this first and would fail later with an obscure message."""
        raise NotImplementedError(
            "torch.jit.script, which PyTorch retires, does not take this library's nets: use torch.export, "
            "torch.compile or ONNX (sparsenet_models.integrations.export), or torch.jit.trace"
        )


def checked_widths(widths: Sequence[int]) -> tuple[int, ...]:
    """Return the argument ``widths`` of a family, one integer per stage or block, checked.

    Raises:
        TypeError: a width is not an integer.
        ValueError: ``widths`` is not a sequence of at least one number, or a width is below 1.
    """
    if not isinstance(widths, Sequence) or not widths:
        raise ValueError(f"widths must be a sequence of at least one number, got {widths!r}")
    return tuple(integer("each of widths", width, minimum=1) for width in widths)
