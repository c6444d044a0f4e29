"""Code in a process of its own, forked from a server that has imported torch but not huggingface_hub.

So a process starts in a fraction of a second, and huggingface_hub, which reads the environment when it is
imported, reads that of the process.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        *("sparsenet_models.factory", "sparsenet_models.pretrained.save"),
        # The first step of an optimizer imports torch._dynamo, which takes seconds.
        *("sparsenet_models.training.loop", "torchvision.transforms.v2", "torch._dynamo"),
        # Modules that huggingface_hub imports, where installed; none of them reads the environment.
        *("httpx2", "httpx", "tqdm.auto", "yaml", "filelock", "fsspec", "packaging.version"),
    ]
)


@dataclass(frozen=True)
class Answer:
    """The value of ``result`` after the code has run, or its error."""

    result: Any = None
    kinds: tuple[str, ...] = ()
    message: str = ""
    cause: str = ""
    trace: str = ""

    def value(self) -> Any:
        assert not self.kinds, self.trace
        return self.result

    def error(self, kind: str) -> str:
        """Return the message of an error whose class or base class is ``kind``."""
        assert self.kinds, f"no error, but {self.result!r}"
        assert kind in self.kinds, self.trace
        assert "\n" not in self.message
        return self.message


class Elsewhere:
    """A process that runs ``code``. It starts immediately; only with ``daemon=False`` may it start others."""

    def __init__(self, code: str, environment: dict[str, str], daemon: bool = True) -> None:
        self._answers, sender = _context.Pipe(duplex=False)
        self.process = _context.Process(target=_run, args=(code, environment, sender), daemon=daemon)
        self.process.start()
        sender.close()

    def answer(self, timeout: float = 60) -> Answer:
        if not self._answers.poll(timeout):
            self.process.kill()
            raise AssertionError(f"no answer in {timeout} s: it hangs")
        answer = self._answers.recv()
        self.process.join(timeout)
        return answer


def run(code: str, environment: dict[str, str], timeout: float = 60, daemon: bool = True) -> Answer:
    return Elsewhere(code, environment, daemon).answer(timeout)


def _run(code: str, environment: dict[str, str], sender: Connection) -> None:
    os.environ.update(environment)
    import torch

    torch.set_num_threads(1)
    scope: dict[str, Any] = {"__name__": "__main__"}
    try:
        exec(code, scope)
        answer = Answer(result=scope.get("result"))
    except BaseException as error:
        answer = Answer(
            kinds=tuple(kind.__name__ for kind in type(error).__mro__),
            message=str(error),
            cause=type(error.__cause__).__name__,
            trace=traceback.format_exc(),
        )
    sender.send(answer)
