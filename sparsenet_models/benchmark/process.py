"""A generator in a fresh process."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import torch

from ..common.messages import one_line

_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
_context: Any = multiprocessing.get_context(_METHOD)

SECONDS_TO_END = 5
"""A process that ends by itself ends those of torch.compile and removes what they share."""


class Failed(Exception):
    """The generator raised an error, or its process ended; the message is one line."""


class Process:
    """A generator in a process of its own, of which ``next()`` returns the next value.

    It works only while ``next()`` waits. Libraries print on stderr there.

    Args:
        function: returns the generator; a function of a module.
        *arguments: of the function.
    """

    def __init__(self, function: Callable[..., Iterator[Any]], *arguments: Any) -> None:
        if _METHOD == "forkserver":  # so importing torch is no part of a first call
            _context.set_forkserver_preload(["torch", "sparsenet_models.factory"])
        self._connection, theirs = _context.Pipe()
        arguments = (theirs, torch.get_num_threads(), function, arguments)
        self._process = _context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def next(self) -> Any:
        """Return the next value of the generator.

        Raises:
            Failed: there is none.
        """
        try:
            self._connection.send(None)
            answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode
            raise Failed(f"its process ended with code {code}{', out of memory?' * (code == -9)}") from None
        if isinstance(answer, Failed):
            raise answer
        return answer

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.join(SECONDS_TO_END)
        self._process.terminate()
        self._process.join()


def _serve(
    connection: Connection,
    threads: int,
    function: Callable[..., Iterator[Any]],
    arguments: tuple[Any, ...],
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    os.dup2(2, 1)
    torch.set_num_threads(threads)
    try:
        values = function(*arguments)
        while True:
            connection.recv()
            connection.send(next(values))
    except EOFError:  # the parent has gone
        return
    except Exception as error:  # engines and compilers raise errors of any class
        connection.send(Failed(one_line(str(error).strip() or type(error).__name__)))
