"""Several processes on one run, started by torchrun or another launcher, over gloo."""

from __future__ import annotations

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.elsewhere import Answer, Elsewhere, run
from support.muon import MUON
from support.repository import REPOSITORY

from sparsenet_models import SparseNet
from sparsenet_models.pretrained.weight_file import read_state_dict
from sparsenet_models.training.agreement import SECONDS_BETWEEN_AGREEMENTS, steps_between
from sparsenet_models.training.distributed import own_gpu
from sparsenet_models.training.launchers import place_in

MODEL = "sparsenet_bc_40_k12"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

GRADIENTS = """
import torch
import torch.nn.functional as F
from sparsenet_models import SparseNet
from sparsenet_models.training.distributed import joined_processes, wrapped

with joined_processes("cpu") as (processes, device):
    torch.manual_seed(0)
    model = SparseNet(depth=10, growth_rate=4, bottleneck=True).double()
    images, labels = torch.load({batch!r}, weights_only=True)
    own = slice(processes.rank * 4, processes.rank * 4 + 4)
    together = wrapped(model, processes)
    F.cross_entropy(together(images[own]), labels[own]).backward()
    result = {{name: parameter.grad.tolist() for name, parameter in model.named_parameters()}}
"""


LAUNCHED = {
    "torchrun": ("WORLD_SIZE", "RANK", "LOCAL_RANK", "TORCHELASTIC_RUN_ID"),
    "by hand": ("WORLD_SIZE", "RANK"),
    "SLURM": ("SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID"),
    "Open MPI": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"),
    "MPICH": ("PMI_SIZE", "PMI_RANK"),
}
"""The variables that each sets: the number of processes, their rank, and their rank on the machine."""


def answers_of_two_processes(code: str, launcher: str = "torchrun") -> list[Answer]:
    """Return the answers to ``code`` of two processes with the environment that a launcher gives them.

    The slow tests start torchrun itself.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    store = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    count, *ranks = LAUNCHED[launcher]
    processes = [Elsewhere(code, {**store, count: "2"} | dict.fromkeys(ranks, rank)) for rank in ("0", "1")]
    return [process.answer() for process in processes]


def in_two_processes(code: str, launcher: str = "torchrun") -> list[Any]:
    """Return the ``result`` of ``code`` in both."""
    return [answer.value() for answer in answers_of_two_processes(code, launcher)]


def test_gradients_of_two_processes_are_the_mean_of_both_halves_gradients(tmp_path):
    torch.manual_seed(1)
    images, labels = torch.randn(8, 3, 16, 16, dtype=torch.float64), torch.randint(10, (8,))
    torch.save((images, labels), tmp_path / "batch")
    torch.manual_seed(0)
    model = SparseNet(depth=10, growth_rate=4, bottleneck=True).double()
    halves = []
    for half in (slice(0, 4), slice(4, 8)):
        model.zero_grad()
        F.cross_entropy(model(images[half]), labels[half]).backward()
        halves.append([parameter.grad.clone() for parameter in model.parameters()])
    for gradients in in_two_processes(GRADIENTS.format(batch=str(tmp_path / "batch"))):
        for (name, gradient), first, second in zip(gradients.items(), *halves, strict=True):
            actual = torch.tensor(gradient, dtype=torch.float64)
            torch.testing.assert_close(actual, (first + second) / 2, rtol=1e-9, atol=1e-12, msg=name)


IN_PARTS = """
import torch
from sparsenet_models import FractalNet, SparseNet
from sparsenet_models.training.config import TrainConfig
from sparsenet_models.training.distributed import joined_processes, wrapped
from sparsenet_models.training.state import TrainingState
from sparsenet_models.training.step import TrainingStep

def gradients(net, accumulate):
    config = TrainConfig("m", "d", "o", accumulate=accumulate)
    state = TrainingState(net.train(), config)
    forward = wrapped(net, processes, getattr(net, "skips_layers", False))
    if compiles:
        forward = torch.compile(forward, backend="aot_eager")
    step = TrainingStep(state, lambda _: forward, None, None, config, "float32", processes.rank, device)
    generator = torch.Generator().manual_seed(processes.rank)
    images = torch.randn(4, 3, 8, 8, generator=generator).double()
    step(images, torch.tensor([0, 1, 2, 3]), None, 0.1, 0)
    unused = torch.zeros((), dtype=torch.float64)
    gradients = [unused.expand_as(p) if p.grad is None else p.grad for p in net.parameters()]
    return torch.cat([gradient.flatten() for gradient in gradients])

def net(kind, **options):
    torch.manual_seed(0)
    return kind(num_classes=4, norm_layer="groupnorm", **options).double()

with joined_processes("cpu") as (processes, device):
    sparse = dict(depth=10, growth_rate=4)
    whole, parts = (gradients(net(SparseNet, **sparse), n) for n in (1, 2))
    dropping = gradients(net(FractalNet, columns=2, widths=(8, 8), drop_path_rate=0.5), 2)
    result = [gradient.tolist() for gradient in (whole, parts, dropping)]
"""


@pytest.mark.parametrize("compiles", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_step_in_parts_has_one_gradient_in_all_processes(compiles):
    first, second = (
        [torch.tensor(gradient, dtype=torch.float64) for gradient in gradients]
        for gradients in in_two_processes(f"compiles = {compiles}\n{IN_PARTS}")
    )
    whole, parts, _ = first
    assert (parts - whole).norm() <= 1e-6 * whole.norm()
    for gradient, other in zip(first, second, strict=True):
        torch.testing.assert_close(gradient, other)


THREE_STEPS = """
import torch
from sparsenet_models import SparseNet
from sparsenet_models.training.config import TrainConfig
from sparsenet_models.training.distributed import joined_processes, wrapped
from sparsenet_models.training.state import TrainingState
from sparsenet_models.training.step import TrainingStep

with joined_processes("cpu") as (processes, device):
    torch.manual_seed(0)
    net = SparseNet(depth=10, growth_rate=4, num_classes=4, norm_layer="groupnorm").double()
    net = net.to(memory_format=torch.channels_last)
    first = torch.cat([parameter.detach().flatten() for parameter in net.parameters()])
    config = TrainConfig("m", "d", "o", optimizer=optimizer)
    state = TrainingState(net.train(), config)
    forward = wrapped(net, processes)
    step = TrainingStep(state, lambda _: forward, None, None, config, "float32", processes.rank, device)
    for number in range(3):
        generator = torch.Generator().manual_seed(number)
        images = torch.randn(8, 3, 8, 8, generator=generator).double()
        batches = images.chunk(processes.count), torch.arange(4).repeat(2).chunk(processes.count)
        step(*(batch[processes.rank] for batch in batches), None, config.lr, number)
    last = torch.cat([parameter.detach().flatten() for parameter in net.parameters()])
    result = (last - first).tolist()
"""


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", MUON])
def test_steps_of_two_processes_change_a_net_as_those_of_one_and_alike_in_both(optimizer):
    code = f"optimizer = {optimizer!r}\n{THREE_STEPS}"
    alone = torch.tensor(run(code, {"WORLD_SIZE": "1"}).value(), dtype=torch.float64)
    first, second = (torch.tensor(changes, dtype=torch.float64) for changes in in_two_processes(code))
    assert torch.equal(first, second)
    assert (first - alone).norm() <= 1e-6 * alone.norm()


SCORES = """
import torch
from sparsenet_models import SparseNet
from sparsenet_models.data.evaluate import evaluate
from sparsenet_models.data.image_set import ImageSet
from sparsenet_models.training.distributed import joined_processes, merged

with joined_processes("cpu") as (processes, device):
    torch.manual_seed(0)
    model = SparseNet(depth=10, growth_rate=4, bottleneck=True).eval()
    pixels, labels = torch.load({images!r}, weights_only=True)
    image_set = ImageSet(pixels, labels, tuple("abcdefghij"), "noise")
    part = image_set.part(torch.arange(processes.rank, len(image_set), processes.count))
    grey = {{"mean": (0.5,) * 3, "std": (0.5,) * 3}}
    scores = evaluate(model, image_set, **grey), merged(evaluate(model, part, **grey), processes, device)
    result = [(s.top1, s.top5, s.loss, s.count, s.confusion.tolist()) for s in scores]
"""


def test_scores_of_parts_of_unequal_length_merge_to_the_score_of_the_whole(tmp_path):
    torch.manual_seed(2)
    pixels, labels = torch.randint(256, (37, 3, 16, 16), dtype=torch.uint8), torch.randint(10, (37,))
    torch.save((pixels, labels), tmp_path / "images")
    for whole, together in in_two_processes(SCORES.format(images=str(tmp_path / "images"))):
        assert together[:4] == pytest.approx(whole[:4], rel=1e-5)
        assert together[4] == whole[4]
        assert together[3] == sum(map(sum, together[4])) == 37


RANKS = """
from sparsenet_models.training.distributed import joined_processes, summed
import torch

with joined_processes("cpu") as (processes, device):
    result = processes.count, processes.rank, summed(torch.tensor(1 + processes.rank), processes).item()
"""


@pytest.mark.parametrize("launcher", LAUNCHED)
def test_the_processes_of_every_launcher_join(launcher):
    assert in_two_processes(RANKS, launcher) == [(2, 0, 3), (2, 1, 3)]


ALONE = """
from sparsenet_models.training.distributed import joined_processes, summed
import torch

with joined_processes("cpu") as (processes, device):
    if processes.rank == 1:
        raise ValueError("its own message")
    summed(torch.zeros(1), processes)
"""


def test_a_process_whose_partner_fails_ends_at_once_and_says_so():
    waiting, failed = answers_of_two_processes(ALONE)
    assert failed.error("ValueError") == "its own message"
    assert waiting.error("OSError") == "another process of this run has ended; its own message says why"


AGREES = """
import torch
from sparsenet_models.training.agreement import Agreement
from sparsenet_models.training.distributed import joined_processes

with joined_processes("cpu") as (processes, device):
    agreement = Agreement(processes, device)
    result = []
    for step in range(1, 5):
        agreement.begin_epoch()
        result.append(agreement.is_any(own=processes.rank == 1 and step == 3))
    result.append(agreement.is_any(own=processes.rank == 0, at_end=True))
"""


def test_what_one_process_is_told_all_know_after_the_same_step():
    assert in_two_processes(AGREES) == [[False, False, True, False, True]] * 2


@given(st.floats(0, 1e6))
def test_processes_ask_each_other_within_five_seconds_or_after_every_step(seconds):
    steps = steps_between(seconds)
    assert steps >= 1
    assert steps == 1 or steps * seconds <= SECONDS_BETWEEN_AGREEMENTS
    assert steps == 1000 or (steps + 1) * seconds > SECONDS_BETWEEN_AGREEMENTS * 0.999


@given(st.sampled_from(list(LAUNCHED)), st.integers(1, 64), st.integers(0, 63), st.integers(0, 8))
def test_the_place_of_a_process_is_read_from_the_variables_of_its_launcher(launcher, count, rank, gpus):
    names = LAUNCHED[launcher]
    environment = {names[0]: str(count), names[1]: str(rank), "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    if rank >= count > 1:
        with pytest.raises(ValueError, match=f"{names[1]} must be below {names[0]}={count}, got {rank}"):
            place_in(environment, gpus)
        return
    local = rank % gpus if gpus else 0
    assert place_in(environment, gpus) == ((count, rank, local) if count > 1 else (1, 0, 0))
    if count > 1:
        for missing in (names[1], "MASTER_ADDR", "MASTER_PORT"):
            less = {name: value for name, value in environment.items() if name != missing}
            with pytest.raises(ValueError, match=f"one of {count} processes .* {missing} is missing"):
                place_in(less, gpus)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "1"}, "WORLD_SIZE, the number of processes, is missing"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE must be a whole number of at least 1, got 'two'"),
        ({"SLURM_NTASKS": "0"}, "SLURM_NTASKS must be a whole number of at least 1, got '0'"),
    ],
)
def test_a_place_that_makes_no_sense_is_refused_by_the_name_of_its_variable(environment, message):
    with pytest.raises(ValueError, match=message):
        place_in(environment)


def test_each_process_has_a_gpu_of_its_own_or_the_only_one_that_it_sees():
    assert [own_gpu(rank, 4, by_torchrun=True) for rank in range(4)] == [0, 1, 2, 3]
    assert [own_gpu(rank, 1, by_torchrun=False) for rank in range(4)] == [0, 0, 0, 0]
    for gpus, by_torchrun in ((2, False), (2, True), (1, True)):
        with pytest.raises(ValueError, match=f"more processes on this machine than its {gpus} GPUs"):
            own_gpu(2, gpus, by_torchrun)


def test_a_process_is_alone_without_a_launcher_and_where_the_user_says_so():
    assert place_in({}) == place_in({"SLURM_NTASKS": "4", "WORLD_SIZE": "1"}) == (1, 0, 0)
    assert place_in({"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}) == (1, 0, 0)


OPTIONS = "--resolution 8:8 --batch-size 16 --lr 0.1 --eval-every 2 --precision float32 --device cpu"


def training(
    data: Path, out: Path, *torchrun_options: str, model: str = MODEL, options: str = OPTIONS
) -> list[str]:
    program = ["-m", "sparsenet_models", "train", model, "--data", str(data), "--out", str(out)]
    return [*TORCHRUN, *torchrun_options, *program, *options.split(), "--no-compile"]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def workers_of(out: Path) -> dict[str, int]:
    """Return the process id of each rank that trains into ``out``."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
            environment = dict(
                pair.split("=", 1)
                for pair in (process / "environ").read_bytes().decode().split("\0")
                if "=" in pair
            )
        except (OSError, UnicodeDecodeError):
            continue
        if str(out).encode() in words and "TORCHELASTIC_RUN_ID" in environment:
            found[environment["RANK"]] = int(process.name)
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the workers in /proc")
@pytest.mark.slow
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_worker_that_is_killed_is_replaced_and_the_run_ends_as_if_nothing_had_been(
    colour_folder, tmp_path, rank
):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    subprocess.run(
        training(colour_folder, straight),
        check=True,
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        timeout=300,
    )
    process = subprocess.Popen(
        training(colour_folder, killed, "--max-restarts", "2"),
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (killed / "metrics.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(workers_of(killed)[rank], signal.SIGKILL)
    told, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "resuming after epoch" in told
    assert [row["epoch"] for row in rows(killed)] == list("12345678")
    assert [row["loss"] for row in rows(killed)] == [row["loss"] for row in rows(straight)]
    assert [row["top1"] for row in rows(killed)] == [row["top1"] for row in rows(straight)]
    expected, found = (read_state_dict(folder / "model.safetensors") for folder in (straight, killed))
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert float(rows(straight)[-1]["top1"]) >= 90


@pytest.mark.slow
def test_processes_may_drop_different_columns_of_a_fractalnet(colour_folder, tmp_path):
    options = "--epochs 2 --batch-size 8 --lr 0.02 --drop-path-rate 0.5 --precision float32 --device cpu"
    subprocess.run(
        training(colour_folder, tmp_path / "run", model="fractalnet_c2", options=options),
        check=True,
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=300,
    )
    assert len(rows(tmp_path / "run")) == 2


@pytest.mark.slow
def test_more_processes_than_images_to_score_on_are_refused_in_one_line(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for index in range(4):
            Image.new("RGB", (32, 32)).save(tmp_path / "set" / name / f"{index}.png")
    command = training(tmp_path / "set", tmp_path / "out")
    command[command.index("--nproc-per-node") + 1] = "3"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode != 0
    assert "3 processes cannot share 2 images to score on: start at most 2" in ended.stderr
    assert not (tmp_path / "out").exists()
