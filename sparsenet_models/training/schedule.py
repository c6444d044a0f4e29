"""The learning rate: a linear warm-up, then a decay that is linear, a cosine or in steps."""

from __future__ import annotations

import math


def learning_rate(step: int, total_steps: int, peak: float, warmup: float, schedule: str = "linear") -> float:
    """Return the rate of ``step`` (from 0), which rises to ``peak`` and then falls.

    >>> [learning_rate(step, 4, peak=1.0, warmup=0.5) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]

    Args:
        step: the step, in ``[0, total_steps)``.
        total_steps: the number of steps of the whole run.
        peak: the highest rate.
        warmup: share of the steps in which the rate rises.
        schedule: "linear" or "cosine", which reach 0 after the last step, or "step": divided by 10
            after 1/2 and 3/4 of all steps (SparseNet paper, section 4.1).
    """
    rising = round(warmup * total_steps)
    if step < rising:
        return peak * (step + 1) / rising
    if schedule == "step":
        return peak * 0.1 ** ((step >= total_steps / 2) + (step >= total_steps * 3 / 4))
    left = (total_steps - step) / (total_steps - rising)
    return peak * left if schedule == "linear" else peak * (1 - math.cos(math.pi * left)) / 2
