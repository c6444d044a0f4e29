"""Runs that are killed, interrupted or cut off from disk and data, and what goes on from there."""

from __future__ import annotations

import csv
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.repository import REPOSITORY

from sparsenet_models.training.config import TrainConfig
from sparsenet_models.training.loop import TrainingStopped, train
from sparsenet_models.training.schedule import learning_rate

MODEL = "sparsenet_bc_40_k12"
AUGMENTED = (
    "--cutout 4 --trivial-augment 0.5 --cutmix 0.5 --augment-until 0.9 --label-smoothing 0.1 "
    "--schedule cosine --ema-decay 0.9 --ema-start 0.2 --ema-warmup"
)
EVERYTHING = f"{AUGMENTED} --distill sparsenet_bc_40_k12.cifar10"


def command(data: Path, out: Path, options: str) -> list[str]:
    common = "--batch-size 16 --lr 0.05 --eval-every 0 --precision float32 --device cpu --no-compile"
    run = [sys.executable, "-m", "sparsenet_models", "train", MODEL, "--data", str(data), "--out", str(out)]
    return [*run, *common.split(), *options.split()]


def finished(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)


def started(words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        words, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )


def leftovers(run: Path) -> list[Path]:
    """Return what checkpoints are written into before they take their place."""
    return list(run.glob(".checkpoint.pt.*.tmp"))


def waits_for(is_there: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not is_there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it did not come in two minutes"
        time.sleep(0.002)


def reads_until(process: subprocess.Popen[str], start: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(start):
            return
    raise AssertionError(process.communicate())


def epochs(folder: Path) -> list[int]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


def written(folder: Path) -> tuple[dict, bytes]:
    """Return the header of a run's weight file, whose order safetensors shuffles, and the other bytes.

    The commit is left out: the checkout may change between the two runs that are compared.
    """
    content = (folder / "model.safetensors").read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    del header["__metadata__"]["git_commit"]
    return header, content[end:]


def test_a_run_killed_in_mid_epoch_ends_with_the_bytes_of_one_left_alone(ten_class_folder, tmp_path):
    killed_and_left_alone(ten_class_folder, tmp_path, kills=1, epochs_in_all=4)


@pytest.mark.slow
def test_a_killed_run_that_scores_averages_and_keeps_the_best_epoch_ends_alike_too(colour_folder, tmp_path):
    options = f"{AUGMENTED} --eval-every 1 --keep-best --drop-path-rate 0.2"
    killed_and_left_alone(colour_folder, tmp_path, kills=4, epochs_in_all=20, options=options)


@pytest.mark.slow
def test_a_run_killed_twenty_times_ends_with_the_bytes_of_one_left_alone(ten_class_folder, tmp_path):
    in_write = killed_and_left_alone(ten_class_folder, tmp_path, kills=20, epochs_in_all=40)
    assert in_write >= 5


def killed_and_left_alone(
    data: Path, folder: Path, *, kills: int, epochs_in_all: int, options: str = EVERYTHING
) -> int:
    """Compare the weights of both runs; return how many kills fell inside the write of a checkpoint."""
    options += f" --resolution 8:{epochs_in_all} --checkpoint-minutes 0.0005"
    straight, killed = folder / "straight", folder / "killed"
    whole = finished(command(data, straight, options))
    assert whole.returncode == 0, whole.stderr
    chance = random.Random(0)
    in_write = 0
    for number in range(kills):
        for temporary in leftovers(killed):  # of the kill before
            temporary.unlink()
        process = started([*command(data, killed, options), "--resume"])
        reads_until(process, MODEL)
        if number == kills - 1:
            waits_for((killed / "checkpoint.pt").exists, process)  # so that something is resumed
        time.sleep(chance.uniform(0, 0.3))
        if number % 2:
            waits_for(lambda: leftovers(killed), process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        in_write += bool(leftovers(killed))
        if (killed / "checkpoint.pt").exists():
            torch.load(killed / "checkpoint.pt", weights_only=True)
    assert not (killed / "model.safetensors").exists(), "it ended before it was killed"
    rest = finished([*command(data, killed, options), "--resume"])
    assert rest.returncode == 0, rest.stderr
    assert "resuming after epoch" in rest.stdout
    print(f"{kills} kills, {in_write} inside the write of a checkpoint")
    assert written(killed) == written(straight)
    assert epochs(killed) == list(range(1, epochs_in_all + 1))
    assert not list(killed.glob(".*"))
    return in_write


CHECKPOINT_KEYS = set(
    "config environments metrics step loss seconds precision model optimizer average best git_commit "
    "init_sha256".split()
)
"""Those of version 0.1."""


@pytest.mark.parametrize("options_name", ["run.json", "config.json"])
def test_a_run_of_version_0_1_resumes_to_the_bytes_of_one_left_alone(
    colour_folder, tmp_path, monkeypatch, options_name
):
    """Its options were in config.json; the keys of its checkpoint are those of today."""

    def config(name: str) -> TrainConfig:
        options = dict(epochs=3, batch_size=16, lr=0.05, resolution=((8, 3),), cutmix=0.5, ema_decay=0.9)
        return TrainConfig(
            MODEL, str(colour_folder), str(tmp_path / name), **options, checkpoint_minutes=1e-9,
            precision="float32", device="cpu", compile=False,
        )  # fmt: skip

    def disk_full(step: int, *arguments: object) -> float:
        if step == 9:
            raise OSError("disk full")
        return learning_rate(step, *arguments)

    train(config("straight"))
    stopped = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr("sparsenet_models.training.loop.learning_rate", disk_full)
        with pytest.raises(
            TrainingStopped, match="disk full; .* step 3 of epoch 2 is kept"
        ):
            train(config("stopped"))
    assert set(torch.load(stopped / "checkpoint.pt", weights_only=True)) == CHECKPOINT_KEYS
    (stopped / "run.json").rename(stopped / options_name)
    train(config("stopped"), resume=True)
    assert written(stopped) == written(tmp_path / "straight")
    assert json.loads((stopped / "run.json").read_text())["cutmix"] == 0.5


@pytest.mark.slow
@pytest.mark.parametrize("loader", ["memory", "stream"])
def test_ctrl_c_saves_says_how_to_go_on_and_loses_nothing(colour_folder, tmp_path, loader):
    options = f"--resolution 8:8 --loader {loader} --workers 1"
    assert finished(command(colour_folder, tmp_path / "straight", options)).returncode == 0
    stopped = tmp_path / "stopped"
    process = started(command(colour_folder, stopped, options))
    reads_until(process, "epoch 2/8")
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert len(told.splitlines()) == 1
    assert "Error: interrupted; the checkpoint after " in told
    assert "continue with the same command and --resume" in told
    assert finished([*command(colour_folder, stopped, options), "--resume"]).returncode == 0
    assert written(stopped) == written(tmp_path / "straight")


def test_ctrl_c_is_heard_between_epochs_of_one_step(colour_folder, tmp_path):
    process = started(
        [*command(colour_folder, tmp_path / "run", "--resolution 8:2000"), "--batch-size", "96"]
    )
    reads_until(process, "epoch 2/2000")
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Error: interrupted; the checkpoint after epoch " in told
    assert epochs(tmp_path / "run")[-1] < 2000


def test_a_disk_that_takes_no_more_is_one_line_and_the_last_checkpoint_stays(colour_folder, tmp_path):
    words = [*command(colour_folder, tmp_path / "run", "--resolution 8:50"), "--resume"]
    process = started(words)
    reads_until(process, "epoch 1/50")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    before = checkpoint.read_bytes()

    def full_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    stopped = subprocess.run(
        words, cwd=REPOSITORY, capture_output=True, text=True, preexec_fn=full_disk, timeout=120, check=False
    )
    assert stopped.returncode == 1
    assert len(stopped.stderr.splitlines()) == 1
    assert "File too large" in stopped.stderr
    assert "is kept; continue with the same command and --resume" in stopped.stderr
    assert checkpoint.read_bytes() == before
    assert not list((tmp_path / "run").glob(".*"))


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_data_that_vanish_are_one_line_and_the_last_checkpoint_stays(colour_folder, tmp_path, workers):
    data = shutil.copytree(colour_folder, tmp_path / "data")
    out = tmp_path / "run"
    process = started(command(data, out, f"--resolution 8:200 --loader stream --workers {workers}"))
    waits_for((out / "metrics.csv").exists, process)
    shutil.rmtree(data / "train")
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert len(told.splitlines()) == 1
    assert f"image not found: {data}" in told
    assert "the checkpoint after " in told
    torch.load(out / "checkpoint.pt", weights_only=True)


@pytest.mark.slow
def test_a_run_goes_on_with_other_threads_and_records_it(colour_folder, tmp_path):
    words = command(colour_folder, tmp_path / "run", "--resolution 8:12")
    process = started(words)
    reads_until(process, "epoch 1/12")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    again = [*words, "--resume", "--workers", "3"]
    resumed = finished(again)
    assert resumed.returncode == 0, resumed.stderr
    assert "the environment has changed, so the last digits may differ: workers 2 -> 3" in resumed.stdout
    assert '"workers": 3' in (tmp_path / "run" / "run.json").read_text().partition("environments")[2]
