"""What launchers of several processes say in the environment: torchrun, SLURM, MPI, or variables by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class _Launcher(NamedTuple):
    name: str
    counts: tuple[str, ...]
    rank: str
    local_rank: str


LAUNCHERS = (
    _Launcher("torchrun, or variables set by hand", ("WORLD_SIZE",), "RANK", "LOCAL_RANK"),
    _Launcher("Open MPI", ("OMPI_COMM_WORLD_SIZE",), "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"),
    _Launcher("MPI", ("PMI_SIZE",), "PMI_RANK", "MPI_LOCALRANKID"),
    # A script of sbatch has the number of tasks too, but is one process; srun counts those of its step.
    _Launcher("SLURM", ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"), "SLURM_PROCID", "SLURM_LOCALID"),
)
"""In the order in which they are asked: mpirun in a job of SLURM starts more processes than SLURM knows."""


def place_in(environment: Mapping[str, str], gpus: int = 0) -> tuple[int, int, int]:
    """Return the number of processes that a launcher started, the rank of this one, and that on its machine.

    Args:
        environment: as ``os.environ``.
        gpus: of this machine; where the launcher does not say it, the rank on the machine follows from them.

    Returns:
        ``(1, 0, 0)`` without a launcher.

    Raises:
        ValueError: there are several processes, and a variable that they need to meet is missing or wrong.
    """
    if "RANK" in environment and "WORLD_SIZE" not in environment:
        raise ValueError(
            f"RANK is set to {environment['RANK']!r} but WORLD_SIZE, the number of processes, is missing: "
            "set it, or unset RANK for one process"
        )
    for launcher in LAUNCHERS:
        counted = next((name for name in launcher.counts if name in environment), None)
        if counted is None:
            continue
        count = _whole_number(environment, counted, least=1)
        if count == 1:
            return 1, 0, 0
        for needed in (launcher.rank, "MASTER_ADDR", "MASTER_PORT"):
            if needed not in environment:
                raise ValueError(
                    f"{counted} says that this is one of {count} processes ({launcher.name}), but {needed} "
                    f"is missing: set it for each of them, or set WORLD_SIZE=1 for one process alone"
                )
        rank = _whole_number(environment, launcher.rank, least=0)
        if rank >= count:
            raise ValueError(f"{launcher.rank} must be below {counted}={count}, got {rank}")
        if launcher.local_rank in environment:
            return count, rank, _whole_number(environment, launcher.local_rank, least=0)
        return count, rank, rank % gpus if gpus else 0
    return 1, 0, 0


def _whole_number(environment: Mapping[str, str], name: str, least: int) -> int:
    text = environment[name]
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {text!r}")
    return int(text)
