"""Several processes in one run, started by a launcher; in a run of one process these functions do nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from ..common.devices import select_device
from ..data.evaluate import Score
from .launchers import place_in

LONGEST_WAIT = timedelta(minutes=5)
"""A process that waits longer for the others fails, and torchrun restarts all. torch has 30 minutes."""

CLOSED_BY_PARTNER = "by peer"
"""From gloo's words: connection closed, or reset, by peer."""

PARTNER_ENDED = "another process of this run has ended; its own message says why"


@dataclass(frozen=True)
class Processes:
    """The number of processes, the rank of this one, and its rank on its machine."""

    count: int = 1
    rank: int = 0
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0


@contextmanager
def joined_processes(device: str) -> Iterator[tuple[Processes, torch.device]]:
    """Join the processes that a launcher started with this one, if one did, and choose the device.

    Args:
        device: "auto", "cpu", "cuda" or "mps"; each process of a machine gets a GPU of its own.

    Raises:
        ValueError: there are more processes than GPUs, there is no such device, or the environment does not
            say how the processes meet.
        OSError: they do not meet, or one of them ends before the others.
    """
    chosen = select_device(device)
    gpus = torch.cuda.device_count() if chosen.type == "cuda" else 0
    processes = Processes(*place_in(os.environ, gpus))
    if processes.count == 1:
        yield processes, chosen
        return
    if chosen.type == "cuda":
        by_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
        chosen = torch.device("cuda", own_gpu(processes.local_rank, gpus, by_torchrun))
        torch.cuda.set_device(chosen)
    _meet(processes, "nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield processes, chosen
        dist.barrier()  # a process that leaves early would break the connections of the others
    except RuntimeError as error:
        if CLOSED_BY_PARTNER not in str(error):
            raise
        raise OSError(PARTNER_ENDED) from error
    finally:
        dist.destroy_process_group()


def own_gpu(local_rank: int, gpus: int, by_torchrun: bool) -> int:
    """Return the index of the GPU for the process of that rank on its machine.

    Args:
        local_rank: of the process on its machine.
        gpus: how many this process sees.
        by_torchrun: whether torchrun started the processes. Other launchers, such as SLURM, may show each
            process its own GPU alone.

    Raises:
        ValueError: there are fewer GPUs than processes.
    """
    if gpus == 1 and not by_torchrun:
        return 0
    if local_rank >= gpus:
        raise ValueError(
            f"there are more processes on this machine than its {gpus} GPUs: start one for each GPU"
        )
    return local_rank


def _meet(processes: Processes, backend: str) -> None:
    rank, count = processes.rank, processes.count
    try:
        store, _, _ = next(dist.rendezvous("env://", rank, count, timeout=LONGEST_WAIT))
        # torchrun keeps its store over a restart, with the addresses of the previous processes.
        store = dist.PrefixStore(f"restart_{restarts()}", store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=LONGEST_WAIT)
    except (RuntimeError, ValueError) as error:
        if CLOSED_BY_PARTNER in str(error):
            raise OSError(PARTNER_ENDED) from error
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        reason = str(error).strip().partition("\n")[0]
        raise OSError(
            f"the {count} processes do not meet at MASTER_ADDR:MASTER_PORT, {where}: {reason}"
        ) from error


def restarts() -> int:
    """Return how often torchrun has started the processes again after one of them failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))


def wrapped(model: nn.Module, processes: Processes, some_unused: bool = False) -> nn.Module:
    """Return the net with its gradients averaged over the processes.

    Args:
        model: the net, on its device.
        processes: of the run.
        some_unused: whether a step may leave parameters without a gradient.
    """
    if processes.count == 1:
        return model
    return nn.parallel.DistributedDataParallel(model, find_unused_parameters=some_unused)


def without_averaging(model: Any) -> AbstractContextManager[object]:
    """Return the context in which gradients of ``wrapped``, compiled or not, stay in this process.

    Where a step may leave parameters without a gradient, they are averaged after all.
    """
    if getattr(model, "find_unused_parameters", True):  # a net that is not distributed has no such attribute
        return nullcontext()
    return model.no_sync()


def from_first(value: Any, processes: Processes) -> Any:
    """Return the ``value`` of the first process in every one."""
    if processes.count == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def summed(tensor: torch.Tensor, processes: Processes) -> torch.Tensor:
    """Return the sum of ``tensor`` over all processes."""
    if processes.count > 1:
        tensor = tensor.clone()
        dist.all_reduce(tensor)
    return tensor


def largest(tensor: torch.Tensor, processes: Processes) -> torch.Tensor:
    """Return the largest of the elements of ``tensor`` over all processes."""
    if processes.count > 1:
        tensor = tensor.clone()
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return tensor


def share_buffers(model: nn.Module, processes: Processes) -> None:
    """Give every process the first one's batch-norm statistics."""
    if processes.count > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def merged(score: Score, processes: Processes, device: torch.device) -> Score:
    """Return the score of all images from the scores of each process's part."""
    if processes.count == 1:
        return score
    count = score.count
    sums = [score.top1 * count, score.top5 * count, score.loss * count, count, score.images_per_second]
    top1, top5, loss, total, speed = summed(torch.tensor(sums, device=device), processes).tolist()
    confusion = score.confusion
    if confusion is not None:
        confusion = summed(confusion.to(device), processes).cpu()
    return Score(top1 / total, top5 / total, loss / total, round(total), speed, confusion)
