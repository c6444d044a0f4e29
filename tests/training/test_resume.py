"""Runs that are killed, interrupted or cut off from disk and data, and what goes on from there."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support.muon import MUON
from support.repository import REPOSITORY
from support.trainer import TINY_NET, Trainer, register_tiny_net

from sparsenet_models.training.config import TrainConfig
from sparsenet_models.training.interrupt import stop_on_signal
from sparsenet_models.training.loop import TrainingStopped, train
from sparsenet_models.training.progress import say
from sparsenet_models.training.resume import check_same_options
from sparsenet_models.training.run_folder import load_checkpoint_state, save_checkpoint
from sparsenet_models.training.schedule import learning_rate

MODEL = "sparsenet_bc_40_k12"
AUGMENTED = (
    "--cutout 4 --trivial-augment 0.5 --cutmix 0.5 --augment-until 0.9 --label-smoothing 0.1 "
    "--schedule cosine --ema-decay 0.9 --ema-start 0.2 --ema-warmup"
)
EVERYTHING = f"{AUGMENTED} --distill sparsenet_bc_40_k12.cifar10"


def command(data: Path, out: Path, options: str, model: str = TINY_NET) -> list[str]:
    common = "--batch-size 16 --lr 0.05 --eval-every 0 --precision float32 --device cpu --no-compile"
    return ["train", model, "--data", str(data), "--out", str(out), *common.split(), *options.split()]


def leftovers(run: Path) -> list[Path]:
    """Return what checkpoints are written into before they take their place."""
    return list(run.glob(".checkpoint.pt.*.tmp"))


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


@pytest.mark.parametrize("optimizer", ["sgd", MUON])
def test_a_run_killed_in_mid_epoch_ends_with_the_bytes_of_one_left_alone(colour_folder, tmp_path, optimizer):
    options = f"{AUGMENTED} --optimizer {optimizer} --resolution 8:4 --checkpoint-minutes 0.0005"
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    whole = Trainer(command(colour_folder, straight, options), tmp_path)
    assert whole.end() == 0, whole.stderr
    process = Trainer(command(colour_folder, killed, options), tmp_path, kill_at=9)  # of 6 steps an epoch
    assert process.end() == -signal.SIGKILL
    assert_goes_on_to_the_same_bytes(colour_folder, killed, straight, options, TINY_NET)


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
    whole = Trainer(command(data, straight, options, MODEL), folder)
    assert whole.end() == 0, whole.stderr
    chance = random.Random(0)
    in_write = 0
    for number in range(kills):
        for temporary in leftovers(killed):  # of the kill before
            temporary.unlink()
        process = Trainer([*command(data, killed, options, MODEL), "--resume"], folder)
        process.wait_for_line(MODEL)
        if number == kills - 1:
            process.wait_for((killed / "checkpoint.pt").exists)  # so that something is resumed
        else:
            time.sleep(chance.uniform(0, 0.3))
        if number % 2:
            process.wait_for(lambda: leftovers(killed))
        assert process.end(signal.SIGKILL) == -signal.SIGKILL
        in_write += bool(leftovers(killed))
        if (killed / "checkpoint.pt").exists():
            torch.load(killed / "checkpoint.pt", weights_only=True)
    print(f"{kills} kills, {in_write} inside the write of a checkpoint")
    assert_goes_on_to_the_same_bytes(data, killed, straight, options, MODEL)
    assert epochs(killed) == list(range(1, epochs_in_all + 1))
    return in_write


def assert_goes_on_to_the_same_bytes(
    data: Path, killed: Path, straight: Path, options: str, model: str
) -> None:
    assert not (killed / "model.safetensors").exists(), "it ended before it was killed"
    rest = Trainer([*command(data, killed, options, model), "--resume"], killed.parent)
    assert rest.end() == 0, rest.stderr
    assert "resuming after epoch" in rest.stdout
    assert written(killed) == written(straight)
    assert epochs(killed) == epochs(straight)
    assert not list(killed.glob(".*"))


@pytest.mark.parametrize("field", TrainConfig("m", "d", "o").to_dict())
def test_a_resumed_run_may_change_what_the_page_says_and_nothing_else(field, tmp_path):
    page = (REPOSITORY / "docs/training.md").read_text(encoding="utf-8")
    sentence = re.search(r"Only (`--.*?) may change", page, re.DOTALL)
    assert sentence is not None
    may_change = re.findall(r"`--([a-z-]+)`", sentence[1])
    config = TrainConfig("m", "d", str(tmp_path))
    begun_with = config.to_dict() | {field: "another"}
    if field.replace("_", "-") in may_change:
        check_same_options(begun_with, config, tmp_path)
    else:
        with pytest.raises(ValueError, match=f"^{field} was 'another' when the run in"):
            check_same_options(begun_with, config, tmp_path)


CHECKPOINT_KEYS = set(
    "config environments metrics step loss seconds precision model optimizer average best git_commit "
    "init_sha256".split()
)
"""Those of the checkpoints of the first runs, which must resume."""
NEW_CHECKPOINT_KEYS = {"images", "compiled_sides"}


@pytest.mark.parametrize("options_name", ["run.json", "config.json"])
def test_a_run_with_its_options_in_config_json_resumes_to_the_bytes_of_one_left_alone(
    colour_folder, tmp_path, monkeypatch, own_models, options_name
):
    """So are those of older runs, which have the old keys alone in their checkpoints."""
    register_tiny_net()
    monkeypatch.setattr("sparsenet_models.training.loop.write_pictures", lambda *_: None)

    def config(name: str) -> TrainConfig:
        options = dict(epochs=3, batch_size=16, lr=0.05, resolution=((8, 3),), cutmix=0.5, ema_decay=0.9)
        return TrainConfig(
            TINY_NET, str(colour_folder), str(tmp_path / name), **options, checkpoint_minutes=1e-9,
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
        with pytest.raises(TrainingStopped, match=r"disk full; .* step 3 of epoch 2 is kept"):
            train(config("stopped"))
    assert (
        set(torch.load(stopped / "checkpoint.pt", weights_only=True)) == CHECKPOINT_KEYS | NEW_CHECKPOINT_KEYS
    )
    if options_name == "config.json":
        state = load_checkpoint_state(stopped)
        for group in state["optimizer"]["param_groups"]:
            group["scale"] = group.pop("lr_scale")
        save_checkpoint(stopped, {key: state[key] for key in CHECKPOINT_KEYS})
    (stopped / "run.json").rename(stopped / options_name)
    train(config("stopped"), resume=True)
    assert written(stopped) == written(tmp_path / "straight")
    assert json.loads((stopped / "run.json").read_text())["cutmix"] == 0.5


def started(words: list[str], start_new_session: bool = False) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "sparsenet_models", *words]
    return subprocess.Popen(
        program, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1,
        start_new_session=start_new_session,
    )  # fmt: skip


def finished(words: list[str]) -> subprocess.Popen[str]:
    process = started(words)
    process.communicate(timeout=300)
    return process


def reads_until(process: subprocess.Popen[str], start: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(start):
            return
    raise AssertionError(process.communicate())


@pytest.mark.slow
@pytest.mark.parametrize("loader", ["memory", "stream"])
def test_ctrl_c_saves_says_how_to_go_on_and_loses_nothing(colour_folder, tmp_path, loader):
    options = f"--resolution 8:8 --loader {loader} --workers 1"
    assert finished(command(colour_folder, tmp_path / "straight", options, MODEL)).returncode == 0
    stopped = tmp_path / "stopped"
    process = started(command(colour_folder, stopped, options, MODEL))
    reads_until(process, "epoch 2/8")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert len(errors.splitlines()) == 1
    assert "Error: interrupted; the checkpoint after " in errors
    assert "continue with the same command and --resume" in errors
    assert finished([*command(colour_folder, stopped, options, MODEL), "--resume"]).returncode == 0
    assert written(stopped) == written(tmp_path / "straight")


def test_ctrl_c_is_heard_between_epochs_of_one_step(colour_folder, tmp_path):
    words = [*command(colour_folder, tmp_path / "run", "--resolution 8:2000"), "--batch-size", "96"]
    process = Trainer(words, tmp_path)
    process.wait_for_line("epoch 2/2000")
    assert process.end(signal.SIGINT) == 1
    assert "Error: interrupted; the checkpoint after epoch " in process.stderr
    assert epochs(tmp_path / "run")[-1] < 2000


def test_a_disk_that_takes_no_more_is_one_line_and_the_last_checkpoint_stays(colour_folder, tmp_path):
    words = [*command(colour_folder, tmp_path / "run", "--resolution 8:50"), "--resume"]
    process = Trainer(words, tmp_path)
    process.wait_for_line("epoch 1/50")
    assert process.end(signal.SIGINT) == 1
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    before = checkpoint.read_bytes()
    process = Trainer(words, tmp_path, file_size=len(before) // 2)
    assert process.end() == 1
    assert len(process.stderr.splitlines()) == 1
    assert "File too large" in process.stderr
    assert "is kept; continue with the same command and --resume" in process.stderr
    assert checkpoint.read_bytes() == before
    assert not list((tmp_path / "run").glob(".*"))


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_data_that_vanish_are_one_line_and_the_last_checkpoint_stays(colour_folder, tmp_path, workers):
    data = shutil.copytree(colour_folder, tmp_path / "data")
    out = tmp_path / "run"
    options = f"--resolution 8:200 --loader stream --workers {workers}"
    process = Trainer(command(data, out, options), tmp_path)
    process.wait_for((out / "metrics.csv").exists)
    shutil.rmtree(data / "train")
    assert process.end() == 1
    assert len(process.stderr.splitlines()) == 1
    assert f"image not found: {data}" in process.stderr
    assert "the checkpoint after " in process.stderr
    torch.load(out / "checkpoint.pt", weights_only=True)


@pytest.mark.slow
def test_a_run_continues_with_another_number_of_workers_and_records_it(colour_folder, tmp_path):
    words = command(colour_folder, tmp_path / "run", "--resolution 8:12")
    process = Trainer(words, tmp_path)
    process.wait_for_line("epoch 1/12")
    assert process.end(signal.SIGTERM) == 1
    resumed = Trainer([*words, "--resume", "--workers", "3"], tmp_path)
    assert resumed.end() == 0, resumed.stderr
    assert "the environment has changed, so the last digits may differ: workers 2 -> 3" in resumed.stdout
    assert '"workers": 3' in (tmp_path / "run" / "run.json").read_text().partition("environments")[2]


def test_a_signal_while_images_are_read_is_answered_at_once_and_leaves_no_folder(
    colour_folder, tmp_path, monkeypatch, own_models
):
    def read_for_long(config: TrainConfig) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)

    register_tiny_net()
    monkeypatch.setattr("sparsenet_models.training.loop.open_inputs", read_for_long)
    start = time.monotonic()
    with pytest.raises(TrainingStopped, match=r"^interrupted; there is no checkpoint yet$"):
        train(TrainConfig(TINY_NET, str(colour_folder), str(tmp_path / "run")))
    assert time.monotonic() - start < 10
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_another_program_is_refused_and_stays(colour_folder, tmp_path):
    (tmp_path / "run").mkdir()
    torch.save({"model": {}}, tmp_path / "run" / "checkpoint.pt")
    with pytest.raises(ValueError, match=r"checkpoint\.pt is no checkpoint of sparsenet train"):
        train(TrainConfig(MODEL, str(colour_folder), str(tmp_path / "run"), device="cpu"), resume=True)
    assert (tmp_path / "run" / "checkpoint.pt").exists()


def test_lines_are_printed_where_the_encoding_lacks_a_letter(monkeypatch):
    output = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", output)
    say("reading ж")
    output.flush()
    assert output.buffer.getvalue() == b"reading \\u0436\n"


def test_a_signal_within_a_step_waits_for_its_end_and_says_so(capfd):
    with stop_on_signal(tells=True) as stop:
        stop.at_once = False
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.made
    assert capfd.readouterr().out == (
        "interrupted: stopping after this step; once more stops now and loses it\n"
    )


def test_lines_that_nobody_reads_are_dropped(monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        for line in ("first", "second"):
            say(line)


def test_an_epoch_is_on_the_disk_before_it_is_told(colour_folder, tmp_path, monkeypatch, own_models):
    register_tiny_net()
    monkeypatch.setattr("sparsenet_models.training.loop.write_pictures", lambda *_: None)
    done = []

    def told(line: str) -> None:
        if line.startswith("epoch "):
            done.append(len(torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["metrics"]))

    monkeypatch.setattr("sparsenet_models.training.loop.say", told)
    options = dict(epochs=2, batch_size=32, lr=0.05, size=8, precision="float32", device="cpu", compile=False)
    train(TrainConfig(TINY_NET, str(colour_folder), str(tmp_path / "run"), **options))
    assert done == [1, 2]


@pytest.mark.slow
def test_a_closed_pipe_does_not_end_a_run(colour_folder, tmp_path):
    with started(command(colour_folder, tmp_path / "run", "--resolution 8:3", MODEL)) as process:
        reads_until(process, "reading")
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
    assert epochs(tmp_path / "run") == [1, 2, 3]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the workers in /proc")
@pytest.mark.slow
@pytest.mark.parametrize("killed", ["group", "worker"])
def test_a_group_that_is_asked_to_end_and_a_worker_that_is_killed_lose_no_step(
    colour_folder, tmp_path, killed
):
    options = "--resolution 8:400 --loader stream --workers 2"
    process = started(command(colour_folder, tmp_path / "run", options, MODEL), start_new_session=True)
    reads_until(process, "epoch 1/400")
    if killed == "group":
        os.killpg(process.pid, signal.SIGTERM)
    else:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert len(errors.splitlines()) == 1
    assert ("interrupted" if killed == "group" else "a process that reads the images of") in errors
    assert re.search(r"the checkpoint after (step \d of epoch \d+|epoch \d+) is kept", errors)
