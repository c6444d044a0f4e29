"""Whether a resumed run has the images that it began with, wherever they are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.trainer import TINY_NET, register_tiny_net

from sparsenet_models.data.datasets import load_image_set
from sparsenet_models.data.image_set import ImageSet
from sparsenet_models.training.config import TrainConfig
from sparsenet_models.training.fingerprint import END_BYTES, difference, fingerprint
from sparsenet_models.training.loop import train
from sparsenet_models.training.run_folder import load_checkpoint_state, save_checkpoint, write_options

CONFIG = {"input_size": (3, 32, 32), "interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "center"}


def options(data: Path | str, out: Path, **changes) -> TrainConfig:
    common = dict(epochs=2, batch_size=32, lr=0.05, resolution=((8, 2),), eval_every=0)
    return TrainConfig(
        TINY_NET, str(data), str(out), **common | changes, precision="float32", device="cpu", compile=False
    )


def blackened(data: Path) -> None:
    with Image.open(data / "train" / "red" / "003.png") as image:
        Image.new("RGB", image.size).save(data / "train" / "red" / "003.png")


def swapped(data: Path) -> None:
    for split in ("train", "test"):
        (data / split / "red").rename(data / split / "other")
        (data / split / "blue").rename(data / split / "red")
        (data / split / "other").rename(data / split / "blue")


def renamed(data: Path) -> None:
    for split in ("train", "test"):
        (data / split / "red").rename(data / split / "crimson")


def class_added(data: Path) -> None:
    for split in ("train", "test"):
        shutil.copytree(data / split / "red", data / split / "third")


CHANGES: list[tuple[Callable[[Path], object], str]] = [
    (renamed, "class 'red' missing and class 'crimson' new"),
    (swapped, "class 'blue' had 32 images in 'train', now it has 64"),
    (class_added, "class 'third' new"),
    (blackened, "class 'red' in 'train' with other contents, or in another order"),
    (
        lambda data: (data / "test" / "red" / "000.png").unlink(),
        "'red' had 10 images in 'test', now it has 9",
    ),
    (
        lambda data: shutil.copy(data / "test" / "red" / "000.png", data / "train" / "red" / "z.png"),
        "class 'red' had 64 images in 'train', now it has 65",
    ),
]


@pytest.fixture
def stopped(colour_folder, tmp_path, monkeypatch, own_models) -> tuple[Path, Path]:
    """Return the images and the folder of a run with a checkpoint and without weights."""
    register_tiny_net()
    monkeypatch.setattr("sparsenet_models.training.loop.write_pictures", lambda *_, **__: None)
    data = shutil.copytree(colour_folder, tmp_path / "data")
    train(options(data, tmp_path / "run"))
    (tmp_path / "run" / "model.safetensors").unlink()
    return data, tmp_path / "run"


def test_a_run_goes_on_with_its_images_under_another_path_or_copied(stopped, tmp_path, monkeypatch):
    data, out = stopped
    monkeypatch.chdir(tmp_path)
    for place in ("data", shutil.copytree(data, tmp_path / "copy")):
        assert train(options(place, out), resume=True).exists()
        (out / "model.safetensors").unlink()


def test_other_images_are_refused_in_one_sentence_that_says_what_differs(stopped, tmp_path):
    data, out = stopped
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for number, (change, message) in enumerate(CHANGES):
        other = shutil.copytree(data, tmp_path / f"changed{number}")
        change(other)
        with pytest.raises(ValueError, match="has other images than those that the run in") as caught:
            train(options(other, out), resume=True)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_run_from_before_fingerprints_goes_on_in_its_folder_and_gets_one(stopped, tmp_path, monkeypatch):
    data, out = stopped
    state = load_checkpoint_state(out)
    del state["images"]
    state["config"]["epochs"] = 3
    state["config"]["resolution"] = [[8, 3]]
    save_checkpoint(out, state)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"data was .* cannot compare the images"):
        train(
            options(shutil.copytree(data, tmp_path / "copy"), out, epochs=3, resolution=((8, 3),)),
            resume=True,
        )
    assert train(options("data", out, epochs=3, resolution=((8, 3),)), resume=True).exists()
    assert load_checkpoint_state(out)["images"]["classes"] == ["blue", "red"]


@given(st.integers(1, 3 * END_BYTES), st.data())
@settings(max_examples=30, deadline=None)
def test_a_byte_at_either_end_of_a_file_and_its_length_are_in_the_fingerprint(tmp_path_factory, size, data):
    folder = tmp_path_factory.mktemp("set")
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "0.png").write_bytes(bytes(size))

    def now() -> dict:
        return fingerprint(str(folder), {"train": load_image_set(folder, "train", CONFIG, "stream")})

    before = now()
    assert difference(before, now()) == ""
    place = data.draw(
        st.one_of(st.integers(0, min(size, END_BYTES) - 1), st.integers(max(0, size - END_BYTES), size - 1))
    )
    content = bytearray(size)
    content[place] = 1
    for changed in (content, bytes(size + 1)):
        (folder / "b" / "0.png").write_bytes(changed)
        assert difference(before, now()) == "class 'b' in 'train' with other contents, or in another order"
    (folder / "b" / "0.png").write_bytes(bytes(size))
    assert difference(before, now()) == ""


def test_a_run_within_a_folder_of_parquet_files_is_no_part_of_them(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"rows")
    images, labels = torch.zeros(1, 3, 2, 2, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    rows = ImageSet(images, labels, ("a",), "set")
    before = fingerprint(str(tmp_path), {"train": rows})
    (tmp_path / "runs" / "first").mkdir(parents=True)
    write_options(tmp_path / "runs" / "first", {"epochs": 1})
    assert fingerprint(str(tmp_path), {"train": rows}) == before
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "test.parquet").write_bytes(b"rows")
    assert fingerprint(str(tmp_path), {"train": rows}) != before
