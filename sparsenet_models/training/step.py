"""One training step: forward, loss, backward, update."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import TrainConfig
from .distill import Teacher, distillation_loss
from .distributed import without_averaging
from .precision import autocast
from .state import TrainingState


class TrainingStep:
    """A step of SGD on one batch.

    Args:
        state: net and optimizer.
        forward_at: called with the side of images in pixels (None: their own), returns the net as it is
            called with them, compiled and distributed.
        teacher: the net to distill, or None.
        class_weights: ``(classes,)``, the ``weight`` of torch's cross-entropy, of which the sum is divided by
            the number of images; or None.
        config: parts of a step, label smoothing, clipping, distillation, seed.
        precision: of the forward pass, "float32" or "bfloat16".
        rank: of this process; each draws its own dropout.
        device: of net and batches.
    """

    def __init__(
        self,
        state: TrainingState,
        forward_at: Callable[[int | None], Any],
        teacher: Teacher | None,
        class_weights: Tensor | None,
        config: TrainConfig,
        precision: str,
        rank: int,
        device: torch.device,
    ) -> None:
        self.state, self.forward_at, self.teacher, self.config = state, forward_at, teacher, config
        self.class_weights = class_weights
        self.precision, self.rank, self.device = precision, rank, device

    def __call__(
        self, images: Tensor, labels: Tensor, side: int | None, learning_rate: float, number: int
    ) -> Tensor:
        """Update the net; return the batch's mean loss, a scalar on the device.

        The batch is computed in ``config.accumulate`` parts of equal size, or of one image more, and their
        gradients are summed. Each part has its own batch-norm statistics.

        Args:
            images: ``(B, C, H, W)``, normalised.
            labels: ``(B,)`` int64, or ``(B, classes)``.
            side: in pixels, to which images are resized for the net; None for their own. The teacher sees
                their own.
            learning_rate: of the head; other parts have theirs scaled.
            number: of the step in the whole run.
        """
        # Seeded by the step's number, dropout draws the same in a resumed run.
        seed = (self.config.seed * 1_000_003 + number) * 1_000_003 + self.rank
        torch.manual_seed(seed % 2**63)
        self.state.set_learning_rate(learning_rate)
        optimizer, forward = self.state.optimizer, self.forward_at(side)
        optimizer.zero_grad(set_to_none=True)
        mean = torch.zeros((), device=self.device)
        parts = [batch.tensor_split(self.config.accumulate) for batch in (images, labels)]
        for count, (part, part_labels) in enumerate(zip(*parts), 1):
            is_last = count == self.config.accumulate
            with nullcontext() if is_last else without_averaging(forward):
                with autocast(self.device, self.precision):
                    logits = forward(resized(part, side))
                loss = self._loss(logits.float(), part_labels, part) * (len(part) / len(images))
                loss.backward()
            mean += loss.detach()
        if self.config.clip_grad_norm:
            nn.utils.clip_grad_norm_(self.state.model.parameters(), self.config.clip_grad_norm)
        optimizer.step()
        return mean

    def _loss(self, logits: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        config = self.config
        smoothing = config.label_smoothing
        if self.class_weights is None:
            loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        else:  # torch's own mean would divide by the weights of the batch, but not for mixed labels
            weights = self.class_weights
            loss = F.cross_entropy(logits, labels, weights, reduction="sum", label_smoothing=smoothing)
            loss = loss / len(logits)
        if self.teacher is None:
            return loss
        with autocast(self.device, self.precision):
            teacher_logits = self.teacher(resized(images, None))
        distilled = distillation_loss(logits, teacher_logits, config.distill_temperature)
        return torch.lerp(loss, distilled, config.distill_weight)


def balanced_weights(labels: Tensor, classes: int) -> Tensor:
    """Return the weights ``(classes,)`` by which each class counts alike; their mean over all images is 1.

    >>> balanced_weights(torch.tensor([0, 0, 0, 1]), 2).tolist()
    [0.6666666865348816, 2.0]

    Args:
        labels: ``(N,)`` int64 of the training images, at least one for each class.
        classes: their number.
    """
    return len(labels) / (classes * labels.bincount(minlength=classes).float())


def resized(images: Tensor, side: int | None) -> Tensor:
    """Return images ``(B, C, H, W)`` with both sides of ``side`` pixels, in channels-last layout."""
    if side is not None and images.shape[2:] != (side, side):
        try:
            images = F.interpolate(images, (side, side), mode="bilinear", antialias=True)
        except NotImplementedError:  # Apple's GPUs before torch 2.7
            on_cpu = F.interpolate(images.cpu(), (side, side), mode="bilinear", antialias=True)
            images = on_cpu.to(images.device)
    return images.contiguous(memory_format=torch.channels_last)
