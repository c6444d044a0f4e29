"""The time that a run takes, estimated from a few of its steps."""

from __future__ import annotations

from collections.abc import Sequence

from .config import TrainConfig

FIRST_STEPS = 4
"""The first one compiles the net and starts the data workers, the others are timed."""


def seconds_per_step(times: Sequence[float]) -> float:
    """Return the mean seconds of a step, without the first one unless it is the only one.

    Args:
        times: in seconds, before the first step and after every step.
    """
    timed = times[1:] if len(times) > 2 else times
    return (timed[-1] - timed[0]) / (len(timed) - 1)


def epochs_left(config: TrainConfig, full: int, done: float, side: int | None) -> float:
    """Return the epochs that are left, in epochs at ``side``: their time grows with an image's pixels.

    Args:
        config: epochs and resolution.
        full: side in pixels of the images of a run without ``resolution``.
        done: epochs before, with a fraction.
        side: in pixels, as ``config.side_in`` returns it.
    """
    pixels, end = 0.0, 0
    for part_side, epochs in config.sides_and_epochs(full):
        end += epochs
        pixels += part_side**2 * max(0, min(epochs, end - done))
    return pixels / (side or full) ** 2
