"""Labelled images: in memory as uint8, or read from where they are, a batch at a time."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


@dataclass(frozen=True)
class ImageSet:
    """Images ``(N, C, H, W)`` uint8, labels ``(N,)`` int64, the name of each class, the set's name."""

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    name: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def to(self, device: torch.device) -> ImageSet:
        """Return the set with its images on ``device``."""
        return dataclasses.replace(self, images=self.images.to(device))

    def part(self, indices: Tensor) -> ImageSet:
        """Return the set of the images at ``indices``."""
        return dataclasses.replace(self, images=self.images[indices], labels=self.labels[indices])

    def batches(self, chosen: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield images ``(B, C, H, W)`` uint8, for each tensor of indices ``(B,)``."""
        for indices in chosen:
            yield self.images[indices.to(self.images.device)]


@dataclass(frozen=True)
class StreamedImageSet(Dataset[Tensor]):
    """The same for a set that does not fit in memory: images are read by DataLoader workers.

    ``open_row`` returns the PIL image of an index, ``crop`` brings it to ``size`` (channels, height,
    width in pixels), ``workers`` processes read; 0 reads in this one.
    """

    open_row: Callable[[int], Image.Image]
    crop: Callable[[Image.Image], Image.Image]
    size: tuple[int, int, int]
    labels: Tensor
    class_names: tuple[str, ...]
    name: str
    workers: int

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Tensor:
        channels, height, width = self.size
        image = self.open_row(index)
        if image.size != (width, height):
            image = self.crop(image)
        return torch.from_numpy(np.array(image).reshape(height, width, channels)).permute(2, 0, 1)

    def to(self, device: torch.device) -> StreamedImageSet:
        """Return the set itself: its images are where they are."""
        return self

    def part(self, indices: Tensor) -> StreamedImageSet:
        """Return the set of the images at ``indices``."""
        open_row = partial(_open_at, self.open_row, indices.tolist())
        return dataclasses.replace(self, open_row=open_row, labels=self.labels[indices])

    def batches(self, chosen: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield images ``(B, C, H, W)`` uint8, for each tensor of indices ``(B,)``.

        Raises:
            OSError: an image cannot be read.
        """
        loader = DataLoader(
            self,
            batch_sampler=[indices.tolist() for indices in chosen],
            num_workers=self.workers,
            # Ctrl-C reaches the workers too; the process that they read for decides what to do.
            worker_init_fn=_ignore_interrupts,
            # Its own, as the loader would else draw from torch's.
            generator=torch.Generator(),
        )
        try:
            yield from loader
        except OSError as error:
            # From a worker it comes with the worker's traceback, its own text last.
            raise OSError(str(error).strip().rpartition("\n")[2]) from error

    def in_memory(self) -> ImageSet:
        """Read every image."""
        # Written in place: a list of tensors beside their stack would need the memory twice.
        channels, height, width = self.size
        pixels = torch.empty((len(self), height, width, channels), dtype=torch.uint8)
        for index in range(len(self)):
            pixels[index] = self[index].permute(1, 2, 0)
        return ImageSet(pixels.permute(0, 3, 1, 2), self.labels, self.class_names, self.name)


AnyImageSet = ImageSet | StreamedImageSet


def _open_at(open_row: Callable[[int], Image.Image], indices: list[int], index: int) -> Image.Image:
    return open_row(indices[index])


def _ignore_interrupts(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
