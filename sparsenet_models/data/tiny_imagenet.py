"""Tiny ImageNet in its own layout: 100,000 training and 10,000 test images of 64x64 pixels, 200 classes.

    wnids.txt  words.txt  train/n01443537/images/*.JPEG  val/images/*.JPEG  val/val_annotations.txt

The images of ``test/`` have no labels, so those of ``val/`` are the test images, as in the literature.
"""

from __future__ import annotations

from pathlib import Path

from .class_folders import ClassFolders, pictures_in

CLASSES, WORDS, ANNOTATIONS = "wnids.txt", "words.txt", "val/val_annotations.txt"


def is_tiny_imagenet(folder: Path) -> bool:
    """Return whether a folder has the layout of Tiny ImageNet's archive."""
    return all((folder / file).is_file() for file in (CLASSES, WORDS, ANNOTATIONS))


def read_tiny_imagenet(folder: Path, split: str) -> ClassFolders:
    """Find the pictures of a split, "train" or "test".

    The classes are in the order of their WordNet numbers, and have the first of their names in ``words.txt``.

    Raises:
        ValueError: a class has no name, a line of a text file is not in its form, or there is no picture.
        OSError: a file cannot be read.
    """
    numbers = sorted((folder / CLASSES).read_text(encoding="utf-8").split())
    words = dict(_rows(folder / WORDS))
    for number in numbers:
        if number not in words:
            raise ValueError(f"{folder / WORDS} has no line for the class {number} of {folder / CLASSES}")
    names = tuple(words[number].partition(",")[0] for number in numbers)
    label_of = {number: label for label, number in enumerate(numbers)}
    if split == "train":
        by_class = [pictures_in(folder / "train" / number / "images") for number in numbers]
        labels = [label for label, paths in enumerate(by_class) for _ in paths]
        return ClassFolders(names, tuple(path for paths in by_class for path in paths), tuple(labels))
    rows = _rows(folder / ANNOTATIONS)
    for file, number in rows:
        if number not in label_of:
            raise ValueError(
                f"{folder / ANNOTATIONS} has {file} in the class {number}, which {CLASSES} has not"
            )
    paths = tuple(str(folder / "val" / "images" / file) for file, _ in rows)
    return ClassFolders(names, paths, tuple(label_of[number] for _, number in rows))


def _rows(file: Path) -> list[tuple[str, str]]:
    """Return the first two of the columns of a text file, which tabs separate."""
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        columns = line.split("\t")
        if len(columns) < 2:
            raise ValueError(
                f"{file}, line {number}: two columns and a tab between them are needed, got {line!r}"
            )
        rows.append((columns[0], columns[1]))
    return rows
