"""Muon for the kernels of convolutions and AdamW for the rest of a net, as one optimizer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def require_muon() -> None:
    """Raise unless torch has Muon.

    Raises:
        ValueError: it is older.
    """
    if not hasattr(torch.optim, "Muon"):
        raise ValueError(
            f"optimizer='muon' needs torch 2.9 or newer, this is {torch.__version__}: use adamw or sgd"
        )


class MuonAdamW:
    """Muon (Jordan et al., 2024) for parameters of four dimensions, AdamW for all others.

    Muon takes a kernel ``(out, in, H, W)`` as the matrix ``(out, in * H * W)`` and replaces its update by
    about the nearest matrix with orthonormal rows or columns, in bfloat16. The update is scaled to the size
    of AdamW's (``match_rms_adamw`` of ``torch.optim.Muon``), so both take the same rate and weight decay.

    Move the net and set its memory format before: its kernels are changed through views.

    Args:
        groups: of parameters, with their ``weight_decay`` and ``lr_scale``.
        lr: the learning rate.
        momentum: of Muon; AdamW's first beta.

    Raises:
        ValueError: no parameter has four dimensions, or the memory of one is in neither of the two layouts.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, momentum: float) -> None:
        kernels = [kernel for group in groups for kernel in group["params"] if kernel.ndim == 4]
        if not kernels:
            raise ValueError("optimizer='muon' needs a net with convolutions to train: use adamw or sgd")
        self.matrices = {kernel: nn.Parameter(as_matrix(kernel.detach(), kernel)) for kernel in kernels}
        for kernel, matrix in self.matrices.items():
            if matrix.data_ptr() != kernel.data_ptr():
                raise ValueError(f"optimizer='muon' cannot view a kernel with strides {kernel.stride()}")
        of_kernels = [
            group | {"params": [self.matrices[kernel] for kernel in group["params"] if kernel.ndim == 4]}
            for group in groups
        ]
        of_rest = [
            group | {"params": [rest for rest in group["params"] if rest.ndim != 4]} for group in groups
        ]
        self.parts: dict[str, torch.optim.Optimizer] = {
            "muon": torch.optim.Muon(
                [group for group in of_kernels if group["params"]],
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
        """Clear the gradients of all parameters, or fill them with 0."""
        for kernel in self.matrices:
            if set_to_none:
                kernel.grad = None
            elif kernel.grad is not None:
                kernel.grad.zero_()
        for part in self.parts.values():
            part.zero_grad(set_to_none)

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for kernel, matrix in self.matrices.items():
            matrix.grad = None if kernel.grad is None else as_matrix(kernel.grad, kernel)
        for part in self.parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of both, by name."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of both."""
        for name, part in self.parts.items():
            part.load_state_dict(state[name])


def as_matrix(tensor: Tensor, kernel: Tensor) -> Tensor:
    """Return ``tensor``, of the shape of ``kernel``, as ``(out, in * H * W)`` in the order of its memory."""
    if kernel.is_contiguous(memory_format=torch.channels_last):
        tensor = tensor.movedim(1, -1)
    return tensor.reshape(len(tensor), -1)
