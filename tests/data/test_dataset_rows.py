"""Parquet files with rows that are not right: each is named."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from PIL import Image

from sparsenet_models.data.datasets import load_image_set, split_for

CONFIG = dict(input_size=(3, 16, 16), interpolation="bicubic", crop_pct=1.0, crop_mode="center")


def png(shade: int) -> bytes:
    content = io.BytesIO()
    Image.new("L", (16, 16), shade).save(content, "png")
    return content.getvalue()


def parquet(
    folder: Path, images: list[bytes | str | None], labels: list[int | None], split: str = "train"
) -> Path:
    datasets = pytest.importorskip("datasets")
    path = folder / "photos"
    path.mkdir(exist_ok=True)
    features = datasets.Features(
        {
            "img": datasets.Image(),
            "more": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
        }
    )
    encoded = [
        None
        if image is None
        else {"bytes": None, "path": image}
        if isinstance(image, str)
        else {"bytes": image, "path": None}
        for image in images
    ]
    rows = {"img": encoded, "more": [None] * len(images), "label": labels}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(path / f"{split}.parquet"))
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("loader", ["memory", "stream"])
def test_rows_are_read_by_their_first_image_and_class_label_columns(tmp_path, loader):
    path = parquet(tmp_path, [png(10), png(20), png(30)], [1, 0, 1])
    image_set = load_image_set(path, "train", CONFIG, loader)
    (images,) = image_set.batches([image_set.labels.argsort()])
    assert images[:, 0, 0, 0].tolist()[0] == 20
    assert image_set.class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("splits", "found"),
    [
        (("train",), ("train", None, None)),
        (("train", "test"), ("train", None, "test")),
        (("train", "validation"), ("train", "validation", "validation")),
        (("train", "validation", "test"), ("train", "validation", "test")),
    ],
)
def test_the_splits_of_a_folder_are_those_that_it_has(tmp_path, splits, found):
    for split in splits:
        path = parquet(tmp_path, [png(10), png(20)], [1, 0], split)
    assert tuple(split_for(path, split) for split in ("train", "validation", "test")) == found


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (None, "row 2 of {} has no image in its column 'img': remove the row"),
        (b"junk", "no image that Pillow can read: row 2 of {}"),
        (b"", "no image that Pillow can read: row 2 of {}"),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EOF\n",
            "no image that Pillow can read: row 2 of {}",
        ),
        (png(40)[:45], "damaged or unsupported image: row 2 of {} ("),
    ],
    ids=["null", "junk", "empty", "postscript", "truncated"],
)
@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_row_without_a_readable_image_is_named(tmp_path, image, reason, workers):
    path = parquet(tmp_path, [png(10), png(20), image], [0, 1, 1])
    image_set = load_image_set(path, "train", CONFIG, "stream", workers)
    with pytest.raises(OSError, match="row 2 of the split") as caught:
        list(image_set.batches([image_set.labels.argsort()]))
    assert str(caught.value).startswith(reason.format(f"the split 'train' of {path}"))


@pytest.mark.parametrize("place", ["/dev/zero", "{folder}/../secret.png"])
def test_a_row_that_names_a_file_out_of_its_folder_is_refused(tmp_path, place):
    (tmp_path / "secret.png").write_bytes(png(9))
    path = parquet(tmp_path, [png(10), place.format(folder=tmp_path / "photos")], [0, 1])
    image_set = load_image_set(path, "train", CONFIG, "stream")
    for read in (lambda: list(image_set.batches([torch.tensor([1])])), lambda: image_set.encoded_at(1)):
        with pytest.raises(OSError, match=r"row 1 of the split 'train' .* names .*, no file in its folder"):
            read()


def test_a_row_without_a_label_is_named(tmp_path):
    path = parquet(tmp_path, [png(10), png(20), png(30)], [0, None, 1])
    with pytest.raises(ValueError, match="row 1 of the split") as caught:
        load_image_set(path, "train", CONFIG)
    assert str(caught.value) == (
        f"row 1 of the split 'train' of {path} has no label in its column 'label': remove the row"
    )
