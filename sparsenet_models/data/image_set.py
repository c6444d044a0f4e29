"""Labelled images as uint8 tensors: all in memory, or read from their source in batches."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..common.messages import one_line

Item = TypeVar("Item")


@dataclass(frozen=True)
class ImageSet:
    """``images`` ``(N, C, H, W)`` uint8, ``labels`` ``(N,)`` int64, class names, and a name for messages.

    ``paths`` are the files of the images, empty where they come from no files of their own; for the rows of a
    table ``encoded_at`` returns the encoded image of an index. ``soft_labels`` are ``(N, classes)``
    probabilities to train on beside the labels, or None.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    name: str
    paths: tuple[str, ...] = ()
    encoded_at: Callable[[int], bytes] | None = None
    soft_labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def to(self, device: torch.device) -> ImageSet:
        """Return the set with its images on ``device``."""
        return dataclasses.replace(self, images=self.images.to(device))

    def part(self, indices: Tensor) -> ImageSet:
        """Return the subset of the images at ``indices`` ``(M,)``."""
        return dataclasses.replace(
            self,
            images=self.images[indices],
            labels=self.labels[indices],
            paths=_at(indices, self.paths),
            encoded_at=self.encoded_at and partial(_at_position, self.encoded_at, indices.tolist()),
            soft_labels=None if self.soft_labels is None else self.soft_labels[indices],
        )

    def batches(self, batch_indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the images ``(B, C, H, W)`` uint8 of each tensor of indices ``(B,)``."""
        for indices in batch_indices:
            yield self.images[indices.to(self.images.device)]


@dataclass(frozen=True)
class StreamedImageSet(Dataset[Tensor]):
    """An image set that need not fit in memory: a DataLoader reads its images.

    ``open_image_at`` returns the PIL image of an index; ``crop`` crops it to ``size`` (channels, height
    and width in pixels); ``workers`` is the number of processes that read, 0 for this process; ``paths``,
    ``encoded_at`` and ``soft_labels`` are those of ``ImageSet``.
    """

    open_image_at: Callable[[int], Image.Image]
    crop: Callable[[Image.Image], Image.Image]
    size: tuple[int, int, int]
    labels: Tensor
    class_names: tuple[str, ...]
    name: str
    workers: int
    paths: tuple[str, ...] = ()
    encoded_at: Callable[[int], bytes] | None = None
    soft_labels: Tensor | None = None
    _idle: list[DataLoader[Tensor]] = field(default_factory=list, init=False, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Tensor:
        channels, height, width = self.size
        image = self.crop(self.open_image_at(index))
        return torch.from_numpy(np.array(image).reshape(height, width, channels)).permute(2, 0, 1)

    def to(self, device: torch.device) -> StreamedImageSet:
        """Return the set itself: its images stay at their source."""
        return self

    def part(self, indices: Tensor) -> StreamedImageSet:
        """Return the subset of the images at ``indices`` ``(M,)``."""
        return dataclasses.replace(
            self,
            open_image_at=partial(_at_position, self.open_image_at, indices.tolist()),
            labels=self.labels[indices],
            paths=_at(indices, self.paths),
            encoded_at=self.encoded_at and partial(_at_position, self.encoded_at, indices.tolist()),
            soft_labels=None if self.soft_labels is None else self.soft_labels[indices],
        )

    def batches(self, batch_indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the images ``(B, C, H, W)`` uint8 of each tensor of indices ``(B,)``.

        The workers stay for the next call.

        Raises:
            OSError: an image cannot be read, or a worker was killed.
        """
        loader = self._idle.pop() if self._idle else self._new_loader()
        loader.batch_sampler.batches = [indices.tolist() for indices in batch_indices]  # type: ignore[union-attr]
        try:
            yield from _started(loader)
            self._idle.append(loader)
        except GeneratorExit:
            self._idle.append(loader)  # torch throws away what was read ahead
            raise
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            raise OSError(
                f"a process that reads the images of {self.name} was killed, perhaps for want of memory: "
                f"fewer workers than {self.workers} need less"
            ) from error
        except OSError as error:
            # A worker's error has the worker's traceback as its text, and class and message in the last line.
            line = str(error).strip().rpartition("\n")[2]
            raise OSError(re.sub(r"^\w+Error: ", "", line)) from error

    def _new_loader(self) -> DataLoader[Tensor]:
        return DataLoader(
            # Without the loaders, which cannot be sent to a worker, and what a worker does not read.
            dataclasses.replace(self, soft_labels=None),
            batch_sampler=_Batches(),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            worker_init_fn=_leave_signals_to_the_main_process,
            # Without a generator, the loader would draw from torch's.
            generator=torch.Generator(),
        )

    def in_memory(self, on_image: Callable[[int], object] | None = None) -> ImageSet:
        """Return the set with every image read into memory; ``on_image(1)`` is called after each."""
        # Written in place, as torch.stack of a list would need the memory twice.
        channels, height, width = self.size
        pixels = torch.empty((len(self), height, width, channels), dtype=torch.uint8)
        for index in range(len(self)):
            pixels[index] = self[index].permute(1, 2, 0)
            if on_image is not None:
                on_image(1)
        images = pixels.permute(0, 3, 1, 2)
        return ImageSet(
            images, self.labels, self.class_names, self.name, self.paths, self.encoded_at, self.soft_labels
        )


AnyImageSet = ImageSet | StreamedImageSet


def image_title(image_set: AnyImageSet, index: int) -> str:
    """Return what a message calls an image: its file, or its index where it has none."""
    return one_line(image_set.paths[index], 300) if image_set.paths else f"image {index}"


def _at_position(at: Callable[[int], Item], indices: list[int], position: int) -> Item:
    return at(indices[position])


def _at(indices: Tensor, paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(paths[index] for index in indices.tolist()) if paths else ()


class _Batches(Sampler[list[int]]):
    """The indices of the batches of one pass, replaced before each."""

    batches: Sequence[list[int]] = ()

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def _started(loader: DataLoader[Tensor]) -> Iterator[Tensor]:
    """Start a pass. A dead worker is then noticed where its batch is awaited, not within a training step.

    At its first start torch installs a handler of SIGCHLD that raises wherever the main process is.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not (in_main_thread and hasattr(signal, "SIGCHLD")):
        return iter(loader)
    before = signal.getsignal(signal.SIGCHLD)
    iterator = iter(loader)
    signal.signal(signal.SIGCHLD, before)
    return iterator


def _leave_signals_to_the_main_process(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # out of the group that Ctrl-C and a launcher's SIGTERM go to
