"""The commit, the settings and the machine that decide the last digits of a run's weights."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import torch

from .config import TrainConfig
from .distributed import Processes


def environment(
    config: TrainConfig,
    precision: str,
    compiled_sides: tuple[int, ...],
    processes: Processes,
    device: torch.device,
) -> dict[str, Any]:
    """Return what a run computes with, JSON-ready; a resumed run is exact where nothing of it has changed."""
    on_gpu = device.type == "cuda"
    return {
        "torch": str(torch.__version__),
        "device": torch.cuda.get_device_name(device) if on_gpu else device.type,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "processes": processes.count,
        "precision": precision,
        "compiled_sides": list(compiled_sides),
        "cuda_graphs": config.cuda_graphs,
        "workers": config.workers,
    }


def changes(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return the differences, such as "threads 2 -> 1, torch 2.11 -> 2.15"; "" where there are none.

    What an older library did not record is left out.
    """
    return ", ".join(
        f"{key} {before[key]} -> {now[key]}" for key in now if before.get(key, now[key]) != now[key]
    )


def git_commit() -> str:
    """Return the commit of the checkout that the library runs from, "" where it is installed.

    "-dirty" is appended where tracked files differ from that commit.
    """
    checkout = Path(__file__).parent.parent.parent
    # In an environment inside of another repository, git would return that repository's commit.
    if not (checkout / ".git").exists():
        return ""
    try:
        commit = _git(checkout, "rev-parse", "HEAD")
        changed = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{commit}-dirty" if changed else commit


def _git(folder: Path, *arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return result.stdout.strip()
