"""`sparsenet train` in a process of its own, forked from the server of `elsewhere`: it starts fast."""

from __future__ import annotations

import atexit
import itertools
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sparsenet_models import PretrainedCfg, SparseNet, register_model

from . import elsewhere as elsewhere  # its import says what the server has imported

TINY_NET = "tiny_net"


def register_tiny_net(kill_at: int = 0) -> None:
    """Register ``TINY_NET``; with ``kill_at`` it kills its process in that pass of training."""
    passes = itertools.count(1)

    def kill_in_time(net: SparseNet, _: object) -> None:
        if net.training and next(passes) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def tiny_net(**kwargs) -> SparseNet:
        net = SparseNet(depth=10, growth_rate=4, bottleneck=True, **kwargs)
        if kill_at:
            net.register_forward_pre_hook(kill_in_time)
        return net

    cfg = PretrainedCfg(input_size=(3, 32, 32), crop_pct=1.0, num_classes=10)
    register_model(pretrained_cfgs={"colours": cfg})(tiny_net)


class Trainer:
    """A process that runs `sparsenet` with ``words``, and knows ``TINY_NET``; it starts at once.

    Args:
        words: the command line after `sparsenet`.
        folder: where its output goes.
        file_size: the longest file in bytes that it can write; 0 for no limit.
        kill_at: the pass of training ``TINY_NET`` in which it kills itself; 0 for none.
    """

    def __init__(self, words: list[str], folder: Path, file_size: int = 0, kill_at: int = 0) -> None:
        self._stdout, self._stderr = folder / "stdout.txt", folder / "stderr.txt"
        for path in (self._stdout, self._stderr):
            path.write_text("")
        arguments = (words, str(self._stdout), str(self._stderr), file_size, kill_at)
        self.process = multiprocessing.get_context("forkserver").Process(target=_run, args=arguments)
        self.process.start()
        atexit.register(self.process.kill)  # a test that fails leaves it running

    @property
    def stdout(self) -> str:
        return self._stdout.read_text()

    @property
    def stderr(self) -> str:
        return self._stderr.read_text()

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until ``condition()`` holds while the process runs."""
        deadline = time.monotonic() + 120
        while not condition():
            if not self.process.is_alive() or time.monotonic() > deadline:
                self.process.kill()
                raise AssertionError(f"it did not come: {self.stdout}{self.stderr}")
            time.sleep(0.002)

    def wait_for_line(self, start: str) -> None:
        self.wait_for(lambda: any(line.startswith(start) for line in self.stdout.splitlines()))

    def end(self, number: signal.Signals | None = None) -> int:
        """Send a signal, if any; return the exit code once the process has ended."""
        if number is not None:
            assert self.process.pid is not None
            os.kill(self.process.pid, number)
        self.process.join(300)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError("it hangs")
        return self.process.exitcode


def _run(words: list[str], stdout: str, stderr: str, file_size: int, kill_at: int) -> None:
    import torch

    from sparsenet_models.cli import main

    for descriptor, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY), descriptor)
    torch.set_num_threads(1)
    sys.modules["sparsenet_models.analysis.plot"] = None  # type: ignore[assignment]  # matplotlib takes seconds
    register_tiny_net(kill_at)
    if file_size:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    code: Any = 0
    try:
        main(words)
    except SystemExit as ended:
        code = ended.code
    sys.stdout.flush()
    sys.stderr.flush()
    for worker in multiprocessing.active_children():  # os._exit skips what ends the loader's workers
        worker.terminate()
    os._exit(code)
