"""The score of a net in training, by all processes together."""

from __future__ import annotations

import torch
from torch import nn

from ..data.evaluate import Score, evaluate
from ..data.image_set import AnyImageSet
from ..optimization.inference import folded
from .averaging import recalibrate
from .batches import TrainingBatches
from .distributed import Processes, merged, share_buffers
from .inputs import Inputs
from .precision import autocast
from .state import TrainingState
from .step import resized


class Scorer:
    """Scores the net that a run would end with now.

    Args:
        inputs: the images to score on, their mean and deviation.
        batches: training batches, for the batch-norm statistics of an averaged net.
        processes: of the run; each scores a part of the images.
        device: of the net.
    """

    def __init__(
        self, inputs: Inputs, batches: TrainingBatches, processes: Processes, device: torch.device
    ) -> None:
        for scored in (inputs.watched_set, inputs.test_set):
            if len(scored) < processes.count:
                raise ValueError(
                    f"{processes.count} processes cannot share {len(scored)} images to score on: start at "
                    f"most {len(scored)}, or add images"
                )
        self.inputs, self.batches, self.processes, self.device = inputs, batches, processes, device
        # Kept, as the data workers of a streamed set stay with it.
        self.watched_part = self._own_part(inputs.watched_set)
        is_same = inputs.test_set is inputs.watched_set
        self.test_part = self.watched_part if is_same else self._own_part(inputs.test_set)

    def watched(self, state: TrainingState, precision: str) -> Score:
        """Return the score on the images that epochs are scored on; an averaged net is recalibrated first."""
        model = state.final_model
        if model is not state.model:
            # The last epoch's augmentation is the nearest to the images of the test.
            last = self.batches.epoch(self.batches.config.epochs)
            with autocast(self.device, precision):
                recalibrate(model, (resized(images, None) for images, _ in last))
        share_buffers(model, self.processes)
        return self._score(model, self.watched_part)

    def test(self, model: nn.Module) -> Score:
        """Return the score of ``model`` on the test images."""
        return self._score(model, self.test_part)

    def _own_part(self, image_set: AnyImageSet) -> AnyImageSet:
        if self.processes.count == 1:
            return image_set
        return image_set.part(torch.arange(self.processes.rank, len(image_set), self.processes.count))

    def _score(self, model: nn.Module, own_part: AnyImageSet) -> Score:
        with folded(model):
            score = evaluate(model, own_part, **self.inputs.mean_and_std)
        return merged(score, self.processes, self.device)
