"""The learning rate: linear warm-up, then linear to 0."""

from __future__ import annotations


def learning_rate(step: int, total_steps: int, peak: float, warmup: float) -> float:
    """Return the rate of ``step`` (from 0), which rises to ``peak`` and falls to 0 after the last.

    >>> [learning_rate(step, 4, peak=1.0, warmup=0.5) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]

    Args:
        step: the step, in ``[0, total_steps)``.
        total_steps: steps of the whole run.
        peak: the highest rate.
        warmup: share of the steps in which the rate rises.
    """
    rising = round(warmup * total_steps)
    if step < rising:
        return peak * (step + 1) / rising
    return peak * (total_steps - step) / (total_steps - rising)
