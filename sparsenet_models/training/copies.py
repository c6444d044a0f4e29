"""Images to score on that are also among those to learn from: they make a score too good."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path

from ..common.files import atomic_write, sha256_of
from ..data.image_set import AnyImageSet, ImageSet, image_title
from ..data.run_files import COPIES
from .progress import say

TAIL_BYTES = 4096


def say_copies(train_set: AnyImageSet, scored_set: AnyImageSet) -> list[tuple[str, str]]:
    """Say how many images of ``scored_set`` have an exact copy in ``train_set``, if any, with an example.

    Returns:
        Of each pair the image to learn from and the one to score on, by its file, or its index without one.
    """
    pairs = copies(train_set, scored_set)
    if pairs:
        train, scored = pairs[0]
        say(
            f"{len(pairs):,} of {len(scored_set):,} images to score on are also among those to learn from, "
            f"for instance {image_title(train_set, train)} and {image_title(scored_set, scored)}: remove the "
            f"copies, which {COPIES} in the run's folder lists, or the score is too good"
        )
    return [(_place(train_set, train), _place(scored_set, scored)) for train, scored in pairs]


def write_copies(folder: Path, pairs: Iterable[tuple[str, str]]) -> None:
    """Write ``copies.csv``: the pairs that ``say_copies`` returned."""
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(("learnt_from", "scored_on"))
    writer.writerows(pairs)
    with atomic_write(folder / COPIES) as (path,):
        path.write_bytes(os.fsencode(table.getvalue()))  # a name that is no text keeps its bytes


def _place(image_set: AnyImageSet, index: int) -> str:
    return image_set.paths[index] if image_set.paths else f"image {index}"


def copies(train_set: AnyImageSet, scored_set: AnyImageSet) -> list[tuple[int, int]]:
    """Return pairs of indices, of an image in ``train_set`` and of an exact copy in ``scored_set``.

    Images in memory are compared by their pixels. Streamed ones are compared by the content of their files,
    and only files of the same size are read, or by the encoded images of their rows, which are all read.
    Streamed ones that have neither, torchvision's CIFAR, are not compared.

    Raises:
        OSError: a file or a row cannot be read.
    """
    if isinstance(train_set, ImageSet) and isinstance(scored_set, ImageSet):
        return _matches(enumerate(_pixels(train_set)), enumerate(_pixels(scored_set)))
    if train_set.encoded_at is not None and scored_set.encoded_at is not None:
        return _matches(enumerate(_encoded(train_set)), enumerate(_encoded(scored_set)))
    return _matches(*_alike(train_set.paths, scored_set.paths))


def _encoded(image_set: AnyImageSet) -> Iterable[bytes]:
    assert image_set.encoded_at is not None
    for index in range(len(image_set)):
        yield hashlib.sha256(image_set.encoded_at(index)).digest()


def _pixels(image_set: ImageSet) -> Iterable[bytes]:
    for image in image_set.images.permute(0, 2, 3, 1):
        yield hashlib.sha256(image.contiguous().numpy()).digest()


def _alike(
    train: Sequence[str], scored: Sequence[str]
) -> tuple[list[tuple[int, Hashable]], list[tuple[int, Hashable]]]:
    """Return the indices of files in both lists with equal content, and a key of that content.

    The size of a file is read first, then its last bytes, and the whole only of those that are still alike.
    """
    keys: list[Callable[[str], Hashable]] = [
        lambda path: Path(path).stat().st_size,
        _tail,
        lambda path: sha256_of(Path(path)),
    ]
    left: list[tuple[int, Hashable]] = [(index, None) for index in range(len(train))]
    right: list[tuple[int, Hashable]] = [(index, None) for index in range(len(scored))]
    for key in keys:
        left = [(index, (before, key(train[index]))) for index, before in left]
        right = [(index, (before, key(scored[index]))) for index, before in right]
        shared = {found for _, found in left} & {found for _, found in right}
        left = [item for item in left if item[1] in shared]
        right = [item for item in right if item[1] in shared]
    return left, right


def _tail(path: str) -> bytes:
    with Path(path).open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
        return file.read()


def _matches(
    train: Iterable[tuple[int, Hashable]], scored: Iterable[tuple[int, Hashable]]
) -> list[tuple[int, int]]:
    first: dict[Hashable, int] = {}
    for index, key in train:
        first.setdefault(key, index)
    return [(first[key], index) for index, key in scored if key in first]
