"""The machine: what its speed depends on, and how fast it multiplies matrices."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

import torch

from .timing import timed

MATRIX_SIDES = (1024, 2048)


def describe_machine(device: torch.device) -> dict[str, str | int]:
    """Return the processor and its instructions, this process's cores and threads, torch, the GPU if used."""
    described: dict[str, str | int] = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": str(torch.__version__),
    }
    if device.type == "cuda":
        described["gpu"] = torch.cuda.get_device_name(device)
    return described


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def matrix_product(dtype: str, device_name: str) -> Iterator[float]:
    """Yield the operations per second of the fastest of some matrix products, again and again."""
    device = torch.device(device_name)
    if device.type == "cuda":  # as convolutions do by default, so that they are compared with their own peak
        torch.set_float32_matmul_precision("high")
    pairs = [torch.randn(2, side, side).to(device, getattr(torch, dtype)) for side in MATRIX_SIDES]
    outs = [torch.empty_like(pair[0]) for pair in pairs]

    def operations_per_second(pair: torch.Tensor, out: torch.Tensor) -> float:
        return 2 * len(out) ** 3 / timed(lambda: torch.mm(pair[0], pair[1], out=out), device)

    while True:
        yield max(map(operations_per_second, pairs, outs))
