"""The trainer: schedule, batches, checkpoints, resuming, what a run leaves behind."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st

from sparsenet_models import PretrainedCfg, SparseNet, create_model, register_model, registry
from sparsenet_models.data import ImageSet
from sparsenet_models.pretrained import read_metadata, read_state_dict
from sparsenet_models.training.batches import TrainingBatches
from sparsenet_models.training.checkpoint import write_atomically
from sparsenet_models.training.config import TrainConfig, parse_resolution
from sparsenet_models.training.loop import TrainingStopped, train
from sparsenet_models.training.precision import fastest_precision
from sparsenet_models.training.schedule import learning_rate

MODEL = "sparsenet_bc_40_k12"
TINY = "sparsenet_tiny_for_training"


@pytest.fixture(scope="module", autouse=True)
def tiny_model() -> Iterator[None]:
    def entrypoint(**kwargs) -> SparseNet:
        return SparseNet(depth=10, growth_rate=4, bottleneck=True, **kwargs)

    entrypoint.__name__ = TINY
    cfg = PretrainedCfg(TINY, input_size=(3, 32, 32), crop_pct=1.0, num_classes=10)
    register_model(pretrained_cfgs={"colours": cfg})(entrypoint)
    yield
    del registry._entrypoints[TINY], registry._tagged_cfgs[TINY]


def config(data: Path, out: Path, **changes) -> TrainConfig:
    options = dict(
        epochs=3,
        batch_size=32,
        lr=0.1,
        resolution=((8, 3),),
        precision="float32",
        device="cpu",
        compile=False,
    )
    return TrainConfig(model=TINY, data=str(data), out=str(out), **options | changes)


def metrics(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@given(st.integers(1, 2000), st.floats(0, 1), st.floats(1e-3, 10))
def test_the_rate_never_exceeds_its_peak_and_ends_one_small_step_above_zero(total, warmup, peak):
    rates = [learning_rate(step, total, peak, warmup) for step in range(total)]
    rising = round(warmup * total)
    assert all(0 < rate <= peak * (1 + 1e-12) for rate in rates)
    assert max(rates) == pytest.approx(peak)
    assert rates[:rising] == sorted(rates[:rising])
    assert rates[rising:] == sorted(rates[rising:], reverse=True)
    if rising < total:
        assert rates[-1] == pytest.approx(peak / (total - rising))


@given(st.lists(st.tuples(st.integers(8, 64), st.integers(1, 50)), min_size=1, max_size=5))
def test_a_resolution_text_tells_the_side_of_every_epoch(parts):
    text = ",".join(f"{side}:{epochs}" for side, epochs in parts)
    sides = [side for side, epochs in parts for _ in range(epochs)]
    options = TrainConfig("m", "d", "o", epochs=len(sides), resolution=parse_resolution(text))
    assert [options.side_in(epoch) for epoch in range(1, len(sides) + 1)] == sides


@pytest.mark.parametrize("text", ["16", "16:x", "16:1:2", "a,b"])
def test_a_resolution_of_another_form_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"16:18,24:7,32:4") as caught:
        parse_resolution(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("warmup", 1.5),
        ("momentum", 1.0),
        ("weight_decay", -1.0),
        ("label_smoothing", 1.0),
        ("ema_decay", 1.0),
        ("ema_start", 1.0),
        ("eval_every", -1),
        ("device", "tpu"),
        ("precision", "float16"),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(option, value):
    with pytest.raises(ValueError, match=option) as caught:
        TrainConfig(**{"model": MODEL, "data": "d", "out": "o", option: value})
    assert repr(value) in str(caught.value)


def test_a_resolution_for_another_number_of_epochs_is_refused():
    with pytest.raises(ValueError, match="resolution tells 5 epochs, epochs is 4"):
        TrainConfig(MODEL, "d", "o", epochs=4, resolution=((16, 5),))


def numbered_images(count: int, side: int = 16) -> ImageSet:
    """Images whose left half is darker by 100 than their right half, and whose level is their label."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, side, side)
    images[..., side // 2 :] += 100
    return ImageSet(images, torch.arange(count), tuple(map(str, range(count))), "numbered")


def batches_of(image_set: ImageSet, batch_size: int, seed: int = 0) -> TrainingBatches:
    zero_mean = ((0.0,) * 3, (1.0,) * 3)
    return TrainingBatches(image_set, batch_size, *zero_mean, seed, torch.device("cpu"))


@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 5))
def test_an_epoch_shows_no_image_twice_and_leaves_out_less_than_a_batch(count, batch_size, seed):
    batches = batches_of(numbered_images(count), batch_size, seed)
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
    first, again = (next(batches_of(numbered_images(20), 20).epoch(3)) for _ in range(2))
    other = next(batches_of(numbered_images(20), 20, seed=1).epoch(3))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


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


def test_images_come_at_the_side_asked_for_in_channels_last():
    images, _ = next(batches_of(numbered_images(4, side=32), 4).epoch(1, side=24))
    assert images.shape == (4, 3, 24, 24)
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(target, fail)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_last_row_has_the_accuracy_of_the_weights_even_if_no_other_has(colour_folder, tmp_path):
    weights = train(config(colour_folder, tmp_path / "run", eval_every=0))
    assert [row["top1"] for row in metrics(tmp_path / "run")] == ["", "", read_metadata(weights)["top1"]]


def test_a_tag_for_other_classes_than_the_datas_is_refused(colour_folder, tmp_path):
    options = replace(config(colour_folder, tmp_path / "run"), model=f"{MODEL}.cifar10")
    with pytest.raises(ValueError, match="stands for other classes"):
        train(options)
    assert not (tmp_path / "run").exists()


def test_before_averaging_starts_the_net_itself_is_measured(colour_folder, tmp_path):
    options = {"epochs": 4, "resolution": ((8, 4),)}
    train(config(colour_folder, tmp_path / "plain", **options))
    train(config(colour_folder, tmp_path / "averaged", ema_decay=0.9, ema_start=0.6, **options))
    plain, averaged = metrics(tmp_path / "plain"), metrics(tmp_path / "averaged")
    assert [row["top1"] for row in averaged[:2]] == [row["top1"] for row in plain[:2]]


def test_a_damaged_checkpoint_is_named_and_kept(colour_folder, tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(b"PK damaged")
    with pytest.raises(ValueError, match="is damaged") as caught:
        train(config(colour_folder, tmp_path), resume=True)
    assert str(checkpoint) in str(caught.value)
    assert checkpoint.read_bytes() == b"PK damaged"


def test_metrics_cut_off_after_a_checkpoint_are_whole_again_on_resume(colour_folder, tmp_path):
    folder = tmp_path / "run"
    train(config(colour_folder, folder))
    whole = (folder / "metrics.csv").read_text()
    (folder / "model.safetensors").unlink()
    (folder / "metrics.csv").write_text("".join(whole.splitlines(keepends=True)[:2]))
    train(config(colour_folder, folder), resume=True)
    assert (folder / "metrics.csv").read_text() == whole


def test_precision_is_chosen_by_the_time_of_real_steps():
    chosen, seconds = fastest_precision(create_model(TINY), torch.randn(4, 3, 8, 8))
    assert set(seconds) == {"float32", "bfloat16"}
    assert seconds[chosen] == min(seconds.values())


def test_a_run_learns_and_leaves_weights_metrics_and_options(colour_folder, tmp_path):
    weights = train(config(colour_folder, tmp_path / "run"))
    rows = metrics(tmp_path / "run")
    assert list(rows[0]) == ["epoch", "loss", "lr", "seconds", "images_per_second", "top1"]
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1]["loss"]) < 0.8 * float(rows[0]["loss"])
    assert float(rows[-1]["top1"]) >= 90
    metadata = read_metadata(weights)
    assert metadata["top1"] == rows[-1]["top1"]
    assert json.loads(metadata["class_names"]) == ["blue", "red"]
    assert metadata["architecture"] == TINY
    assert metadata["epochs"] == "3"
    assert json.loads((tmp_path / "run" / "config.json").read_text())["precision"] == "float32"
    create_model(TINY, num_classes=2, checkpoint_path=weights)


def test_averaged_weights_are_written_with_their_own_batch_norm_statistics(colour_folder, tmp_path):
    options = {"ema_decay": 0.5, "eval_every": 0, "lr": 0.05}
    averaged = read_state_dict(train(config(colour_folder, tmp_path / "averaged", **options)))
    plain = read_state_dict(train(config(colour_folder, tmp_path / "plain", eval_every=0, lr=0.05)))
    assert averaged.keys() == plain.keys()
    assert not torch.equal(averaged["stem.conv.weight"], plain["stem.conv.weight"])
    assert not torch.equal(averaged["norm.running_mean"], plain["norm.running_mean"])


def test_a_folder_in_use_is_refused_and_named(colour_folder, tmp_path):
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(ValueError, match="out is not empty") as caught:
        train(config(colour_folder, tmp_path))
    assert str(tmp_path) in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["keep.txt"]


def test_resume_starts_afresh_where_there_is_no_run_and_says_so(colour_folder, tmp_path, capsys):
    train(config(colour_folder, tmp_path / "new", epochs=1, resolution=((8, 1),)), resume=True)
    assert "starting afresh" in capsys.readouterr().out


def test_resume_of_a_finished_run_says_so_and_changes_nothing(colour_folder, tmp_path, capsys):
    options = config(colour_folder, tmp_path / "run", epochs=1, resolution=((8, 1),))
    before = train(options).read_bytes()
    assert train(options, resume=True).read_bytes() == before
    assert "is finished" in capsys.readouterr().out


def test_resume_with_other_options_is_refused_by_name(colour_folder, tmp_path):
    options = {"epochs": 1, "resolution": ((8, 1),)}
    train(config(colour_folder, tmp_path / "run", **options))
    with pytest.raises(ValueError, match=r"lr was 0\.1 .* now it is 0\.2"):
        train(config(colour_folder, tmp_path / "run", lr=0.2, **options), resume=True)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(colour_folder, tmp_path):
    with pytest.raises(TrainingStopped, match="epoch 1 is nan"):
        train(config(colour_folder, tmp_path / "run", lr=1e30, warmup=0.0))
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_without_a_compiler_a_run_says_so_and_goes_on(colour_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    train(config(colour_folder, tmp_path / "run", epochs=1, resolution=((8, 1),), compile=True))
    assert "no C++ compiler found" in capsys.readouterr().out


def command(data: Path, out: Path) -> list[str]:
    options = "--resolution 8:6 --batch-size 32 --lr 0.1 --eval-every 0 --precision float32 --device cpu"
    run = [sys.executable, "-m", "sparsenet_models", "train", MODEL, "--data", str(data)]
    return [*run, "--out", str(out), *options.split(), "--no-compile"]


def test_a_run_killed_and_resumed_ends_with_the_weights_of_one_left_alone(colour_folder, tmp_path):
    straight = tmp_path / "straight"
    subprocess.run(command(colour_folder, straight), check=True, cwd=REPOSITORY, capture_output=True)
    killed = tmp_path / "killed"
    process = subprocess.Popen(
        command(colour_folder, killed), cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (killed / "metrics.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "model.safetensors").exists()
    resumed = subprocess.run(
        [*command(colour_folder, killed), "--resume"],
        check=True,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert "resuming after epoch" in resumed.stdout
    assert [row["epoch"] for row in metrics(killed)] == list("123456")
    expected = read_state_dict(straight / "model.safetensors")
    found = read_state_dict(killed / "model.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
