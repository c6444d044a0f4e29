"""Augmented batches of a set: alternating flip, reflect-padded crop, and the augmentations of the options.

The flip alternates from epoch to epoch, so that two epochs show every image both ways (Jordan, "94% on
CIFAR-10 in 3.29 seconds on a single GPU", arXiv 2404.00498, section 3.6). What a step draws depends on
the seed, the epoch and the step alone, so a resumed run continues with the same batches, from any step.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..data.evaluate import normalised
from ..data.image_set import AnyImageSet
from .augment import cut_out, mixed, padded_crop, padding_of, trivially_augmented
from .config import TrainConfig
from .distributed import Processes
from .soft_labels import softened


class TrainingBatches:
    """Batches of normalised images ``(B, C, H, W)`` and labels on a device.

    Args:
        image_set: the training images; those in memory are moved to ``device``.
        config: batch size (at most N; a smaller last batch is skipped), parts of a step, seed and
            augmentations.
        mean: of each channel, with pixels in [0, 1].
        std: the standard deviation of each channel, likewise.
        device: of the batches.
        processes: of a distributed run; each gets its own part of every batch.

    Raises:
        ValueError: the batch size is not a multiple of the number of processes, or a process has fewer
            images of a step than it computes parts.
    """

    def __init__(
        self,
        image_set: AnyImageSet,
        config: TrainConfig,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
        processes: Processes,
    ) -> None:
        self.image_set = image_set.to(device)
        self.config, self.mean, self.std, self.device = config, mean, std, device
        self.batch_size = min(config.batch_size, len(image_set))
        if self.batch_size % processes.count:
            most = len(image_set) // processes.count
            nearest = min(max(1, round(self.batch_size / processes.count)), most) * processes.count
            raise ValueError(
                f"batch_size {config.batch_size}, with {len(image_set):,} images, cannot be split among "
                f"{processes.count} processes; the nearest that can is {nearest}"
            )
        part = self.batch_size // processes.count
        if part < config.accumulate:
            raise ValueError(
                f"accumulate must be at most {part}, the images of a step in each process, got "
                f"{config.accumulate}"
            )
        self.images_at_a_time = part // config.accumulate
        self.part = slice(processes.rank * part, (processes.rank + 1) * part)
        self.rank = processes.rank
        self.flipped_first = torch.rand(len(image_set), generator=self._generator(0)) < 0.5

    def __len__(self) -> int:
        return len(self.image_set) // self.batch_size

    def part_of_a_step(self) -> Tensor:
        """Return the first ``images_at_a_time`` images of the first batch, to time steps on."""
        images, _ = next(self.epoch(1))
        return images[: self.images_at_a_time]

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of ``epoch`` (from 1), from step ``start`` on.

        Labels are ``(B,)`` int64, or ``(B, classes)`` where they are soft or the batch was mixed.
        """
        order = torch.randperm(len(self.image_set), generator=self._generator(epoch))
        flipped = self.flipped_first ^ (epoch % 2 == 0)
        steps = order[: len(self) * self.batch_size].split(self.batch_size)[start:]
        chosen = [step[self.part] for step in steps]
        for step, (indices, images) in enumerate(zip(chosen, self.image_set.batches(chosen)), start):
            labels = self._labels(indices).to(self.device)
            yield self._augmented(images.to(self.device), labels, flipped[indices], epoch, step)

    def _labels(self, indices: Tensor) -> Tensor:
        labels, soft = self.image_set.labels[indices], self.image_set.soft_labels
        return labels if soft is None else softened(labels, soft[indices], self.config.distill_weight)

    def _augmented(
        self, images: Tensor, labels: Tensor, flipped: Tensor, epoch: int, step: int
    ) -> tuple[Tensor, Tensor]:
        options, on = self.config, self.config.augments_in(epoch)
        height, width = images.shape[2:]
        generator = self._generator(epoch, step)
        # Drawn for the whole batch, so that its images do not depend on how many processes share it.
        shifts = torch.randint(2 * padding_of(height, width) + 1, (2, self.batch_size), generator=generator)
        centres = torch.stack(
            [torch.randint(side, (self.batch_size,), generator=generator) for side in (height, width)]
        )
        images = padded_crop(images, flipped, shifts[:, self.part])
        if options.trivial_augment and on:
            images = trivially_augmented(images, options.trivial_augment, self._seed(epoch, step, self.rank))
        images = normalised(images, self.mean, self.std)
        if options.cutout and on:
            images = cut_out(images, options.cutout, centres[:, self.part])
        if (options.cutmix or options.mixup) and on:
            classes = len(self.image_set.class_names)
            seed = self._seed(epoch, step, self.rank, 1)
            images, labels = mixed(images, labels, classes, options.cutmix, options.mixup, seed)
        return images, labels

    def _seed(self, *numbers: int) -> int:
        """Return a seed that differs between the epochs, steps and processes of a run."""
        seed = self.config.seed
        for number in numbers:
            seed = (seed * 1_000_003 + number) % 2**63
        return seed

    def _generator(self, *numbers: int) -> torch.Generator:
        return torch.Generator().manual_seed(self._seed(*numbers))
