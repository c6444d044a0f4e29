"""The running mean of a net's weights, and the batch-norm statistics of the averaged net."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .config import TrainConfig

RECALIBRATION_BATCHES = 50


def averaged(model: nn.Module, config: TrainConfig) -> AveragedModel | None:
    """Return a copy of the net for the running mean of its weights, None where the options ask for none."""
    if not config.ema_decay:
        return None
    update = rising_ema(config.ema_decay) if config.ema_warmup else get_ema_multi_avg_fn(config.ema_decay)
    return AveragedModel(model, multi_avg_fn=update)


def rising_ema(decay: float) -> Callable[..., None]:
    """Return an update of ``AveragedModel`` whose decay is ``min(decay, (1 + n) / (10 + n))`` at update n.

    Early weights then count little (the rule of TensorFlow's ``ExponentialMovingAverage`` with
    ``num_updates``).
    """

    def update(averages: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        number = int(count)
        get_ema_multi_avg_fn(min(decay, (1 + number) / (10 + number)))(averages, current, count)

    return update


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the batch-norm statistics of an averaged net by their plain mean over some batches.

    The averaged net has processed no image, and the statistics of the nets it averages do not fit it
    (Izmailov et al., arXiv 1803.05407, section 3.2).

    Args:
        model: the net; it is left in eval mode.
        batches: training images ``(B, C, H, W)``, of which the first ``RECALIBRATION_BATCHES`` are used.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    model.eval()  # no dropout, and no layer that drop path skips
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's way to ask for a plain mean
        norm.train()
    for images in islice(batches, RECALIBRATION_BATCHES):
        model(images)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    model.eval()
