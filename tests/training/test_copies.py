"""Images that are both learnt from and scored on are found, in memory and on the disk."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sparsenet_models.data.datasets import load_image_set
from sparsenet_models.data.image_set import ImageSet
from sparsenet_models.training.copies import copies, say_copies, write_copies
from sparsenet_models.training.hold_out import hold_out

CONFIG = dict(input_size=(3, 16, 16), interpolation="bicubic", crop_pct=1.0, crop_mode="center")


@settings(max_examples=50, deadline=None)
@given(
    train=st.lists(st.integers(0, 20), min_size=1, max_size=12),
    scored=st.lists(st.integers(0, 20), min_size=1, max_size=12),
)
def test_copies_are_the_images_with_equal_pixels_each_with_the_first_it_equals(train, scored):
    def image_set(values: list[int]) -> ImageSet:
        images = torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, 4, 5)
        return ImageSet(images, torch.zeros(len(values), dtype=torch.int64), ("all",), "set")

    expected = [(train.index(value), place) for place, value in enumerate(scored) if value in train]
    assert copies(image_set(train), image_set(scored)) == expected


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of ten BMP files, all of one size; "red" has each picture twice."""
    path = tmp_path_factory.mktemp("copied")
    random = np.random.default_rng(0)
    for name in ("blue", "red"):
        (path / name).mkdir()
        for index in range(10):
            pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            if name == "red" and index % 2:
                pixels = np.asarray(Image.open(path / name / f"{index - 1}.bmp"))
            Image.fromarray(pixels).save(path / name / f"{index}.bmp")
    return path


@pytest.mark.parametrize("loader", ["memory", "stream"])
def test_copies_across_a_split_are_said_in_one_line_with_a_pair_of_files(folder, loader, capsys):
    train_set, held_out = hold_out(load_image_set(folder, "train", CONFIG, loader), 0.3, seed=1)
    pairs = copies(train_set, held_out)
    assert 1 <= len(pairs) <= 3  # of three held out, one has its copy among the seven others
    for train, scored in pairs:
        first, second = Path(train_set.paths[train]), Path(held_out.paths[scored])
        assert first != second
        assert first.read_bytes() == second.read_bytes()
    told = say_copies(train_set, held_out)
    assert told == [(train_set.paths[train], held_out.paths[scored]) for train, scored in pairs]
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{len(pairs)} of 6 images to score on are also among those to learn from")
    assert train_set.paths[pairs[0][0]] in line
    assert held_out.paths[pairs[0][1]] in line


def test_copies_are_listed_under_names_of_any_bytes(tmp_path):
    pairs = [("train/a,b.png", "test/\udcff.png"), ("train/c\n.png", "image 7")]
    write_copies(tmp_path, pairs)
    assert os.fsencode(pairs[0][1]) in (tmp_path / "copies.csv").read_bytes()
    with (tmp_path / "copies.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        header, *rows = csv.reader(file)
    assert header == ["learnt_from", "scored_on"]
    assert rows == list(map(list, pairs))


def test_a_split_without_copies_is_not_mentioned(folder, capsys):
    image_set = load_image_set(folder, "train", CONFIG)
    blue = image_set.part((image_set.labels == 0).nonzero()[:, 0])
    say_copies(blue.part(torch.arange(5)), blue.part(torch.arange(5, 10)))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("loaders", [("stream", "stream"), ("stream", "memory")])
def test_copies_among_the_rows_of_streamed_parquet_files_are_found(tmp_path, loaders):
    datasets = pytest.importorskip("datasets")
    pictures = [Image.new("RGB", (16, 16), (10 * shade, 0, 0)) for shade in range(12)]
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    for split, shades in (("train", range(8)), ("test", (3, 9, 7, 11))):
        rows = {"img": [pictures[shade] for shade in shades], "label": [shade % 2 for shade in shades]}
        datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / f"{split}.parquet")
    train_set, test_set = (
        load_image_set(tmp_path, split, CONFIG, loader) for split, loader in zip(("train", "test"), loaders)
    )
    assert copies(train_set, test_set) == [(3, 0), (7, 2)]
    assert copies(train_set.part(torch.tensor([7, 0])), test_set.part(torch.tensor([2, 3]))) == [(0, 0)]
