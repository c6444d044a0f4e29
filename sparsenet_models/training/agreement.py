"""Several processes agree whether to stop, in time for the launcher that asked them to."""

from __future__ import annotations

import time

import torch

from .distributed import Processes, largest

SECONDS_BETWEEN_AGREEMENTS = 5.0
"""torchrun kills its processes 30 s after its signal."""

MOST_STEPS_BETWEEN = 1000


def steps_between(seconds: float) -> int:
    """Return how many steps of so many seconds fit between two agreements: at least one."""
    if seconds * MOST_STEPS_BETWEEN <= SECONDS_BETWEEN_AGREEMENTS:
        return MOST_STEPS_BETWEEN
    return max(1, int(SECONDS_BETWEEN_AGREEMENTS / seconds))


class Agreement:
    """Asks all processes every few seconds whether one of them got a signal; asking takes time.

    All count the same steps, as they must ask after the same one: those of the slowest process.
    """

    def __init__(self, processes: Processes, device: torch.device) -> None:
        self.processes, self.device = processes, device
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Ask after the next step: those of a new epoch may take longer, at a larger side or to compile."""
        self.asked_at, self.steps, self.ask_after = time.monotonic(), 0, 1

    def is_any(self, own: bool, at_end: bool = False) -> bool:
        """Return whether a process says so, False where it is too early to ask; call it after every step.

        Args:
            own: what this process says.
            at_end: ask now.
        """
        if self.processes.count == 1:
            return own
        self.steps += 1
        if self.steps < self.ask_after and not at_end:
            return False
        seconds = (time.monotonic() - self.asked_at) / self.steps
        answer = largest(torch.tensor([float(own), seconds], device=self.device), self.processes)
        self.asked_at, self.steps, self.ask_after = time.monotonic(), 0, steps_between(answer[1].item())
        return bool(answer[0])
