"""One run: every net in every engine, in turn, so that all meet the machine in the same state."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..common.devices import select_device
from ..models.pretrained_cfg import IMAGENET_SIZE
from ..models.registry import get_pretrained_cfg
from .contestant import contestant, export, size
from .engines import FROM_FILE, Setting, lack_of
from .machine import describe_machine, matrix_product
from .nets import Net
from .process import Failed, Process

ALLOWED = {
    False: {"float32": 1e-3, "bfloat16": 0.1},
    True: {"float32": 0.02, "bfloat16": 0.5},
}
"""In training or not, by dtype: the largest difference from eager in float32, of the largest logit.

In training, batch norm of a small batch amplifies rounding, and the norms of gradients are compared too.
"""

OPERATIONS = {False: 2, True: 6}
"""Operations for a multiply-add; a training step counts as three forward passes."""


@dataclass
class Row:
    """A net in an engine at one batch size; None for what was not measured, which ``note`` explains.

    Multiply-adds and activations (the numbers that convolutions and linear layers write) are for one image.
    ``speedup`` is relative to the first row of the same batch size. Memory is that of the process, on a GPU
    that of its tensors; ``base_mib`` is it before the net was built.
    """

    net: str
    engine: str
    batch: int
    depth: int | None
    parameters: int | None = None
    multiply_adds: int | None = None
    activations: int | None = None
    ms_per_image: float | None = None
    ms_per_image_min: float | None = None
    ms_per_image_max: float | None = None
    images_per_second: float | None = None
    speedup: float | None = None
    share_of_peak: float | None = None
    first_call_seconds: float | None = None
    peak_mib: float | None = None
    base_mib: float | None = None
    difference: float | None = None
    export_seconds: float | None = None
    export_mib: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Benchmark:
    """The machine, what all rows have in common, and the rows.

    ``peak_gflops`` is the fastest matrix product of the run, in 10**9 operations per second.
    """

    machine: dict[str, str | int]
    mode: str
    dtype: str
    side: int
    device: str
    rounds: int
    peak_gflops: float
    rows: list[Row]


@dataclass(frozen=True)
class _Contestant:
    row: Row
    process: Process
    seconds: list[float] = field(default_factory=list)


def benchmark(
    nets: Sequence[Net],
    engines: Sequence[str],
    batches: Sequence[int],
    *,
    train: bool = False,
    side: int | None = None,
    dtype: str = "float32",
    rounds: int = 7,
    device: str = "auto",
    on_step: Callable[[int, str], object] | None = None,
) -> Benchmark:
    """Time every net in every engine, after it was compared with eager in float32.

    Each has a process of its own, and one process works at a time; a round times all in turn.

    Args:
        nets: as ``parse_nets`` returns them.
        engines: names in ``ENGINES``.
        batches: images in a batch; one size after the other.
        train: training steps in place of forward passes in eval mode.
        side: height and width of the images in pixels, default that of the first net.
        dtype: "float32" or "bfloat16".
        rounds: how often each is timed.
        device: as ``select_device`` takes it.
        on_step: called before each first call and each round with 1 and what it is, for a progress bar.

    Raises:
        ValueError: the machine has no such device, or multiplies no matrices of that dtype there.
    """
    where = select_device(device)
    side = side or (get_pretrained_cfg(nets[0].name).input_size or IMAGENET_SIZE)[1]
    setting = Setting(0, side, train, dtype, where.type)
    rows = [Row(str(net), name, batch, net.depth) for batch in batches for net in nets for name in engines]
    with tempfile.TemporaryDirectory() as folder, Process(matrix_product, dtype, where.type) as product:
        try:
            run = _Run(rounds, Path(folder), product, on_step or (lambda steps, text: None))
        except Failed as failed:
            raise ValueError(f"no matrix product in {dtype} on {where.type}: {failed}") from failed
        for net in nets:
            _measure_size(net, side, [row for row in rows if row.net == str(net)])
        for batch in batches:
            of_batch = [row for row in rows if row.batch == batch]
            run.measure(replace(setting, batch=batch), {str(net): net for net in nets}, of_batch)
    for row in rows:
        _compare(row, next(first for first in rows if first.batch == row.batch), OPERATIONS[train] / run.peak)
    mode = "training step" if train else "forward"
    return Benchmark(describe_machine(where), mode, dtype, side, where.type, rounds, run.peak / 1e9, rows)


def _measure_size(net: Net, side: int, rows: Sequence[Row]) -> None:
    """Write the parameters, multiply-adds and activations of a net into its rows, or why it cannot be run."""
    try:
        with Process(size, net, side) as process:
            measured = process.next()
    except Failed as failed:
        for row in rows:
            row.note = str(failed)
    else:
        for row in rows:
            row.parameters, row.multiply_adds, row.activations = measured


class _Run:
    """The measurement of rows, and what it keeps from one batch size to the next.

    Args:
        rounds: how often each row is timed.
        folder: for files that only the run needs.
        product: the process of the matrix product.
        on_step: as in ``benchmark``.

    Raises:
        Failed: there is no matrix product.
    """

    def __init__(
        self, rounds: int, folder: Path, product: Process, on_step: Callable[[int, str], object]
    ) -> None:
        self.rounds, self.folder, self.product, self.on_step = rounds, folder, product, on_step
        self.peak = product.next()
        self.files: dict[tuple[Net, int], tuple[Path, float]] = {}

    def measure(self, setting: Setting, nets: dict[str, Net], rows: Sequence[Row]) -> None:
        """Measure the rows of one batch size."""
        expected: dict[Net, list[np.ndarray]] = {}
        running: list[_Contestant] = []
        with ExitStack() as stack:
            for row in rows:
                self.on_step(1, f"batch {row.batch}: {row.net}, {row.engine}")
                net = nets[row.net]
                row.note = row.note or lack_of(row.engine, setting)
                if row.note:
                    continue
                try:
                    if net not in expected:
                        expected[net] = self._expected(net, setting)
                    running.append(self._started(row, net, setting, expected[net], stack))
                except Failed as failed:
                    row.note = str(failed)
            for number in range(self.rounds):
                self.on_step(1, f"batch {setting.batch}: round {number + 1} of {self.rounds}")
                first = number % max(1, len(running))
                for each in (*running[first:], *running[:first]):
                    _time(each)
                with suppress(Failed):  # the rows are worth more than the peak of this round
                    self.peak = max(self.peak, self.product.next())

    def _expected(self, net: Net, setting: Setting) -> list[np.ndarray]:
        plain = replace(setting, dtype="float32")
        with Process(contestant, net, "eager", plain, None, self.folder) as process:
            return process.next().answers

    def _started(
        self, row: Row, net: Net, setting: Setting, expected: list[np.ndarray], stack: ExitStack
    ) -> _Contestant:
        """Start a row's process and compare its answers; it ends with the stack."""
        path = None
        if row.engine in FROM_FILE:
            path, row.export_seconds = self._exported(net, setting)
            row.export_mib = path.stat().st_size / 2**20
        process = stack.enter_context(Process(contestant, net, row.engine, setting, path, self.folder))
        start = process.next()
        row.first_call_seconds, row.base_mib = start.seconds, start.base_mib
        allowed = ALLOWED[setting.train][setting.dtype]
        difference = max(map(_difference, start.answers, expected))
        if not difference <= allowed:
            raise Failed(f"not timed: it differs from eager by {difference:.1e}, more than {allowed}")
        row.difference = difference
        return _Contestant(row, process)

    def _exported(self, net: Net, setting: Setting) -> tuple[Path, float]:
        """Return the ONNX file, and the seconds of its export; that of our nets takes every batch size."""
        key = net, setting.batch if net.library else 0
        if key not in self.files:
            path = self.folder / f"{len(self.files)}.onnx"
            with Process(export, net, replace(setting, dtype="float32"), path) as process:
                self.files[key] = path, process.next()
        return self.files[key]


def _difference(answer: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference of a number, relative to the largest number."""
    if answer.shape != expected.shape or not np.isfinite(answer).all():
        return float("inf")
    return float(np.abs(answer - expected).max() / np.abs(expected).max())


def _time(contestant: _Contestant) -> None:
    """Time one round, and write into the row what all its rounds show."""
    row, seconds = contestant.row, contestant.seconds
    if row.note:
        return
    try:
        measured = contestant.process.next()
    except Failed as failed:
        row.note = str(failed)
        return
    seconds.append(measured.seconds)
    row.peak_mib = measured.peak_mib
    row.ms_per_image, row.ms_per_image_min, row.ms_per_image_max = (
        1e3 * choice(seconds) / row.batch for choice in (statistics.median, min, max)
    )
    row.images_per_second = 1e3 / row.ms_per_image


def _compare(row: Row, first: Row, seconds_of_multiply_add: float) -> None:
    """Write a row's speed relative to the first row, and to the fastest matrix product."""
    if row.images_per_second is None:
        return
    if first.images_per_second is not None:
        row.speedup = row.images_per_second / first.images_per_second
    if row.multiply_adds is not None:
        row.share_of_peak = row.multiply_adds * row.images_per_second * seconds_of_multiply_add
