"""How a run computes its steps: in which precision, and at which sizes by torch.compile or CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn

from ..optimization.compiling import allow_shapes, why_not_compile
from ..optimization.cuda_graphs import captured
from .batches import TrainingBatches
from .build import skips_layers
from .compiling import sides_to_compile
from .config import TrainConfig
from .distributed import Processes, from_first, wrapped
from .precision import fastest_precision
from .progress import say
from .record import Record
from .step import resized


class Execution:
    """Chooses how a run computes its steps. What the options leave open is timed.

    Args:
        model: the net, on its device and in its memory format; it stays as it is.
        config: the options of the run.
        batches: the first one is timed.
        input_size: channels, height and width of images of which no other size is asked for.
        processes: of the run; all take what the first one finds.
        device: of net and batches.
    """

    def __init__(
        self,
        model: nn.Module,
        config: TrainConfig,
        batches: TrainingBatches,
        input_size: tuple[int, int, int],
        processes: Processes,
        device: torch.device,
    ) -> None:
        self.model, self.config, self.batches = model, config, batches
        self.channels, _, self.own_side = input_size
        self.processes, self.device = processes, device

    def choose(self, record: Record) -> tuple[int, ...]:
        """Write the precision into ``record``; return the sides at which the net is compiled.

        What an earlier start of the run has found, and ``record`` holds, is not timed again.
        """
        record.precision = from_first(self._precision(record), self.processes)
        return self._compiled_sides(record)

    def forward_at(self, sides: tuple[int, ...], precision: str) -> Callable[[int | None], Any]:
        """Return a function from the side of images to the net as a step calls it with them.

        Args:
            sides: in pixels, at which the net is compiled.
            precision: of the forward pass, "float32" or "bfloat16".
        """
        model, own = self.model, self.own_side
        if self.config.cuda_graphs:
            batch = (self.batches.batch_size, self.channels)
            return cache(lambda side: captured(model, (*batch, side or own, side or own), precision))
        plain = wrapped(model, self.processes, skips_layers(model))
        if not sides:
            return lambda side: plain
        allow_shapes(len(sides) * min(2, self.config.accumulate))  # parts may differ by an image
        compiled = torch.compile(plain, dynamic=False)
        return lambda side: compiled if (side or own) in sides else plain

    def _precision(self, record: Record) -> str:
        if self.config.precision != "auto":
            return self.config.precision
        if record.precision:
            return record.precision
        if self.config.cuda_graphs:  # timing steps that Python launches would time Python
            return "bfloat16" if torch.cuda.get_device_capability(self.device) >= (8, 0) else "float32"
        chosen, seconds = fastest_precision(self.model, resized(self.batches.part_of_a_step(), None))
        timed = ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items())
        part = "a step" if self.config.accumulate == 1 else "a part of a step"
        say(f"precision: {chosen} ({part} without torch.compile: {timed})")
        return chosen

    def _compiled_sides(self, record: Record) -> tuple[int, ...]:
        if not self.config.compile or self.config.cuda_graphs:
            return ()
        reason = from_first(why_not_compile(self.device), self.processes)
        if reason:
            say(f"{reason}: running without torch.compile")
            return ()
        if record.compiled_sides is None:
            record.compiled_sides = sides_to_compile(
                self.model,
                self.batches.part_of_a_step(),
                self._parts_by_side(),
                record.precision,
                self.processes,
            )
        return record.compiled_sides

    def _parts_by_side(self) -> dict[int, int]:
        """Return how many parts of steps the net learns from, by the side in pixels of their images."""
        parts: dict[int, int] = {}
        for side, epochs in self.config.sides_and_epochs(self.own_side):
            parts[side] = parts.get(side, 0) + epochs * len(self.batches) * self.config.accumulate
        return parts
