"""The `sparsenet` command, run in this process, and what it shows on a terminal."""

from __future__ import annotations

import contextlib
import os
import threading

import pytest
from click.testing import CliRunner, Result

from sparsenet_models.cli import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def shown_on_a_terminal(*arguments: object, stream: str = "stdout") -> str:
    """Return what the command writes to a pseudo-terminal in place of ``stream``, "stdout" or "stderr".

    It runs in this process, as importing torch takes seconds.
    """
    redirected = {"stdout": contextlib.redirect_stdout, "stderr": contextlib.redirect_stderr}[stream]
    pty = pytest.importorskip("pty", reason="pseudo-terminals are a Unix thing")
    leader, follower = pty.openpty()
    shown = b""

    def read() -> None:
        nonlocal shown
        # Linux raises an OSError once the other end is closed.
        with contextlib.suppress(OSError):
            while part := os.read(leader, 100_000):
                shown += part

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(follower, "w", encoding="utf-8") as terminal, redirected(terminal):
        status = main([str(argument) for argument in arguments], standalone_mode=False)
    reader.join()
    os.close(leader)
    assert not status
    return shown.decode()
