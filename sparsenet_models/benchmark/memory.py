"""The memory of this process: now, and the most until now."""

from __future__ import annotations

import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def resident_mib() -> float | None:
    """Return the MiB that this process has in memory now; elsewhere than on Linux, ``peak_mib()``."""
    return _of_status("VmRSS") if _STATUS.exists() else peak_mib()


def peak_mib() -> float | None:
    """Return the most MiB that this process has had in memory; None on Windows."""
    if _STATUS.exists():
        return _of_status("VmHWM")
    try:
        import resource
    except ImportError:
        return None
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / 2 ** (20 if sys.platform == "darwin" else 10)


def _of_status(field: str) -> float:
    lines = _STATUS.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))
