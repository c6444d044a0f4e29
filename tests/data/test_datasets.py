"""Labelled image sets from every source, their errors, and the evaluation of a model on them."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from sparsenet_models.data import datasets
from sparsenet_models.data.cifar import CIFAR10_MEAN, CIFAR100_CLASSES
from sparsenet_models.data.datasets import load_image_set
from sparsenet_models.data.evaluate import evaluate, normalised, with_classes
from sparsenet_models.data.image_set import ImageSet
from sparsenet_models.data.pictures import open_image
from sparsenet_models.data.transforms import create_transform
from sparsenet_models.training.run_lock import locked

CONFIG = dict(
    input_size=(3, 32, 32),
    interpolation="bicubic",
    crop_pct=1.0,
    crop_mode="center",
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.3, 0.4),
)


def test_class_folders_are_read_with_the_names_of_their_folders(colour_folder):
    image_set = load_image_set(colour_folder, "train", CONFIG)
    assert image_set.images.shape == (96, 3, 32, 32)
    assert image_set.images.dtype == torch.uint8
    assert image_set.class_names == ("blue", "red")
    assert image_set.labels.bincount().tolist() == [32, 64]
    red_over_blue = image_set.images[:, 0].float().mean((1, 2)) > image_set.images[:, 2].float().mean((1, 2))
    assert torch.equal(red_over_blue.long(), image_set.labels)


def test_val_stands_for_test(tmp_path):
    folder = tmp_path / "val" / "only"
    folder.mkdir(parents=True)
    Image.new("RGB", (50, 40)).save(folder / "a.png")
    assert len(load_image_set(tmp_path, "test", CONFIG)) == 1


def test_parquet_folders_are_read_by_their_image_and_class_label_columns(cifar10_folder):
    image_set = load_image_set(cifar10_folder, "test", CONFIG, loader="stream")
    assert len(image_set) == 10_000
    assert image_set.labels.bincount().tolist() == [1000] * 10
    assert image_set.class_names[:2] == ("airplane", "automobile")
    assert image_set.name == "cifar10"
    images = image_set.part(torch.arange(500)).in_memory().images
    assert images.shape == (500, 3, 32, 32)
    mean = images.float().mean((0, 2, 3)) / 255
    assert mean.tolist() == pytest.approx(CIFAR10_MEAN, abs=0.03)


def test_the_first_class_label_column_of_cifar100_is_its_fine_one(cifar10_folder):
    image_set = load_image_set(cifar10_folder.parent / "cifar100", "test", CONFIG, loader="stream")
    assert image_set.labels.bincount().tolist() == [100] * 100
    assert image_set.class_names == CIFAR100_CLASSES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "tset"}, r"split must be one of .*, got 'tset'; did you mean 'test'"),
        (
            {"split": "train", "loader": "memroy"},
            r"loader must be one of .*, got 'memroy'; did you mean 'memory'",
        ),
    ],
)
def test_an_unknown_split_or_loader_is_refused_with_the_nearest(colour_folder, options, message):
    with pytest.raises(ValueError, match=message):
        load_image_set(colour_folder, data_config={"input_size": (3, 32, 32)}, **options)


def test_two_classes_of_one_name_are_refused():
    names = ("crane", "crane")
    with pytest.raises(ValueError, match="words has two classes of the name 'crane': rename one"):
        datasets._image_set(lambda _: None, [0, 1], names, "words", {"input_size": (3, 8, 8)}, 0)


@pytest.mark.parametrize("name", ["train.parquet", "notes.txt"])
def test_files_that_are_no_images_are_refused_in_one_sentence(tmp_path, name):
    (tmp_path / name).write_bytes(b"no such thing")
    with pytest.raises(
        ValueError, match=r"nor data that datasets can read|has no split named test"
    ) as caught:
        load_image_set(tmp_path, "test", CONFIG)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_sizes_are_resized_and_cropped_and_grey_nets_get_one_channel(tmp_path):
    folder = tmp_path / "test" / "only"
    folder.mkdir(parents=True)
    Image.new("RGB", (100, 64), (255, 0, 0)).save(folder / "a.png")
    grey = load_image_set(tmp_path, "test", {**CONFIG, "input_size": (1, 32, 32)})
    assert grey.images.shape == (1, 1, 32, 32)
    assert grey.images.unique().tolist() == [76]  # ITU-R 601 luma of pure red


@pytest.mark.parametrize("kind", ["missing", "empty", "no images", "only train"])
def test_a_folder_without_images_is_refused_by_name(tmp_path, kind):
    folder = tmp_path / "set"
    if kind != "missing":
        folder.mkdir()
    if kind == "no images":
        (folder / "test" / "cat").mkdir(parents=True)
    if kind == "only train":
        (folder / "train" / "cat").mkdir(parents=True)
    with pytest.raises((ValueError, OSError)) as caught:
        load_image_set(folder, "test", CONFIG)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("name", ["train", "test", "val"])
def test_a_class_that_is_named_as_a_split_is_refused(tmp_path, name):
    for folder in ("bus", name):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (32, 32)).save(tmp_path / folder / "a.png")
    with pytest.raises(ValueError, match=f"it may be the split '{name}' or a class '{name}'") as caught:
        load_image_set(tmp_path, "train", CONFIG)
    assert str(caught.value) == (
        f"{tmp_path / name} holds images beside the folder bus/, so it may be the split '{name}' or a class "
        f"'{name}': put class folders into {tmp_path / 'train'}, or rename the class"
    )


def test_a_damaged_image_is_named(tmp_path):
    folder = tmp_path / "test" / "cat"
    folder.mkdir(parents=True)
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(OSError, match=r"bad\.png"):
        load_image_set(tmp_path, "test", CONFIG)


def test_normalised_pixels_follow_the_formula():
    images = torch.randint(0, 256, (4, 3, 5, 6), dtype=torch.uint8)
    normalised_images = normalised(images, CONFIG["mean"], CONFIG["std"])
    for channel, (mean, std) in enumerate(zip(CONFIG["mean"], CONFIG["std"])):
        torch.testing.assert_close(normalised_images[:, channel], (images[:, channel] / 255 - mean) / std)


def test_a_score_counts_hits_and_leaves_the_mode_alone(colour_folder):
    image_set = load_image_set(colour_folder, "test", CONFIG)

    class RedOrBlue(torch.nn.Module):
        """Three logits: blue, red, and one that never wins."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            red, blue = (x[:, c].mean((1, 2)) * CONFIG["std"][c] + CONFIG["mean"][c] for c in (0, 2))
            return self.scale * torch.stack((blue, red, torch.zeros_like(red)), dim=1)

    model = RedOrBlue().train()
    statistics = {"mean": CONFIG["mean"], "std": CONFIG["std"]}
    score = evaluate(model, image_set, **statistics, batch_size=7)
    assert (score.top1, score.top5, score.count) == (100.0, 100.0, 20)
    assert model.training
    swapped = with_classes(image_set, ("red", "green", "blue"))
    assert evaluate(model, swapped, **statistics).top1 == 0.0


def test_flips_average_the_logits_of_both_views(colour_folder):
    """A net that looks at the left edge alone answers for both edges."""

    class LeftEdge(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            edge = images[..., 0].mean((1, 2)) * self.scale
            return torch.stack([edge, torch.zeros_like(edge)], dim=1)

    def top1(left: int, right: int, flip: bool) -> float:
        images = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
        images[..., 0], images[..., -1] = left, right
        image_set = ImageSet(images, torch.tensor([0]), ("bright", "dark"), "edges")
        return evaluate(LeftEdge(), image_set, mean=(0.5,) * 3, std=(1.0,) * 3, flip=flip).top1

    assert [top1(100, 255, flip) for flip in (False, True)] == [0.0, 100.0]
    assert [top1(100, 110, flip) for flip in (False, True)] == [0.0, 0.0]


def test_hidden_folders_are_not_classes(tmp_path):
    for name in ("bus", "car"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (32, 32)).save(tmp_path / name / "a.png")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    assert load_image_set(tmp_path, "train", CONFIG).class_names == ("bus", "car")


def picture(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), (shade, shade, shade)).save(path)
    return path


def test_hidden_files_and_folders_are_skipped_at_every_level(tmp_path):
    for name in ("bus", "car"):
        picture(tmp_path / name / "a.png")
        picture(tmp_path / name / ".ipynb_checkpoints" / "a.png")
        picture(tmp_path / name / "deeper" / "b.png")
        (tmp_path / name / "deeper" / "._b.png").write_bytes(b"\0\5\x16\7 a fork of macOS")
    image_set = load_image_set(tmp_path, "train", CONFIG)
    names = [str(Path(path).relative_to(tmp_path)) for path in image_set.paths]
    assert names == ["bus/a.png", "bus/deeper/b.png", "car/a.png", "car/deeper/b.png"]
    assert image_set.labels.tolist() == [0, 0, 1, 1]


def test_every_picture_format_of_pillow_is_read_and_what_is_left_out_is_counted_in_one_line(tmp_path, caplog):
    suffixes = ("jfif", "jpe", "gif", "tga", "PNG", "apng", "webp", "bmp", "ppm", "tiff")
    for suffix in suffixes:
        picture(tmp_path / "only" / f"x.{suffix}")
    for name in ("notes.txt", "labels.txt", "table.csv", "plain", "drawing.eps", "._x.png"):
        (tmp_path / "only" / name).write_text("no picture")
    assert len(load_image_set(tmp_path, "train", CONFIG)) == len(suffixes)
    load_image_set(tmp_path, "train", CONFIG)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{tmp_path}: 10 images are read; left out as hidden or no pictures: 6 files "
        "(2 .txt, 1 hidden, 1 .eps, 1 without an ending, 1 .csv)"
    )


def test_every_file_is_read_in_the_order_of_torchvision(tmp_path):
    from torchvision.datasets import ImageFolder

    for name in (
        "cat/b.png",
        "cat/a/z.png",
        "cat b/a.png",
        "cat/a b/y.png",
        "Cat/c.png",
        "cat/10.png",
        "cat/9.png",
    ):
        picture(tmp_path / name)
    image_set = load_image_set(tmp_path, "train", CONFIG)
    files = ImageFolder(str(tmp_path))
    assert image_set.class_names == tuple(files.classes)
    assert [*zip(image_set.paths, image_set.labels.tolist())] == files.samples


def test_links_that_lead_back_count_no_image_twice(tmp_path):
    for name in ("cat", "dog"):
        picture(tmp_path / "set" / name / "inside" / "a.png")
    cat = tmp_path / "set" / "cat"
    for name, target in (("loop", "."), ("up", ".."), ("root", tmp_path), ("again", "inside")):
        (cat / name).symlink_to(target)
    image_set = load_image_set(tmp_path / "set", "train", CONFIG)
    assert image_set.labels.tolist() == [0, 1]


def test_folders_and_files_that_are_links_are_read(tmp_path):
    picture(tmp_path / "store" / "cat" / "a.png")
    picture(tmp_path / "store" / "other.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "cat").symlink_to(tmp_path / "store" / "cat")
    (tmp_path / "set" / "dog").mkdir()
    (tmp_path / "set" / "dog" / "b.png").symlink_to(tmp_path / "store" / "other.png")
    assert load_image_set(tmp_path / "set", "train", CONFIG).labels.tolist() == [0, 1]


def test_a_link_to_nothing_is_named(tmp_path):
    picture(tmp_path / "cat" / "a.png")
    (tmp_path / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(FileNotFoundError, match=r"image not found: .*gone\.png"):
        load_image_set(tmp_path, "train", CONFIG)


def test_a_run_that_begins_beside_the_classes_is_no_class(tmp_path):
    for name in ("bus", "car"):
        picture(tmp_path / name / "a.png")
    with locked(tmp_path / "runs" / "net-set"):
        assert load_image_set(tmp_path, "train", CONFIG).class_names == ("bus", "car")


@pytest.mark.parametrize("out", ["out", "runs/net-set"])
def test_the_folder_of_a_run_beside_the_classes_is_no_class(tmp_path, out):
    for name in ("bus", "car"):
        picture(tmp_path / name / "a.png")
    picture(tmp_path / out / "confusion.png")
    assert len(load_image_set(tmp_path, "train", CONFIG).class_names) == 3
    (tmp_path / out / "run.json").touch()
    image_set = load_image_set(tmp_path, "train", CONFIG)
    assert (image_set.class_names, len(image_set)) == (("bus", "car"), 2)


def test_a_class_that_holds_the_file_of_a_run_is_left_out_with_a_line(tmp_path, caplog):
    for name in ("bus", "car"):
        picture(tmp_path / name / "a.png")
    (tmp_path / "car" / "model.safetensors").touch()
    assert load_image_set(tmp_path, "train", CONFIG).class_names == ("bus",)
    assert f"{tmp_path / 'car'} is left out as a training run, as it holds one of run.json, " in caplog.text


@pytest.mark.parametrize("names", [("Training", "Testing"), ("Train", "Test"), ("train_", "VALID")])
def test_folders_that_are_hardly_classes_are_refused(tmp_path, names):
    for name in names:
        for kind in ("bus", "car"):
            picture(tmp_path / name / kind / "a.png")
    with pytest.raises(ValueError, match="holds folders and would be a class of the name") as caught:
        load_image_set(tmp_path, "train", CONFIG)
    assert str(tmp_path / "train") in str(caught.value)
    picture(tmp_path / "dev" / "a.png")  # pictures of its own, so a class
    for name in names:
        shutil.rmtree(tmp_path / name)
    assert load_image_set(tmp_path, "train", CONFIG).class_names == ("dev",)


@pytest.mark.parametrize("name", ["cifar10", "imagenette", "tiny-imagenet"])
def test_the_test_images_of_a_known_set_are_not_given_out_for_validation(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"{name} has no images for validation beside those of split='test'"):
        load_image_set(name, "validation", CONFIG)
    with pytest.raises(ValueError, match=f"{name} has no images for validation"):
        load_image_set(Path(name), "validation", CONFIG)


@pytest.mark.skipif(os.name != "posix", reason="names of other bytes are a Unix thing")
def test_a_class_whose_name_is_not_utf8_is_refused(tmp_path):
    picture(tmp_path / "bus" / "a.png")
    picture(tmp_path / os.fsdecode(b"caf\xe9") / "a.png")
    with pytest.raises(ValueError, match=r"the name b'caf\\xe9' of a folder is not UTF-8") as caught:
        load_image_set(tmp_path, "train", CONFIG, loader="stream")
    assert str(caught.value).isprintable()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are a Unix thing")
def test_a_pipe_in_a_class_folder_is_left_out(tmp_path, caplog):
    picture(tmp_path / "bus" / "a.png")
    os.mkfifo(tmp_path / "bus" / "b.png")
    assert len(load_image_set(tmp_path, "train", CONFIG)) == 1
    assert "no pictures: 1 file (1 pipe or device)" in caplog.text


def test_images_outside_class_folders_are_refused_with_what_to_do(tmp_path):
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="put images into a folder for each class"):
        load_image_set(tmp_path, "train", CONFIG)


def test_a_net_that_fails_keeps_its_mode(colour_folder):
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3)).train()
    with pytest.raises(RuntimeError):
        evaluate(model, load_image_set(colour_folder, "test", CONFIG), mean=CONFIG["mean"], std=CONFIG["std"])
    assert model.training


class Echo(torch.nn.Module):
    """Answers with the first pixels of an image, as its logits."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = images[:, 0, 0, :3] * self.scale
        # A white first pixel stands for an overflow.
        return torch.where(images[:, :1, 0, 0] > 0.99, self.scale * math.nan, logits)


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_answers_that_are_not_finite_are_refused_with_their_count_and_the_first(batch_size):
    images = torch.zeros(9, 3, 8, 8, dtype=torch.uint8)
    image_set = ImageSet(images, torch.arange(9) % 3, ("a", "b", "c"), "pixels")
    statistics = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "batch_size": batch_size}
    assert evaluate(Echo(), image_set, **statistics).top1 == pytest.approx(100 / 3)
    images[[2, 7], 0, 0, 0] = 255
    with pytest.raises(ValueError, match="not finite") as caught:
        evaluate(Echo(), image_set, **statistics)
    assert str(caught.value) == (
        "Echo answers with numbers that are not finite for 2 of 9 images of pixels, the first is image 2: "
        "the net's weights are damaged, or torch.float32 overflows"
    )


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    side=st.sampled_from([24, 32, 56]),
    crop_pct=st.sampled_from([0.5, 0.875, 0.9, 1.0]),
    channels=st.sampled_from([1, 3]),
)
@example(size=(32, 32), side=32, crop_pct=0.875, channels=3)
@example(size=(33, 32), side=32, crop_pct=0.875, channels=3)
def test_an_image_set_and_a_transform_give_equal_pixels_at_every_size(
    tmp_path_factory, size, side, crop_pct, channels
):
    folder = tmp_path_factory.mktemp("one")
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    (folder / "only").mkdir()
    Image.fromarray(pixels).save(folder / "only" / "a.png")
    config = {**CONFIG, "input_size": (channels, side, side), "crop_pct": crop_pct}
    statistics = {key: config[key][:channels] for key in ("mean", "std")}
    transform = create_transform(**{**config, **statistics})
    expected = transform(open_image(folder / "only" / "a.png", channels))
    for loader in ("memory", "stream"):
        (images,) = load_image_set(folder, "train", config, loader).batches([torch.arange(1)])
        torch.testing.assert_close(normalised(images, **statistics)[0], expected, rtol=0, atol=1e-5)


def test_only_up_to_a_thousand_classes_have_a_table_of_confusions():
    """The table of 200,000 classes would take 320 GB."""
    images = torch.randint(0, 256, (4, 1, 1, 1), dtype=torch.uint8)
    for classes in (1000, 200_000):
        names = tuple(map(str, range(classes)))
        image_set = ImageSet(images, torch.arange(4), names, "wide")
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1, classes))
        torch.nn.init.zeros_(model[1].weight)
        torch.nn.init.constant_(model[1].bias, -1.0)
        torch.nn.init.zeros_(model[1].bias[2:3])
        score = evaluate(model, image_set, mean=(0.5,), std=(1.0,), batch_size=3)
        assert score.top1 == 25.0
        if classes == 1000:
            assert score.confusion.shape == (1000, 1000)
            assert score.confusion[:4, 2].tolist() == [1] * 4
            assert score.confusion.sum() == 4
        else:
            assert score.confusion is None
