"""Muon for the kernels of convolutions and AdamW for the rest of a net, as one optimizer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class MuonAdamW:
    """Muon (Jordan et al., 2024) where a parameter is a convolution's kernel, AdamW where it is not.

    Muon replaces the update of a matrix by the nearest one with orthogonal rows or columns. A kernel
    ``(out, in, H, W)`` is the matrix ``(out, in * H * W)``. Its update is scaled to the size of AdamW's
    (``match_rms_adamw`` of ``torch.optim.Muon``), so both take the same learning rate and weight decay.

    Args:
        groups: of parameters, with their ``weight_decay`` and ``lr_scale``. The kernels are on their device
            and in their memory format.
        lr: the learning rate.
        momentum: of Muon; AdamW's first beta.

    Raises:
        ValueError: this torch has no Muon, or there is no kernel.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, momentum: float) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise ValueError(f"optimizer='muon' needs torch 2.9 or later, this is {torch.__version__}")
        self.kernels = [kernel for group in groups for kernel in group["params"] if kernel.ndim == 4]
        if not self.kernels:
            raise ValueError("optimizer='muon' needs a net with convolutions to train")
        views = {kernel: nn.Parameter(matrix(kernel.detach(), kernel)) for kernel in self.kernels}
        self.matrices = list(views.values())
        of_matrices = [
            group | {"params": [views[kernel] for kernel in group["params"] if kernel in views]}
            for group in groups
        ]
        of_rest = [
            group | {"params": [rest for rest in group["params"] if rest not in views]} for group in groups
        ]
        self.parts: dict[str, torch.optim.Optimizer] = {
            "muon": torch.optim.Muon(
                [group for group in of_matrices if group["params"]],
                lr=lr,
                momentum=momentum,
                adjust_lr_fn="match_rms_adamw",
            ),
            "adamw": torch.optim.AdamW(
                [group for group in of_rest if group["params"]], lr=lr, betas=(momentum, 0.999)
            ),
        }

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both, for the learning rate."""
        return [group for part in self.parts.values() for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of all parameters."""
        for kernel in self.kernels:
            kernel.grad = None
        self.parts["adamw"].zero_grad(set_to_none)

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for kernel, view in zip(self.kernels, self.matrices):
            view.grad = None if kernel.grad is None else matrix(kernel.grad, kernel)
        for part in self.parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of both, by name."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of both."""
        for name, part in self.parts.items():
            part.load_state_dict(state[name])


def matrix(tensor: Tensor, kernel: Tensor) -> Tensor:
    """Return ``tensor``, of the shape of ``kernel``, as ``(out, in * H * W)`` in the order of its memory.

    Of the kernel itself it is a view, which an optimizer can change.
    """
    if kernel.is_contiguous(memory_format=torch.channels_last):
        tensor = tensor.movedim(1, -1)
    return tensor.reshape(len(tensor), -1)
