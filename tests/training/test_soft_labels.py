"""Soft labels: written for a training set, read back for the same set alone, learned beside the labels."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from sparsenet_models import create_model, resolve_data_config
from sparsenet_models.data import load_image_set
from sparsenet_models.data.image_set import AnyImageSet
from sparsenet_models.pretrained import read_metadata
from sparsenet_models.training.batches import TrainingBatches
from sparsenet_models.training.config import TrainConfig
from sparsenet_models.training.distributed import Processes
from sparsenet_models.training.hold_out import hold_out
from sparsenet_models.training.inputs import open_inputs
from sparsenet_models.training.loop import train
from sparsenet_models.training.soft_labels import save_soft_labels, softened, with_soft_labels

MODEL = "resnet_20"


def colours(folder: Path, loader: str = "memory") -> AnyImageSet:
    return load_image_set(folder, "train", resolve_data_config(create_model(MODEL)), loader)


def config(data: Path, out: Path, **changes) -> TrainConfig:
    options = dict(epochs=2, resolution=((8, 2),), batch_size=32, lr=0.1, precision="float32", compile=False)
    return TrainConfig(model=MODEL, data=str(data), out=str(out), device="cpu", **options | changes)


def one_hot(labels: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels, classes).float()


@settings(deadline=None)
@given(st.integers(2, 6), st.integers(1, 8), st.floats(0, 1), st.integers(0, 1000))
def test_softened_labels_are_the_weighted_mean_and_sum_to_one(classes, count, weight, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=generator)
    soft = torch.rand(count, classes, generator=generator).softmax(1)
    targets = softened(labels, soft.half(), weight)
    expected = (1 - weight) * one_hot(labels, classes) + weight * soft
    torch.testing.assert_close(targets, expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(targets.sum(1), torch.ones(count), atol=2e-3, rtol=0)


def test_a_path_may_be_a_string_with_a_tilde(colour_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    image_set = colours(colour_folder)
    save_soft_labels("~/soft.safetensors", image_set, one_hot(image_set.labels, 2))
    assert read_metadata("~/soft.safetensors") == read_metadata(tmp_path / "soft.safetensors") != {}


@pytest.mark.parametrize("loader", ["memory", "stream"])
def test_each_image_keeps_its_soft_labels_where_a_part_is_held_out(colour_folder, tmp_path, loader):
    image_set = colours(colour_folder, loader)
    soft = torch.rand(len(image_set), 2, generator=torch.Generator().manual_seed(0)).softmax(1)
    save_soft_labels(tmp_path / "soft.safetensors", image_set, soft)
    rest, held = hold_out(with_soft_labels(image_set, tmp_path / "soft.safetensors"), 0.25, 0)
    by_path = dict(zip(image_set.paths, soft))
    for part in (rest, held):
        assert part.soft_labels is not None
        expected = torch.stack([by_path[path] for path in part.paths])
        torch.testing.assert_close(part.soft_labels.float(), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("loader", ["memory", "stream"])
def test_a_net_learns_the_soft_labels_and_not_the_labels_at_a_weight_of_one(colour_folder, tmp_path, loader):
    """The answers of the file are the wrong ones, so a net that has learned them is wrong on the test set."""
    image_set = colours(colour_folder)
    save_soft_labels(tmp_path / "soft.safetensors", image_set, one_hot(1 - image_set.labels, 2))
    options = dict(epochs=8, size=16, resolution=(), distill_weight=1.0, loader=loader, workers=1)
    run = config(colour_folder, tmp_path / "run", soft_labels=str(tmp_path / "soft.safetensors"), **options)
    weights = train(run)
    assert float(read_metadata(weights)["top1"]) <= 10


@pytest.mark.parametrize("mix", [{}, {"cutmix": 1.0}, {"mixup": 1.0}])
def test_batches_have_the_soft_labels_by_their_share_and_mix_them_too(colour_folder, tmp_path, mix):
    image_set, file = colours(colour_folder), tmp_path / "soft.safetensors"
    save_soft_labels(file, image_set, torch.tensor([0.25, 0.75]).expand(len(image_set), 2))
    options = config(colour_folder, tmp_path / "run", distill_weight=0.5, **mix)
    normalisation = ((0.5,) * 3, (0.5,) * 3)
    batches = TrainingBatches(
        with_soft_labels(image_set, file), options, *normalisation, torch.device("cpu"), Processes()
    )
    labels = torch.cat([labels for _, labels in batches.epoch(1)])
    torch.testing.assert_close(labels.sum(1), torch.ones(len(labels)))
    unmixed = torch.tensor([[0.625, 0.375], [0.125, 0.875]])  # half of the label, half of the soft label
    is_unmixed = (labels[:, None] == unmixed).all(2).any(1)
    assert is_unmixed.all() if not mix else 0.1 < is_unmixed.float().mean() < 0.9
    assert (labels[:, 0] >= 0.125 - 1e-6).all()
    assert (labels[:, 0] <= 0.625 + 1e-6).all()


def test_a_resumed_run_wants_the_soft_labels_it_began_with(colour_folder, tmp_path):
    image_set, file = colours(colour_folder), tmp_path / "soft.safetensors"
    save_soft_labels(file, image_set, one_hot(image_set.labels, 2))
    options = config(colour_folder, tmp_path / "run", soft_labels=str(file))
    before = open_inputs(options).fingerprint
    train(options)
    (tmp_path / "run" / "model.safetensors").unlink()
    save_soft_labels(file, image_set, one_hot(1 - image_set.labels, 2))
    assert open_inputs(options).fingerprint != before
    with pytest.raises(ValueError, match=r"soft_labels .* has other contents than when the run in .* began"):
        train(options, resume=True)


def test_soft_labels_of_another_set_are_refused(colour_folder, tmp_path):
    image_set, file = colours(colour_folder), tmp_path / "soft.safetensors"
    save_soft_labels(file, image_set, one_hot(image_set.labels, 2))
    fewer = image_set.part(torch.arange(len(image_set) - 1))
    with pytest.raises(ValueError, match=r"soft_labels of .*soft.safetensors must have the shape \(\d+, 2\)"):
        with_soft_labels(fewer, file)
    swapped = torch.arange(len(image_set))
    swapped[:2] = torch.tensor([1, 0])  # of one class
    with pytest.raises(ValueError, match="was written for other images or classes than those of"):
        with_soft_labels(image_set.part(swapped), file)
    renamed = tmp_path / "renamed"
    shutil.copytree(colour_folder, renamed)
    for split in renamed.iterdir():
        (split / "red").rename(split / "scarlet")
    with pytest.raises(ValueError, match="was written for other images or classes than those of"):
        train(config(renamed, tmp_path / "run", soft_labels=str(file)))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_file_of_other_tensors_is_refused(colour_folder, tmp_path, dtype):
    image_set, file = colours(colour_folder), tmp_path / "other.safetensors"
    soft = one_hot(image_set.labels, 2).to(dtype)
    tensors = {"soft_labels": soft, "labels": image_set.labels}
    for other in ({"fc.weight": soft}, tensors):  # the latter without what they were written for
        save_file(other, file)
        with pytest.raises(ValueError, match=r"must be a file by save_soft_labels, .* is another"):
            with_soft_labels(image_set, file)


def test_a_path_without_a_file_is_named(colour_folder, tmp_path):
    image_set = colours(colour_folder)
    with pytest.raises(FileNotFoundError, match=r"soft_labels must be a file, there is none at .*none"):
        with_soft_labels(image_set, tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no_such_folder"):
        save_soft_labels(tmp_path / "no_such_folder" / "soft", image_set, one_hot(image_set.labels, 2))


@pytest.mark.parametrize("value", [0.4, -0.5, float("nan")])
def test_what_are_no_probabilities_is_refused_and_leaves_no_file(colour_folder, tmp_path, value):
    image_set = colours(colour_folder)
    soft = one_hot(image_set.labels, 2)
    soft[3, 1 - image_set.labels[3]] = value
    with pytest.raises(
        ValueError, match=r"must be at least 0 and sum to 1 for each image; those of .*sum to"
    ):
        save_soft_labels(tmp_path / "soft.safetensors", image_set, soft)
    assert list(tmp_path.iterdir()) == []


def test_soft_labels_and_a_teacher_exclude_each_other(tmp_path):
    with pytest.raises(ValueError, match="give one of distill and soft_labels, not both"):
        config(tmp_path, tmp_path / "run", distill="resnet_20.cifar10", soft_labels="soft.safetensors")
