"""The device to compute on: by name, or the best that this machine has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .arguments import one_of

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")


def select_device(name: str = "auto") -> torch.device:
    """Return the device ``name``; "auto" is a CUDA GPU, else Apple's, else the CPU.

    Raises:
        ValueError: the name is not one of ``DEVICES``, or this machine has no such device.
    """
    import torch  # here, as the command line reads DEVICES and should not wait for torch

    one_of("device", name, DEVICES)
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    if not available[name]:
        raise ValueError(f"device {name!r} is not available to torch on this machine; use 'cpu' or 'auto'")
    return torch.device(name)
