"""Training batches: order, flips, crops, what augments them, and both ways that images reach them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sparsenet_models.data.datasets import load_image_set
from sparsenet_models.data.evaluate import evaluate
from sparsenet_models.data.image_set import AnyImageSet, ImageSet, StreamedImageSet
from sparsenet_models.data.transforms import resolve_data_config
from sparsenet_models.factory import create_model
from sparsenet_models.training.augment import cut_out, mixed, padded_crop, trivially_augmented
from sparsenet_models.training.batches import TrainingBatches
from sparsenet_models.training.config import TrainConfig
from sparsenet_models.training.distributed import Processes

ALONE = Processes()
EVERYTHING = dict(cutout=4, trivial_augment=0.5, cutmix=0.5)


def numbered_images(count: int, side: int = 16) -> ImageSet:
    """Images whose left half is darker by 100 than their right half, and whose level is their label."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, side, side)
    images[..., side // 2 :] += 100
    return ImageSet(images, torch.arange(count), tuple(map(str, range(count))), "numbered")


def batches_of(
    image_set: AnyImageSet, batch_size: int, processes: Processes = ALONE, **options
) -> TrainingBatches:
    config = TrainConfig("m", "d", "o", batch_size=batch_size, **options)
    zero_mean = ((0.0,) * 3, (1.0,) * 3)
    return TrainingBatches(image_set, config, *zero_mean, torch.device("cpu"), processes)


def test_cutout_and_trivial_augment_reach_the_batches_until_their_epoch():
    image_set = numbered_images(16)
    image_set = dataclasses.replace(image_set, images=image_set.images + 1)

    def batch(epoch: int, **options) -> torch.Tensor:
        batches = batches_of(image_set, 16, epochs=2, augment_until=0.5, **options)
        return next(batches.epoch(epoch))[0]

    for options in (dict(cutout=4), dict(trivial_augment=1.0)):
        assert not torch.equal(batch(1, **options), batch(1))
        assert torch.equal(batch(2, **options), batch(2))
    cut = batch(1, cutout=4)
    pixels = (cut == 0).all(1).sum((1, 2))
    assert ((pixels >= 4) & (pixels <= 16)).all()
    assert torch.equal(cut[cut != 0], batch(1)[cut != 0])


@pytest.mark.parametrize(("cutmix", "mixup"), [(0.3, 0.0), (0.0, 0.6), (0.2, 0.3)])
def test_cutmix_and_mixup_take_their_shares_of_the_batches(cutmix, mixup):
    images, labels = torch.rand(2, 3, 4, 4), torch.tensor([0, 1])
    batches = [mixed(images, labels, 2, cutmix, mixup, seed) for seed in range(400)]
    share = sum(targets.ndim == 2 for _, targets in batches) / len(batches)
    assert abs(share - (cutmix + mixup)) < 0.1


@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 5))
def test_an_epoch_shows_no_image_twice_and_leaves_out_less_than_a_batch(count, batch_size, seed):
    batches = batches_of(numbered_images(count), batch_size, seed=seed)
    labels = torch.cat([labels for _, labels in batches.epoch(1)]).tolist()
    assert len(set(labels)) == len(labels)
    assert 0 <= count - len(labels) < batches.batch_size
    assert len(labels) == len(batches) * batches.batch_size


def test_pixels_belong_to_their_label_and_two_epochs_show_every_image_both_ways():
    batches = batches_of(numbered_images(20), 20)
    flipped = {}
    for epoch in (1, 2):
        images, labels = next(batches.epoch(epoch))
        levels = (images.amin((1, 2, 3)) * 255).round().long()
        assert torch.equal(levels, labels)
        left, right = images[..., 0].mean((1, 2)), images[..., -1].mean((1, 2))
        flipped[epoch] = dict(zip(labels.tolist(), (left > right).tolist()))
    assert all(flipped[1][label] != flipped[2][label] for label in range(20))
    assert len(set(flipped[1].values())) == 2


def test_an_epoch_is_the_same_again_and_another_seed_is_not():
    first, again = (next(batches_of(numbered_images(20), 20, **EVERYTHING).epoch(3)) for _ in range(2))
    other = next(batches_of(numbered_images(20), 20, seed=1, **EVERYTHING).epoch(3))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


@given(st.integers(1, 5), st.integers(0, 8), st.integers(1, 3))
@settings(max_examples=20)
def test_an_epoch_taken_up_at_any_step_goes_on_with_the_same_batches(epoch, start, batch_size):
    """Whatever was drawn elsewhere in between."""
    whole = list(batches_of(numbered_images(9), batch_size, **EVERYTHING).epoch(epoch))
    torch.rand(7)
    rest = list(batches_of(numbered_images(9), batch_size, **EVERYTHING).epoch(epoch, start))
    assert len(rest) == max(0, len(whole) - start)
    for (images, labels), (again, labels_again) in zip(whole[start:], rest):
        assert torch.equal(images, again)
        assert torch.equal(labels, labels_again)


def test_augmentation_leaves_torchs_own_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(5)
    torch.manual_seed(3)
    list(batches_of(numbered_images(9), 3, **EVERYTHING).epoch(1))
    assert torch.equal(torch.rand(5), expected)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_processes_share_the_batches_that_one_would_see(count):
    options = dict(cutout=4, seed=2)
    whole = list(batches_of(numbered_images(25), 12, **options).epoch(2))
    parts = [
        list(batches_of(numbered_images(25), 12, Processes(count, rank), **options).epoch(2))
        for rank in range(count)
    ]
    for step, (images, labels) in enumerate(whole):
        assert torch.equal(torch.cat([part[step][0] for part in parts]), images)
        assert torch.equal(torch.cat([part[step][1] for part in parts]), labels)


def test_a_batch_that_processes_cannot_share_is_refused_with_the_nearest_that_they_can():
    with pytest.raises(ValueError, match=r"batch_size 10, with 25 images, cannot be split among 4 .* is 8"):
        batches_of(numbered_images(25), 10, Processes(4, 0))


def test_a_crop_shifts_by_at_most_the_padding():
    side, pad = 16, 2
    image = torch.zeros(1, 3, side, side, dtype=torch.uint8)
    image[..., 8, 8] = 255
    image_set = ImageSet(image, torch.zeros(1, dtype=torch.long), ("only",), "dot")
    batches = batches_of(image_set, 1)
    rows = set()
    for epoch in range(1, 60):
        images, _ = next(batches.epoch(epoch))
        rows |= set(images[0, 0].nonzero()[:, 0].tolist())
    assert rows == set(range(8 - pad, 8 + pad + 1))


@given(st.integers(1, 4), st.integers(8, 20), st.integers(8, 20), st.data())
@settings(max_examples=30)
def test_a_shift_by_the_padding_gives_the_image_itself_or_its_mirror_image(count, height, width, data):
    images = torch.randint(256, (count, 3, height, width), dtype=torch.uint8)
    flipped = torch.tensor(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    shifts = torch.full((2, count), min(height, width) // 8)
    expected = torch.where(flipped.view(-1, 1, 1, 1), images.flip(-1), images)
    assert torch.equal(padded_crop(images, flipped, shifts), expected)


@given(st.integers(8, 20), st.integers(8, 20), st.data())
@settings(max_examples=30)
def test_a_crop_is_that_of_the_image_as_torch_pads_it_by_reflection(height, width, data):
    image = torch.randint(256, (1, 3, height, width), dtype=torch.uint8)
    padding = min(height, width) // 8
    top, left = data.draw(st.tuples(st.integers(0, 2 * padding), st.integers(0, 2 * padding)))
    padded = F.pad(image.float(), (padding,) * 4, mode="reflect").to(torch.uint8)
    expected = padded[..., top : top + height, left : left + width]
    assert torch.equal(padded_crop(image, torch.tensor([False]), torch.tensor([[top], [left]])), expected)


@given(st.integers(4, 20), st.integers(4, 20), st.integers(0, 24), st.data())
@settings(max_examples=50)
def test_cutout_clears_the_square_around_its_centre_and_nothing_else(height, width, side, data):
    row, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    cut = cut_out(torch.ones(1, 2, height, width), side, torch.tensor([[row], [column]]))
    top, left = row - side // 2, column - side // 2
    expected = torch.ones(1, 2, height, width)
    expected[..., max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = 0
    assert torch.equal(cut, expected)


def test_trivial_augment_changes_its_share_of_the_images():
    images = torch.randint(256, (800, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(trivially_augmented(images, 0.0, seed=0), images)
    shares = [
        (trivially_augmented(images, share, seed=0) != images).flatten(1).any(1).float().mean().item()
        for share in (0.5, 1.0)
    ]
    assert 0.3 < shares[0] < 0.6
    assert shares[1] > 0.8  # one operation in 14 is the identity


def test_cutmix_mixes_the_labels_by_the_area_that_it_pastes():
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 16, 16)
    pasted = 0
    for seed in range(20):
        batch, labels = mixed(images, torch.arange(6), 6, cutmix=1.0, mixup=0.0, seed=seed)
        assert labels.shape == (6, 6)
        assert torch.allclose(labels.sum(1), torch.ones(6))
        own = torch.stack([(batch[index, 0] == index).float().mean() for index in range(6)])
        assert torch.allclose(own, labels.diagonal(), atol=1e-6)
        pasted += bool((own < 1).any())
    assert pasted > 10
    assert torch.equal(mixed(images, torch.arange(6), 6, cutmix=0.0, mixup=0.0, seed=0)[1], torch.arange(6))


def test_strong_augmentation_stops_for_the_last_epochs():
    batches = batches_of(numbered_images(16), 16, cutmix=1.0, epochs=4, augment_until=0.5)
    dimensions = [next(batches.epoch(epoch))[1].ndim for epoch in (1, 2, 3, 4)]
    assert dimensions == [2, 2, 1, 1]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_streamed_set_gives_the_batches_of_the_same_set_in_memory(colour_folder, workers):
    config = resolve_data_config(create_model("sparsenet_bc_40_k12", device="meta"))
    in_memory = load_image_set(colour_folder, "train", config, "memory")
    streamed = load_image_set(colour_folder, "train", config, "stream", workers)
    assert isinstance(in_memory, ImageSet)
    assert not isinstance(streamed, ImageSet)
    pairs = zip(*(batches_of(image_set, 20, **EVERYTHING).epoch(2) for image_set in (in_memory, streamed)))
    for (images, labels), (other_images, other_labels) in pairs:
        assert torch.equal(images, other_images)
        assert torch.equal(labels, other_labels)


def test_a_streamed_set_scores_as_the_same_set_in_memory_does(colour_folder):
    model = create_model("sparsenet_bc_40_k12", num_classes=2)
    config = resolve_data_config(model)
    scores = [
        evaluate(
            model,
            load_image_set(colour_folder, "test", config, loader, 1).part(torch.arange(3, 17)),
            mean=config["mean"],
            std=config["std"],
        )
        for loader in ("memory", "stream")
    ]
    first, second = (dataclasses.replace(score, images_per_second=0.0) for score in scores)
    assert first == second


def test_only_small_sets_are_read_into_memory_unasked(colour_folder, monkeypatch):
    config = resolve_data_config(create_model("sparsenet_bc_40_k12", device="meta"))
    assert isinstance(load_image_set(colour_folder, "train", config), ImageSet)
    monkeypatch.setattr("sparsenet_models.data.datasets.IN_MEMORY_BYTES", 1000)
    assert not isinstance(load_image_set(colour_folder, "train", config), ImageSet)


def test_parquet_streams_with_workers(cifar10_folder: Path):
    config = resolve_data_config(create_model("sparsenet_bc_40_k12", device="meta"))
    streamed = load_image_set(cifar10_folder, "test", config, "stream", 2)
    indices = torch.tensor([9_999, 0, 5, 5])
    assert len(streamed) == 10_000
    assert torch.equal(next(streamed.batches([indices])), streamed.part(indices).in_memory().images)


def image_of_its_process(index: int) -> Image.Image:
    return Image.new("RGB", (1, 1), tuple(os.getpid().to_bytes(3, "big")))


@pytest.mark.parametrize("first_pass", ["whole", "left early"])
def test_the_workers_of_a_streamed_set_stay_for_the_next_pass(first_pass):
    labels = torch.zeros(8, dtype=torch.long)
    streamed = StreamedImageSet(
        image_of_its_process, lambda image: image, (3, 1, 1), labels, ("only",), "pids", 2
    )

    def readers(batches) -> set[tuple[int, ...]]:
        return {tuple(images.flatten().tolist()) for images in batches}

    if first_pass == "whole":
        first = readers(streamed.batches(torch.arange(8).split(1)))
    else:
        passing = streamed.batches(torch.arange(8).split(1))
        first = readers([next(passing), next(passing)])
        passing.close()
    again = readers(streamed.batches(torch.arange(8).split(1)))
    assert first == again
    assert len(first) == 2
    assert tuple(os.getpid().to_bytes(3, "big")) not in first


@given(st.integers(0, 1000))
def test_mixup_blends_two_images_and_their_labels_by_the_same_share(seed):
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 4, 4)
    blended, labels = mixed(images, torch.arange(6), 6, cutmix=0.0, mixup=1.0, seed=seed)
    assert torch.allclose(labels.sum(1), torch.ones(6))
    assert torch.allclose(blended[:, 0, 0, 0], labels @ torch.arange(6.0), atol=1e-5)
    assert torch.equal(blended.amin((1, 2, 3)), blended.amax((1, 2, 3)))


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 1000))
def test_mixup_leaves_cutmix_the_batches_that_it_has_alone(cutmix, mixup, seed):
    mixup = min(mixup, 1 - cutmix)
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    alone = mixed(images, torch.arange(4), 4, cutmix=cutmix, mixup=0.0, seed=seed)
    both = mixed(images, torch.arange(4), 4, cutmix=cutmix, mixup=mixup, seed=seed)
    if alone[1].ndim == 2:
        assert torch.equal(alone[0], both[0])
        assert torch.equal(alone[1], both[1])
