"""`sparsenet train` in a process of its own, forked from the server of `elsewhere`: it starts fast."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from sparsenet_models import PretrainedCfg, SparseNet, register_model

from .elsewhere import Elsewhere

TINY_NET = "tiny_net"

CODE = """
import os, resource, sys
for descriptor, path in ((1, {stdout!r}), (2, {stderr!r})):
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
sys.modules["sparsenet_models.analysis.plot"] = None  # importing matplotlib would take longer than the run
from sparsenet_models.cli import main
from support.trainer import register_tiny_net
register_tiny_net()
if {file_size!r}:
    resource.setrlimit(resource.RLIMIT_FSIZE, ({file_size!r}, {file_size!r}))
code = 0
try:
    main({words!r})
except SystemExit as ended:
    code = ended.code
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)
"""


def register_tiny_net() -> None:
    def tiny_net(**kwargs) -> SparseNet:
        return SparseNet(depth=10, growth_rate=4, bottleneck=True, **kwargs)

    cfg = PretrainedCfg(input_size=(3, 32, 32), crop_pct=1.0, num_classes=10)
    register_model(pretrained_cfgs={"colours": cfg})(tiny_net)


class Trainer:
    """A process that runs `sparsenet` with ``words``, and knows ``TINY_NET``; it starts at once.

    Args:
        words: the command line after `sparsenet`.
        folder: where its output goes.
        file_size: the longest file in bytes that it can write; 0 for no limit.
    """

    def __init__(self, words: list[str], folder: Path, file_size: int = 0) -> None:
        self._stdout, self._stderr = folder / "stdout.txt", folder / "stderr.txt"
        for path in (self._stdout, self._stderr):
            path.write_text("")
        code = CODE.format(
            stdout=str(self._stdout), stderr=str(self._stderr), words=words, file_size=file_size
        )
        self.process = Elsewhere(code, {}).process

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
            assert self.process.is_alive(), self.stdout + self.stderr
            assert time.monotonic() < deadline, "it did not come in two minutes"
            time.sleep(0.002)

    def wait_for_line(self, start: str) -> None:
        self.wait_for(lambda: any(line.startswith(start) for line in self.stdout.splitlines()))

    def end(self, number: signal.Signals | None = None) -> int:
        """Send a signal, if any; return the exit code once the process has ended."""
        if number is not None:
            assert self.process.pid is not None
            os.kill(self.process.pid, number)
        self.process.join(300)
        assert self.process.exitcode is not None, "it hangs"
        return self.process.exitcode
