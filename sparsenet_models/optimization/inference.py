"""Forward passes with folded norms, for nets in eval mode."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual

from ..layers.head import ClassifierHead
from ..layers.stage import Stage
from .chains import Folded, folded_forward, has_chain


def fold(model: nn.Module, dtype: torch.dtype | None = None) -> bool:
    """Give the layers of ``model`` forward passes with folded norms for eval mode.

    Args:
        model: changed in place; its modules, parameters and buffers stay.
        dtype: in which the layers compute, None for that of their parameters, in which the head computes.

    Returns:
        Whether it has such layers; a net of another library has none.
    """
    in_stages: set[nn.Module] = set()
    for module in model.modules():
        if isinstance(module, Stage):
            in_stages.update(module.layers)
            module._run = FoldedStage(module, dtype)  # type: ignore[method-assign]
        elif can_be_folded(module) and module not in in_stages:
            module.forward = FoldedModule(module, dtype)
        elif isinstance(module, ClassifierHead) and dtype is not None:
            own_dtype = next(model.parameters()).dtype
            module.forward = HeadIn(module, own_dtype)  # type: ignore[method-assign]
    return bool(_replaced(model))


def can_be_folded(module: nn.Module) -> bool:
    """Return whether ``module`` is a chain whose ``forward`` nobody else has replaced."""
    replaced = vars(module).get("forward")
    return has_chain(module) and (replaced is None or isinstance(replaced, FoldedModule))


def unfold(model: nn.Module) -> None:
    """Give the layers of ``model`` their own forward passes again."""
    for module, name in _replaced(model):
        del module.__dict__[name]


def _replaced(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """Return the modules whose forward pass was replaced, and the name of the replaced method."""
    return [
        (module, name)
        for module in model.modules()
        for name in ("_run", "forward")
        if isinstance(module.__dict__.get(name), (FoldedStage, FoldedModule, HeadIn))
    ]


@contextmanager
def folded(model: nn.Module) -> Iterator[None]:
    """Fold the norms of ``model`` within the block; those that are folded already stay so."""
    if _replaced(model):
        yield
        return
    fold(model)
    try:
        yield
    finally:
        unfold(model)


class FoldedStage:
    """The layers of a stage with folded norms, in place of ``Stage._run``."""

    def __init__(self, stage: Stage, dtype: torch.dtype | None) -> None:
        self.stage = stage
        self.layers: dict[nn.Module, FoldedLayer] = {
            layer: FoldedLayer(layer, dtype) for layer in stage.layers if can_be_folded(layer)
        }

    def __call__(self, layer: nn.Module, read: list[Tensor]) -> Any:
        folded_layer = self.layers.get(layer)
        if folded_layer is None or not folded_layer.applies_to(read):
            return Stage._run(self.stage, layer, read)
        return folded_layer(read if self.stage.merge == "concat" else [self.stage._merged(read)])


class FoldedModule:
    """A stem, transition or convolution layer with folded norms, in place of its ``forward``."""

    def __init__(self, module: nn.Module, dtype: torch.dtype | None) -> None:
        self.module = module
        self.layer = FoldedLayer(module, dtype)

    def __call__(self, x: Tensor) -> Any:
        return self.layer([x]) if self.layer.applies_to([x]) else type(self.module).forward(self.module, x)


class HeadIn:
    """A head that computes in the dtype of its weights, in place of its ``forward``."""

    def __init__(self, head: ClassifierHead, dtype: torch.dtype) -> None:
        self.head, self.dtype = head, dtype

    def __call__(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return ClassifierHead.forward(self.head, x.to(self.dtype), pre_logits)


class FoldedLayer:
    """The folded forward pass of one module, made anew when its modules, weights or statistics change.

    Args:
        module: a ``Chain``.
        dtype: in which it computes, None for that of its parameters.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype | None) -> None:
        self.module, self.dtype = module, dtype
        self.contents: _Contents | None = None
        self.forward: Folded | None = None

    def applies_to(self, parts: list[Tensor]) -> bool:
        """Return whether the folded forward pass stands for the module's own now.

        It does in eval mode, where no gradients are asked for, outside of autocast, tracers and compilers.
        """
        x = parts[0]
        is_traced = torch.compiler.is_compiling() or torch.jit.is_tracing() or not isinstance(x, Tensor)
        if is_traced or x.is_meta or torch.is_autocast_enabled(x.device.type):
            return False
        if self.contents is None or not self.contents.are_current():
            self.contents, self.forward = _Contents(self.module), None
        if self.contents.are_hooked or any(module.training for module in self.contents.modules):
            return False
        if unpack_dual(x).tangent is not None:  # oneDNN's convolution has no derivative in forward mode
            return False
        if torch.is_grad_enabled() and any(t.requires_grad for t in (*parts, *self.contents.tensors())):
            warnings.warn(
                "an optimized net in eval mode is fast only where no gradients are asked for: call it inside "
                "torch.inference_mode() or torch.no_grad()",
                stacklevel=2,
            )
            return False
        return True

    def __call__(self, parts: list[Tensor]) -> Any:
        forward = self.forward  # another thread may set it to None
        if forward is None:
            dtype = self.dtype or next(self.module.parameters()).dtype
            with torch.inference_mode(False), torch.no_grad():
                self.forward = forward = folded_forward(self.module, dtype)
        return forward(parts)

    def __getstate__(self) -> dict[str, Any]:
        # oneDNN's tensors can be neither copied nor pickled.
        return {**self.__dict__, "contents": None, "forward": None}


class _Contents:
    """What a folded forward pass was made from, to see whether it has changed since."""

    def __init__(self, module: nn.Module) -> None:
        self.modules = list(module.modules())
        # Pruned layers, for instance, make their weights in a hook before each pass.
        self.are_hooked = any(each._forward_pre_hooks for each in self.modules)
        self.children = [tuple(each._modules.values()) for each in self.modules]
        self.stores = [store for each in self.modules for store in (each._parameters, each._buffers)]
        self.sizes = list(map(len, self.stores))
        self.places = [(store, name) for store in self.stores for name in store]
        # Tensors made in inference mode have no version.
        self.have_versions = not any(tensor.is_inference() for tensor in self.tensors())
        # Kept, so that no other tensor gets their memory and looks like them.
        self.kept = [tensor.detach() for tensor in self.tensors()]
        self.state = self._state()

    def tensors(self) -> list[Tensor]:
        found = [store[name] for store, name in self.places]
        return [tensor for tensor in found if tensor is not None]

    def are_current(self) -> bool:
        if self.children != [tuple(each._modules.values()) for each in self.modules]:
            return False
        if self.sizes != list(map(len, self.stores)):
            return False
        try:
            return self.state == self._state()
        except KeyError:  # a tensor has another name now
            return False

    def _state(self) -> list[int]:
        tensors = self.tensors()
        versions = [tensor._version for tensor in tensors] if self.have_versions else []
        return [*(tensor.data_ptr() for tensor in tensors), *versions]
