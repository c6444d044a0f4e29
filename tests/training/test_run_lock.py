"""Two runs and one folder: a lock, and whose weights they are."""

from __future__ import annotations

import json
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from support.trainer import TINY_NET, Trainer, register_tiny_net

from sparsenet_models.training import run_lock
from sparsenet_models.training.config import TrainConfig
from sparsenet_models.training.loop import train
from sparsenet_models.training.run_lock import locked


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch, own_models: None) -> None:
    register_tiny_net()
    monkeypatch.setattr("sparsenet_models.training.loop.write_pictures", lambda *_, **__: None)


def options(data: Path, out: Path) -> TrainConfig:
    return TrainConfig(
        TINY_NET, str(data), str(out), epochs=1, batch_size=32, lr=0.05, resolution=((8, 1),),
        precision="float32", device="cpu", compile=False,
    )  # fmt: skip


@pytest.mark.parametrize("loader", ["memory", pytest.param("stream", marks=pytest.mark.slow)])
def test_a_second_run_into_a_folder_is_refused_until_the_first_is_killed(
    colour_folder, tmp_path, monkeypatch, loader
):
    out = tmp_path / "run"
    words = ["train", TINY_NET, "--data", str(colour_folder), "--out", str(out), "--resolution", "8:4000"]
    words += ["--precision", "float32", "--no-compile", "--loader", loader]
    first = Trainer(words, tmp_path)
    first.wait_for_line("epoch 1/4000")
    with monkeypatch.context() as patch:
        patch.setattr(run_lock, "WAIT_SECONDS", 0.1)
        for resume in (False, True):
            with pytest.raises(ValueError, match="out is in use: another run trains into") as caught:
                train(options(colour_folder, out), resume=resume)
            assert str(out) in str(caught.value)
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    with pytest.raises(ValueError, match="epochs was 4000"):  # past the lock
        train(options(colour_folder, out), resume=True)


def test_a_folder_that_was_made_for_nothing_is_removed_and_one_with_files_is_kept(tmp_path):
    with locked(tmp_path / "runs" / "empty"):
        assert (tmp_path / "runs" / "empty").is_dir()
    assert not list(tmp_path.iterdir())
    with locked(tmp_path / "runs" / "full"):
        (tmp_path / "runs" / "full" / "file").write_text("")
    assert [path.name for path in (tmp_path / "runs" / "full").iterdir()] == ["file"]


def test_a_run_that_opened_the_lock_just_before_its_owner_removed_it_keeps_a_third_out(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    flock, opened, removed, ends = fcntl.flock, *(threading.Event() for _ in range(3))

    def late_flock(descriptor: int, operation: int) -> None:
        if threading.current_thread() is second and not opened.is_set():
            opened.set()
            assert removed.wait(60)
        flock(descriptor, operation)

    def run() -> None:
        with locked(tmp_path):
            inside.set()
            assert ends.wait(60)

    inside = threading.Event()
    second = threading.Thread(target=run, daemon=True)
    with locked(tmp_path):
        monkeypatch.setattr(fcntl, "flock", late_flock)
        second.start()
        assert opened.wait(60)
    removed.set()
    assert inside.wait(60)
    monkeypatch.setattr(run_lock, "WAIT_SECONDS", 0.1)
    with pytest.raises(ValueError, match="out is in use"), locked(tmp_path):
        pass
    ends.set()
    second.join(60)


def test_a_finished_folder_is_handed_over_to_the_options_that_filled_it_alone(colour_folder, tmp_path):
    first = options(colour_folder, tmp_path / "run")
    weights = train(first)
    assert train(first, resume=True) == weights
    for removed in ("", "checkpoint.pt"):
        (tmp_path / "run" / removed).unlink() if removed else None
        for changes, message in (({"model": "sparse_resnet_20"}, "model was"), ({"seed": 1}, "seed was 0")):
            with pytest.raises(ValueError, match=message):
                train(replace(first, **changes), resume=True)
    assert train(first, resume=True) == weights
    (tmp_path / "run" / "run.json").unlink()
    with pytest.raises(
        ValueError, match=r"holds model\.safetensors but no options of a run \(config\.json\)"
    ):
        train(first, resume=True)


def test_a_finished_folder_is_not_handed_over_to_a_run_on_other_images(
    colour_folder, ten_class_folder, tmp_path
):
    first = options(colour_folder, tmp_path / "run")
    train(first)
    other = replace(first, data=str(ten_class_folder))
    with pytest.raises(
        ValueError, match=r"has other images than those that the run in .* began with: classes"
    ):
        train(other, resume=True)
    (tmp_path / "run" / "checkpoint.pt").unlink()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["data"] == str(colour_folder)
    with pytest.raises(ValueError, match=r"data was .* when the run in .* began"):
        train(other, resume=True)
