"""The trainer: what a run needs, says and leaves behind."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import math
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.muon import MUON
from torch.utils._python_dispatch import TorchDispatchMode

from sparsenet_models import (
    PretrainedCfg,
    SparseNet,
    create_model,
    get_pretrained_cfg,
    model_entrypoint,
    register_model,
    save_pretrained,
)
from sparsenet_models.analysis.metrics import UNKNOWN_SCORING
from sparsenet_models.common.files import atomic_write
from sparsenet_models.models.registry import temporary_registry
from sparsenet_models.optimization.compiling import allow_shapes
from sparsenet_models.pretrained.weight_file import (
    read_metadata,
    read_state_dict,
    read_weight_description,
    save_weights,
)
from sparsenet_models.training import compiling, loop, precision, report
from sparsenet_models.training.averaging import averaged
from sparsenet_models.training.build import check_batch_norm
from sparsenet_models.training.compiling import sides_to_compile
from sparsenet_models.training.config import TrainConfig
from sparsenet_models.training.distill import distillation_loss
from sparsenet_models.training.distributed import Processes
from sparsenet_models.training.inputs import open_inputs
from sparsenet_models.training.loop import TrainingStopped, train
from sparsenet_models.training.precision import fastest_precision
from sparsenet_models.training.record import Record
from sparsenet_models.training.run_folder import (
    load_checkpoint_state,
    remove_leftovers,
    save_checkpoint,
    write_metrics,
    write_pictures,
)
from sparsenet_models.training.schedule import learning_rate
from sparsenet_models.training.state import TrainingState
from sparsenet_models.training.step import TrainingStep, balanced_weights, resized

MODEL = "sparsenet_bc_40_k12"
TWIN = "densenet_bc_40_k12"
TINY = "sparsenet_tiny_for_training"


@pytest.fixture(scope="module", autouse=True)
def tiny_model() -> Iterator[None]:
    def entrypoint(**kwargs) -> SparseNet:
        return SparseNet(depth=10, growth_rate=4, bottleneck=True, **kwargs)

    entrypoint.__name__ = TINY
    cfg = PretrainedCfg(TINY, input_size=(3, 32, 32), crop_pct=1.0, num_classes=10)
    with temporary_registry():
        register_model(pretrained_cfgs={"colours": cfg})(entrypoint)
        yield


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the pictures, which take longer than such a run."""
    monkeypatch.setattr(loop, "write_pictures", lambda *_: None)


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


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")

    def half_a_write() -> None:
        with atomic_write(target) as (temporary,):
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        half_a_write()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_behind_a_link_is_written_and_keeps_its_mode(tmp_path):
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "net", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to(target)
    with atomic_write(link) as (temporary,):
        temporary.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o600
    assert list((tmp_path / "disk").iterdir()) == [target]


@pytest.mark.parametrize("folder", ["gone", "file"])
def test_the_error_of_a_write_names_the_file_that_was_asked_for(tmp_path, folder):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match=r"No such file|Not a directory") as caught:
        write_metrics(tmp_path / folder, [])
    assert caught.value.filename == str(tmp_path / folder / "metrics.csv")
    assert ".tmp" not in str(caught.value)


def test_a_pipe_is_written_into_and_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with atomic_write(pipe) as (target,):
        target.write_text("rows")
    assert os.read(reader, 9) == b"rows"
    os.close(reader)
    assert pipe.is_fifo()


def test_the_last_row_has_the_accuracy_of_the_weights_even_if_no_other_has(colour_folder, tmp_path):
    weights = train(config(colour_folder, tmp_path / "run", eval_every=0))
    assert [row["top1"] for row in metrics(tmp_path / "run")] == ["", "", read_metadata(weights)["top1"]]


def test_drop_path_is_on_in_training(colour_folder, tmp_path):
    plain, dropped = (
        train(config(colour_folder, tmp_path / str(rate), drop_path_rate=rate)) for rate in (0.0, 0.5)
    )
    assert metrics(plain.parent)[0]["loss"] != metrics(dropped.parent)[0]["loss"]
    assert json.loads(read_metadata(dropped)["recipe"])["drop_path_rate"] == 0.5


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


def test_a_checkpoint_from_before_averaging_gives_the_weights_learnt_so_far(colour_folder, tmp_path):
    options = {"epochs": 2, "resolution": ((8, 2),), "eval_every": 0, "ema_decay": 0.9}
    learnt = read_state_dict(train(config(colour_folder, tmp_path, ema_start=0.99, **options)))
    kept = read_state_dict(tmp_path / "checkpoint.pt")
    assert kept.keys() == learnt.keys()
    assert all(torch.equal(kept[name], tensor) for name, tensor in learnt.items())


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


@pytest.mark.parametrize(("slow", "passes"), [("float32", 6), ("bfloat16", 4)])
def test_a_hopeless_precision_is_timed_once(monkeypatch, slow, passes):
    seen = []

    class Slow(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result = super().forward(x)
            seen.append(str(result.dtype).removeprefix("torch."))
            time.sleep(0.2 * (seen[-1] == slow))
            return result

    monkeypatch.setattr(precision, "SECONDS_TO_WARM_UP", 0.05)
    chosen, seconds = fastest_precision(Slow(4, 2), torch.randn(3, 4))
    assert chosen != slow
    assert seconds[slow] >= 0.2
    assert len(seen) == passes


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
    assert json.loads((tmp_path / "run" / "run.json").read_text())["precision"] == "float32"
    create_model(TINY, num_classes=2, checkpoint_path=weights)


def test_averaged_weights_are_written_with_their_own_batch_norm_statistics(colour_folder, tmp_path):
    options = {"ema_decay": 0.5, "eval_every": 0, "lr": 0.05}
    averaged = read_state_dict(train(config(colour_folder, tmp_path / "averaged", **options)))
    plain = read_state_dict(train(config(colour_folder, tmp_path / "plain", eval_every=0, lr=0.05)))
    assert averaged.keys() == plain.keys()
    assert not torch.equal(averaged["stem.conv.weight"], plain["stem.conv.weight"])
    assert not torch.equal(averaged["norm.running_mean"], plain["norm.running_mean"])


@given(values=st.lists(st.floats(-100, 100), min_size=1, max_size=40), decay=st.floats(0.01, 0.999))
def test_the_decay_of_averaged_weights_rises_by_its_formula(values, decay):
    net = torch.nn.Linear(1, 1, bias=False).double()
    average = averaged(net, TrainConfig("m", "d", "o", ema_decay=decay, ema_warmup=True))
    expected = values[0]
    for number, value in enumerate(values):
        torch.nn.init.constant_(net.weight, value)
        average.update_parameters(net)
        if number > 0:
            kept = min(decay, (1 + number) / (10 + number))
            expected = kept * expected + (1 - kept) * value
    assert average.module.weight.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_run_can_start_from_the_weights_of_another(colour_folder, tmp_path):
    first = train(config(colour_folder, tmp_path / "first"))
    almost_still = {"lr": 1e-9, "epochs": 1, "resolution": ()}
    second = train(config(colour_folder, tmp_path / "second", init_from=str(first), **almost_still))
    before, after = read_state_dict(first), read_state_dict(second)
    assert torch.allclose(before["stem.conv.weight"], after["stem.conv.weight"], atol=1e-6)
    recipe = json.loads(read_metadata(second)["recipe"])
    assert recipe["init_sha256"] == hashlib.sha256(first.read_bytes()).hexdigest()


def test_weights_for_other_classes_start_a_run_with_a_new_head(colour_folder, tmp_path, capsys):
    other = tmp_path / "other.safetensors"
    save_weights(create_model(TINY, num_classes=7), other, {})
    train(config(colour_folder, tmp_path / "run", init_from=str(other)))
    assert "starting from other.safetensors, with a new head" in capsys.readouterr().out


def test_weights_of_another_net_start_no_run(colour_folder, tmp_path):
    other = tmp_path / "other.safetensors"
    save_weights(torch.nn.Conv2d(3, 4, 3), other, {})
    with pytest.raises(ValueError, match="does not fit the model"):
        train(config(colour_folder, tmp_path / "run", init_from=str(other)))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("restarts", ["0", "1"])
def test_a_folder_in_use_is_refused_and_named(colour_folder, tmp_path, monkeypatch, restarts):
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", restarts)  # torchrun tries again
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
    with pytest.raises(TrainingStopped, match=r"no longer finite in epoch 1 \(loss nan\).*no checkpoint yet"):
        train(config(colour_folder, tmp_path / "run", lr=1e30, warmup=0.0))
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_without_a_compiler_a_run_says_so_and_goes_on(colour_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    train(config(colour_folder, tmp_path / "run", epochs=1, resolution=((8, 1),), compile=True))
    assert "no C++ compiler found" in capsys.readouterr().out


def test_curves_are_drawn_beside_the_metrics(colour_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "write_pictures", write_pictures)
    train(config(colour_folder, tmp_path / "run"))
    with Image.open(tmp_path / "run" / "curves.png") as picture:
        assert min(picture.size) > 400


def test_a_run_on_too_many_classes_to_draw_has_curves_and_no_confusions(tmp_path, capsys):
    row = {"epoch": 1, "loss": 1.0, "lr": 0.1, "seconds": 1, "images_per_second": 9, "top1": 50.0}
    write_metrics(tmp_path, [row, {**row, "epoch": 2}])
    write_pictures(tmp_path, None, ("blue", "red"), "test images", UNKNOWN_SCORING)
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.csv", "curves.png"}
    assert capsys.readouterr().out == ""


def test_without_matplotlib_a_run_says_what_draws_its_curves(colour_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(loop, "write_pictures", write_pictures)
    monkeypatch.setitem(sys.modules, "sparsenet_models.analysis.plot", None)
    train(config(colour_folder, tmp_path / "run", epochs=1, resolution=((8, 1),)))
    assert "no curves.png and confusion.png: they need matplotlib (pip install" in capsys.readouterr().out
    assert not (tmp_path / "run" / "curves.png").exists()


def test_a_net_learns_from_a_teacher_alone(colour_folder, tmp_path):
    """The teacher has the names of the classes the wrong way round, and the labels have no share."""
    teacher = train(config(colour_folder, tmp_path / "teacher"))
    cfg = PretrainedCfg(
        TINY, file=str(teacher), input_size=(3, 32, 32), num_classes=2, label_names=("red", "blue")
    )
    known = get_pretrained_cfg(TINY)
    register_model(pretrained_cfgs={"colours": known, "taught": cfg}, override=True)(model_entrypoint(TINY))
    options = {"distill": f"{TINY}.taught", "distill_weight": 1.0, "epochs": 3, "resolution": ((32, 3),)}
    weights = train(config(colour_folder, tmp_path / "student", **options))
    assert float(read_metadata(weights)["top1"]) <= 10


def test_a_teacher_of_other_classes_is_refused(colour_folder, tmp_path):
    with pytest.raises(ValueError, match=r"distill names .*k12.cifar10', which has other classes"):
        train(config(colour_folder, tmp_path / "run", distill=f"{MODEL}.cifar10"))
    assert not (tmp_path / "run").exists()


@given(st.integers(2, 6), st.floats(0.5, 8), st.integers(0, 1000))
def test_the_distillation_loss_is_hintons_and_zero_for_the_teacher_itself(classes, temperature, seed):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 5, classes, generator=generator, dtype=torch.float64)
    p, q = ((logits / temperature).softmax(1) for logits in (teacher, student))
    expected = temperature**2 * (p * (p / q).log()).sum(1).mean()
    assert distillation_loss(student, teacher, temperature).item() == pytest.approx(expected.item())
    assert distillation_loss(teacher, teacher, temperature).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("eval_every", [0, 1])
def test_a_rate_that_ends_in_nan_is_an_error_and_leaves_no_weights(colour_folder, tmp_path, eval_every):
    with pytest.raises(TrainingStopped, match=r"not? .*finite.*; a lower --lr than 1000000\.0 may help"):
        train(config(colour_folder, tmp_path / "run", lr=1e6, warmup=0.0, eval_every=eval_every))
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("broken", ["norm.running_var", "average"])
def test_statistics_and_averages_that_are_not_finite_are_no_finite_state(broken):
    state = TrainingState(create_model(TINY), TrainConfig(TINY, "d", "o", ema_decay=0.9))
    assert state.is_finite()
    if broken == "average":
        next(state.average.module.parameters()).data[0] = math.nan
    else:
        state.model.norm.running_var[0] = math.inf
    assert not state.is_finite()


def test_a_net_that_cannot_be_written_is_refused_before_it_is_trained(colour_folder, tmp_path):
    def tied_net(**kwargs) -> SparseNet:
        net = SparseNet(depth=10, growth_rate=4, bottleneck=True, **kwargs)
        net.stages[0].layers[0].tied = net.stem.conv
        return net

    cfg = PretrainedCfg(input_size=(3, 32, 32), crop_pct=1.0, num_classes=10)
    register_model(pretrained_cfgs={"colours": cfg}, override=True)(tied_net)
    options = replace(config(colour_folder, tmp_path / "run"), model="tied_net")
    message = "cannot be saved, as stem.conv.weight and stages.0.layers.0.tied.weight share their memory"
    with pytest.raises(ValueError, match=message):
        train(options)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=message):
        save_pretrained(create_model("tied_net"), tmp_path / "saved")
    assert not list(tmp_path.rglob("*.safetensors"))


def test_one_image_of_which_batch_norm_sees_one_pixel_is_refused_by_the_names_of_the_options():
    net = create_model(TINY)
    statistics = net.norm.running_mean.clone()
    check_batch_norm(net, 1, [8], 3)
    check_batch_norm(net, 2, [4], 3)
    assert torch.equal(net.norm.running_mean, statistics)
    for device in ("cpu", "meta"):
        with pytest.raises(ValueError, match=r"batch_size must be at least 2 .* at size 4: .* size"):
            check_batch_norm(net.to(device), 1, [8, 4], 3)


def test_images_are_resized_where_the_device_has_no_antialiasing():
    class WithoutAntialiasing(TorchDispatchMode):
        refused = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if "upsample_bilinear2d_aa" in str(func) and not self.refused:
                self.refused += 1
                raise NotImplementedError("not implemented for the MPS device")
            return func(*args, **(kwargs or {}))

    images = torch.randn(2, 3, 16, 16)
    with WithoutAntialiasing() as mode:
        small = resized(images, 8)
    assert mode.refused == 1
    assert torch.equal(small, resized(images, 8))


def test_a_short_run_is_not_compiled(capsys):
    images = torch.zeros(2, 3, 8, 8)
    assert sides_to_compile(torch.nn.Conv2d(3, 1, 3), images, {8: 100}, "float32", Processes()) == ()
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_for_a_long_run_a_step_at_each_side_is_timed_with_and_without_compiling(capsys):
    images = torch.zeros(2, 3, 16, 16)
    sides = sides_to_compile(
        torch.nn.Conv2d(3, 1, 3), images, {8: 10**9, 16: 10**9, 12: 1}, "float32", Processes()
    )
    told = capsys.readouterr().out
    found = re.findall(r"torch.compile at (\d+) pixels: (yes|no) \(a step takes", told)
    assert [side for side, _ in found] == ["8", "16"]
    assert sides == tuple(int(side) for side, answer in found if answer == "yes")


@pytest.mark.slow
def test_a_resumed_run_is_compiled_at_the_sides_chosen_when_it_began(
    colour_folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(compiling, "LEAST_SECONDS", 0.0)
    options = config(colour_folder, tmp_path / "run", compile=True)
    train(options)
    told = capsys.readouterr().out
    sides = load_checkpoint_state(tmp_path / "run")["compiled_sides"]
    assert f"torch.compile at 8 pixels: {'yes' if sides == (8,) else 'no'}" in told
    (tmp_path / "run" / "model.safetensors").unlink()
    train(options, resume=True)
    told = capsys.readouterr().out
    assert "torch.compile at" not in told
    assert "environment has changed" not in told


@pytest.mark.slow
def test_a_net_is_compiled_for_every_side_of_a_long_resolution():
    from torch._dynamo.utils import counters

    allow_shapes(20)
    net = torch.compile(torch.nn.Conv2d(1, 1, 3), dynamic=False)
    counters.clear()
    for side in range(8, 28):
        net(torch.zeros(1, 1, side, side))
    assert counters["stats"]["unique_graphs"] == 20


def one_step(
    images: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None, **options
) -> tuple[TrainingState, float]:
    torch.manual_seed(0)
    config = TrainConfig(TINY, "d", "o", **options)
    state = TrainingState(create_model(TINY, num_classes=2), config)
    device = torch.device("cpu")
    state.model.train()
    step = TrainingStep(state, lambda _: state.model, None, weights, config, "float32", 0, device)
    return state, step(images, labels, None, config.lr, 0).item()


def test_a_clipped_step_is_the_step_scaled_to_the_largest_norm():
    images, labels = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 0, 1])
    norms = []
    for limit in (0.0, 1e-3, 1e3):
        state, _ = one_step(images, labels, clip_grad_norm=limit)
        gradients = torch.cat([p.grad.flatten() for p in state.model.parameters()])
        norms.append((gradients.norm().item(), torch.nn.functional.normalize(gradients, dim=0)))
    assert norms[0][0] == norms[2][0] > 1e-3
    assert norms[1][0] == pytest.approx(1e-3, rel=1e-2)
    assert torch.allclose(norms[0][1], norms[1][1], atol=1e-5)


def test_balanced_classes_weigh_as_none_and_a_rare_class_by_its_weight():
    images = torch.randn(4, 3, 8, 8)
    even, odd = torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 0, 1])
    _, plain = one_step(images, even)
    _, balanced = one_step(images, even, balanced_weights(even, 2))
    assert balanced == pytest.approx(plain, rel=1e-6)
    _, weighted = one_step(images, odd, balanced_weights(odd, 2))
    _, first = one_step(images, odd, torch.tensor([2 / 3, 0.0]))
    _, second = one_step(images, odd, torch.tensor([0.0, 2.0]))
    assert weighted == pytest.approx(first + second, rel=1e-6)


@given(st.lists(st.integers(1, 50), min_size=2, max_size=9))
def test_balanced_weights_give_every_class_the_same_part_of_the_loss(counts):
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    parts = balanced_weights(labels, len(counts)) * torch.tensor(counts)
    assert torch.allclose(parts, torch.full((len(counts),), len(labels) / len(counts)))


@pytest.mark.parametrize("optimizer", ["adamw", MUON])
def test_a_run_with_mixup_clipping_and_class_weights_learns_and_resumes(colour_folder, tmp_path, optimizer):
    options = dict(optimizer=optimizer, lr=0.01, mixup=0.3, clip_grad_norm=1.0, class_weights="balanced")
    options |= dict(epochs=6, resolution=((8, 6),))
    weights = train(config(colour_folder, tmp_path / "run", **options))
    assert float(read_metadata(weights)["top1"]) >= 90
    weights.unlink()
    assert train(config(colour_folder, tmp_path / "run", **options), resume=True) == weights


@given(st.lists(st.one_of(st.just(""), st.integers(0, 9).map(str)), max_size=12), st.integers(0, 5))
def test_a_run_is_stuck_once_its_best_score_is_so_many_scored_epochs_old(scores, patience):
    record = Record("", "", torch.zeros(()), rows=[{"top1": score} for score in scores])
    known = [int(score) for score in scores if score]
    age = len(known) - 1 - known.index(max(known)) if known else 0
    assert record.is_stuck(patience) == (0 < patience <= age)


def test_a_stuck_run_stops_early_and_says_so(colour_folder, tmp_path, capsys):
    options = dict(epochs=30, resolution=((8, 30),), patience=2, lr=1e-9)
    weights = train(config(colour_folder, tmp_path / "run", **options))
    assert len(metrics(tmp_path / "run")) == int(read_metadata(weights)["epochs"]) < 30
    assert "stopping: no score has been better in 2 scored epochs" in capsys.readouterr().out
    assert read_metadata(weights)["scored_on"] == "test images, which ended the run"
    weights.unlink()
    train(config(colour_folder, tmp_path / "run", **options), resume=True)
    assert len(metrics(tmp_path / "run")) == int(read_metadata(weights)["epochs"])


def test_a_billion_epochs_are_begun(colour_folder, tmp_path, monkeypatch):
    def stop(*_: object) -> None:
        raise OSError("enough")

    monkeypatch.setattr(loop, "write_metrics", stop)
    with pytest.raises(TrainingStopped, match="enough; the checkpoint after epoch 1 is kept"):
        train(config(colour_folder, tmp_path / "run", epochs=10**9, resolution=(), size=8))


def test_only_temporary_files_of_runs_are_removed(tmp_path):
    ours = [".checkpoint.pt.0123abcd.tmp", ".metrics.csv.ffffffff.tmp", ".model.safetensors.00000000.tmp"]
    users = [
        ".notes.2024.tmp",
        ".notes.0123abcd.tmp",
        ".checkpoint.pt.mine.tmp",
        "checkpoint.pt.0123abcd.tmp",
    ]
    for name in (*ours, *users):
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(users)


def test_weights_that_are_no_longer_finite_replace_no_checkpoint(colour_folder, tmp_path, monkeypatch):
    def rate(step: int, *_: object) -> float:
        return 0.1 if step < 3 else math.inf  # from the second epoch on

    monkeypatch.setattr("sparsenet_models.training.loop.learning_rate", rate)
    with pytest.raises(TrainingStopped, match=r"in epoch 2 .* checkpoint after epoch 1 is kept"):
        train(config(colour_folder, tmp_path / "run", eval_every=0, checkpoint_minutes=1e-9))
    saved = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert len(saved["metrics"]) == 1
    assert all(tensor.isfinite().all() for tensor in saved["model"].values())


def test_the_columns_of_a_run_have_rates_scores_and_the_mean_loss_of_a_step(colour_folder, tmp_path):
    options = dict(epochs=4, resolution=((8, 4),), lr=1e-3)
    train(config(colour_folder, tmp_path / "three steps", eval_every=2, **options))
    rows = metrics(tmp_path / "three steps")
    assert [bool(row["top1"]) for row in rows] == [False, True, False, True]
    rates = [learning_rate(3 * epoch - 1, 12, 1e-3, 0.1) for epoch in (1, 2, 3, 4)]
    assert [float(row["lr"]) for row in rows] == pytest.approx(rates, abs=1e-6)
    train(config(colour_folder, tmp_path / "one step", eval_every=0, batch_size=96, **options))
    one = metrics(tmp_path / "one step")
    assert 0.6 < float(rows[0]["loss"]) / float(one[0]["loss"]) < 1.7


def test_the_classes_of_a_run_are_weighted_by_the_inverse_of_their_share(
    colour_folder, tmp_path, monkeypatch
):
    given_weights = []

    class Spied(TrainingStep):
        def __init__(self, *arguments) -> None:
            given_weights.append(arguments[3])
            super().__init__(*arguments)

    monkeypatch.setattr(loop, "TrainingStep", Spied)
    options = dict(epochs=1, resolution=((8, 1),), eval_every=0)
    train(config(colour_folder, tmp_path / "run", class_weights="balanced", **options))
    assert given_weights[0].tolist() == [1.5, 0.75]


def test_a_date_is_a_seed_and_another_seed_gives_other_weights(colour_folder, tmp_path):
    options = {"epochs": 1, "resolution": ((8, 1),)}
    first, second = (
        train(config(colour_folder, tmp_path / str(seed), seed=seed, **options)) for seed in (20261124, 1)
    )
    assert read_metadata(first)["seed"] == "20261124"
    weights, others = (read_state_dict(path)["stem.conv.weight"] for path in (first, second))
    assert not torch.equal(weights, others)


def test_a_run_older_than_an_option_goes_on_with_its_default(colour_folder, tmp_path):
    first = config(colour_folder, tmp_path / "run")
    train(first)
    state = load_checkpoint_state(tmp_path / "run")
    del state["config"]["cutout"]
    save_checkpoint(tmp_path / "run", state)
    train(first, resume=True)
    with pytest.raises(ValueError, match="cutout was 0 when the run in"):
        train(replace(first, cutout=4), resume=True)


def test_the_best_epoch_is_chosen_on_val_and_measured_on_test(colour_folder, tmp_path):
    """In val/ the colours have each other's names: what is best there is worst in test/."""
    data = shutil.copytree(colour_folder, tmp_path / "data")
    for name, other in (("red", "blue"), ("blue", "red")):
        shutil.copytree(data / "test" / name, data / "val" / other)
    train(config(data, tmp_path / "run", keep_best=True))
    rows = [float(row["top1"]) for row in metrics(tmp_path / "run")]
    final = float(read_metadata(tmp_path / "run" / "model.safetensors")["top1"])
    assert final == pytest.approx(100 - max(rows))


def test_the_score_on_val_that_chose_the_epoch_is_not_called_one_on_test_images(colour_folder, tmp_path):
    for split, name in (("train", "train"), ("test", "val")):
        shutil.copytree(colour_folder / split, tmp_path / "data" / name)
    weights = train(config(tmp_path / "data", tmp_path / "run", keep_best=True))
    chosen_on = "validation images, on which the epoch was chosen"
    assert read_metadata(weights)["scored_on"] == chosen_on
    assert "top1" not in read_weight_description(weights)[1]


@pytest.mark.parametrize(
    ("precision", "failing", "kept"),
    [("float32", 4, "the checkpoint after epoch 1 is kept"), ("auto", 0, "there is no checkpoint yet")],
)
def test_a_gpu_without_memory_left_is_one_line(colour_folder, tmp_path, precision, failing, kept):
    """In a step of the second epoch, and where steps are timed before the first."""
    passes = itertools.count()

    def short_of_memory(**kwargs) -> SparseNet:
        def fail(module: SparseNet, _: object) -> None:
            if module.training and next(passes) == failing:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")

        net = SparseNet(depth=10, growth_rate=4, bottleneck=True, **kwargs)
        net.register_forward_pre_hook(fail)
        return net

    cfg = PretrainedCfg(input_size=(3, 32, 32), crop_pct=1.0, num_classes=10)
    register_model(pretrained_cfgs={"colours": cfg}, override=True)(short_of_memory)
    options = config(colour_folder, tmp_path / "run", eval_every=0, precision=precision)
    options = replace(options, model="short_of_memory")
    with pytest.raises(TrainingStopped, match=f"^the GPU has too little memory left: .*{kept}"):
        train(options)
    assert train(options, resume=True).exists()


@pytest.mark.usefixtures("own_models")
def test_an_error_in_scoring_that_no_learning_rate_mends_says_what_it_said(colour_folder, tmp_path):
    def picky(**kwargs) -> SparseNet:
        def fail(module: SparseNet, _: object) -> None:
            if not module.training:
                raise ValueError("no images like these")

        net = SparseNet(depth=10, growth_rate=4, bottleneck=True, **kwargs)
        net.register_forward_pre_hook(fail)
        return net

    cfg = PretrainedCfg(input_size=(3, 32, 32), crop_pct=1.0, num_classes=10)
    register_model(pretrained_cfgs={"colours": cfg})(picky)
    with pytest.raises(ValueError, match=r"^no images like these$"):
        train(replace(config(colour_folder, tmp_path / "run"), model="picky"))


def test_without_val_the_best_epoch_is_chosen_on_training_images(colour_folder, tmp_path, capsys):
    inputs = open_inputs(config(colour_folder, tmp_path / "run", keep_best=True))
    assert "has no val/: 20% of each class are held out to score on" in capsys.readouterr().out
    assert set(inputs.watched_set.paths) == pictures(colour_folder, "train") - set(inputs.train_set.paths)
    assert inputs.watched_set.labels.bincount().tolist() == [6, 13]
    assert set(inputs.test_set.paths) == pictures(colour_folder, "test")


def test_test_pictures_that_are_also_learnt_from_are_told_where_the_epoch_is_chosen_on_others(
    colour_folder, tmp_path, capsys
):
    data = shutil.copytree(colour_folder, tmp_path / "data")
    for name in ("000", "001", "002"):
        shutil.copy(data / "train" / "red" / f"{name}.png", data / "test" / "red" / f"copy{name}.png")
    options = config(data, tmp_path / "run", keep_best=True)
    inputs = open_inputs(options)
    learnt = {Path(path).name for path in inputs.train_set.paths if "red" in path}
    copied = len(learnt & {"000.png", "001.png", "002.png"})
    assert copied
    assert f"{copied} of 23 images to score on are also among those to learn from" in capsys.readouterr().out


def test_the_folder_of_a_run_lists_every_scored_picture_that_is_also_learnt_from(
    colour_folder, tmp_path, capsys
):
    data = shutil.copytree(colour_folder, tmp_path / "data")
    pairs = [(data / f"train/red/{name}.png", data / f"test/red/copy{name}.png") for name in ("000", "001")]
    for learnt, scored in pairs:
        shutil.copy(learnt, scored)
    train(config(data, tmp_path / "run"))
    assert "remove the copies, which copies.csv in the run's folder lists" in capsys.readouterr().out
    lines = (tmp_path / "run" / "copies.csv").read_text().splitlines()
    assert lines == ["learnt_from,scored_on", *(f"{learnt},{scored}" for learnt, scored in pairs)]
    train(config(colour_folder, tmp_path / "without"))
    assert not (tmp_path / "without" / "copies.csv").exists()


def test_with_held_out_images_no_test_image_is_seen(colour_folder, tmp_path):
    inputs = open_inputs(config(colour_folder, tmp_path / "run", validation=0.25))
    assert set(inputs.watched_set.paths) == pictures(colour_folder, "train") - set(inputs.train_set.paths)
    assert inputs.watched_set.labels.bincount().tolist() == [8, 16]
    assert inputs.test_set is inputs.watched_set
    assert inputs.watched_images == "held-out images"


def pictures(data: Path, split: str) -> set[str]:
    return {str(path) for path in (data / split).glob("*/*.png")}


def test_the_time_left_is_estimated_from_the_pixels_that_are_left(colour_folder, tmp_path, monkeypatch):
    estimates = []
    monkeypatch.setattr(report, "duration", lambda seconds: estimates.append(seconds) or "")
    train(config(colour_folder, tmp_path / "run", resolution=((8, 1), (16, 2))))
    seconds = [96 / float(row["images_per_second"]) for row in metrics(tmp_path / "run")]
    assert estimates == pytest.approx([seconds[0] * 8, seconds[1], 0], rel=0.01)


def test_a_name_without_a_tag_takes_the_statistics_of_the_data_that_it_learns(tmp_path):
    names = get_pretrained_cfg(f"{TWIN}.cifar100").label_names
    for split, name in itertools.product(("train", "test"), names):
        target = tmp_path / "hundred" / split / name
        target.mkdir(parents=True)
        Image.new("RGB", (32, 32), (names.index(name), 0, 0)).save(target / "0.png")
    options = dict(epochs=1, batch_size=50, resolution=((8, 1),), precision="float32", compile=False)
    weights = train(
        TrainConfig(TWIN, str(tmp_path / "hundred"), str(tmp_path / "run"), device="cpu", **options)
    )
    architecture, overlay = read_weight_description(weights)
    assert (architecture, overlay["tag"]) == (TWIN, "cifar100")
    assert overlay["mean"] == get_pretrained_cfg(f"{TWIN}.cifar100").mean != get_pretrained_cfg(TWIN).mean


def test_a_tag_with_another_image_configuration_reads_and_describes_images_in_its_own(
    colour_folder, tmp_path
):
    """The name has no tag: the classes of the data decide for the second one."""
    shapes = set()

    def net_of_two_sizes(**kwargs) -> SparseNet:
        net = SparseNet(depth=10, growth_rate=4, bottleneck=True, **kwargs)
        net.register_forward_pre_hook(lambda _, inputs: shapes.add(tuple(inputs[0].shape[1:])))
        return net

    large = PretrainedCfg(input_size=(3, 32, 32), crop_pct=1.0, num_classes=10)
    small = replace(
        large,
        input_size=(3, 16, 16),
        num_classes=2,
        label_names=("blue", "red"),
        mean=(0.1, 0.2, 0.3),
        std=(0.4,) * 3,
    )
    register_model(pretrained_cfgs={"large": large, "small": small}, override=True)(net_of_two_sizes)
    options = config(colour_folder, tmp_path / "run", epochs=1, resolution=())
    architecture, overlay = read_weight_description(train(replace(options, model="net_of_two_sizes")))
    assert (architecture, overlay["tag"]) == ("net_of_two_sizes", "small")
    assert shapes == {(3, 16, 16)}
    assert overlay["input_size"] == small.input_size
    assert (overlay["mean"], overlay["std"]) == (small.mean, small.std)
