"""The training speed of nets on this machine, and their share of its fastest matrix product.

    python examples/benchmarks/training_speed.py sparsenet_bc_40_k12 densenet_bc_40_k12

Times whole training steps (forward, backward, SGD; compiled, channels_last) on random images. Each round
times one step of every net and one matrix product of each size. A training step counts as three forward
passes, a multiply-add as two operations; ratios are to the first net. Nothing else should run on the machine.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable

import click
import torch
import torch.nn.functional as F

from sparsenet_models import create_model
from sparsenet_models.analysis import analyze_model
from sparsenet_models.common.devices import select_device
from sparsenet_models.training.precision import autocast

MATRIX_SIDES = (1024, 2048, 4096)
TRAINING_IMAGES = 50_000


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--batch-size", default=128, show_default=True)
@click.option("--side", default=32, show_default=True, help="Side of the images in pixels.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option("--rounds", default=20, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--compile/--no-compile", default=True, show_default=True)
def main(
    names: tuple[str, ...],
    batch_size: int,
    side: int,
    precision: str,
    rounds: int,
    device: str,
    compile: bool,
) -> None:
    """Time training steps of the nets NAMES, side by side."""
    where = select_device(device)
    steps = [training_step(name, batch_size, side, precision, where, compile) for name in names]
    products = [matrix_product(length, precision, where) for length in MATRIX_SIDES]
    for step in [*steps, *products]:
        step()  # compiles
    seconds: list[list[float]] = [[] for _ in names]
    peaks = []
    for _ in range(rounds):
        for step, times in zip(steps, seconds):
            times.append(timed(step, where))
        peaks += [2 * length**3 / timed(product, where) for length, product in zip(MATRIX_SIDES, products)]
    peak = max(peaks)
    click.echo(f"{machine(where)}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    click.echo(f"{precision}, batch {batch_size}, {side}x{side} pixels, median of {rounds} steps")
    click.echo(f"matrix product, fastest: {peak / 1e9:,.0f} GFLOP/s")
    first = statistics.median(seconds[0])
    for name, times in zip(names, seconds):
        costs = analyze_model(name, (3, side, side)).costs
        step_seconds = statistics.median(times)
        share = 6 * costs.macs * batch_size / step_seconds / peak
        click.echo(
            f"{name:28} {costs.parameters:10,} parameters {costs.macs / 1e6:8.1f}M multiply-adds  "
            f"{batch_size / step_seconds:8,.0f} images/s  "
            f"{TRAINING_IMAGES / batch_size * step_seconds:6.0f} s/epoch  "
            f"{step_seconds / first:5.2f} x {names[0]}  {share:5.1%} of the peak"
        )


def training_step(
    name: str, batch_size: int, side: int, precision: str, device: torch.device, compile: bool
) -> Callable[[], None]:
    torch.manual_seed(0)
    model = create_model(name).to(device, memory_format=torch.channels_last)
    forward = torch.compile(model, dynamic=False) if compile else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    images = torch.randn(batch_size, 3, side, side, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(model.num_classes, (batch_size,), device=device)

    def step() -> None:
        with autocast(device, precision):
            logits = forward(images)
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def matrix_product(length: int, precision: str, device: torch.device) -> Callable[[], None]:
    left, right = torch.randn(2, length, length, device=device, dtype=getattr(torch, precision))
    out = torch.empty_like(left)

    def product() -> None:
        torch.mm(left, right, out=out)

    return product


def timed(step: Callable[[], None], device: torch.device) -> float:
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU with {torch.backends.cpu.get_cpu_capability()}"


if __name__ == "__main__":
    main()
