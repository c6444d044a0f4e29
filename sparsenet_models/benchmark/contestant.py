"""What runs in the processes: a net in an engine, the size of a net, its export."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..analysis.flops import count_activations, count_multiply_adds
from ..integrations.export import export_model
from ..training.precision import autocast
from .engines import FROM_FILE, IN_TORCH, Call, Setting
from .memory import peak_mib, resident_mib
from .nets import Net, builder
from .timing import synchronize, timed

ROUND_SECONDS = 0.2
"""A round has as many calls as fit into this time, one at least."""

CLASSES = 10
"""Labels are below this; every net has so many logits."""


@dataclass(frozen=True)
class Start:
    """What the first call shows.

    Args:
        seconds: from the net that is built, or its file, to its first answer, compilation included.
        base_mib: memory before the net was built; None on a GPU.
        answers: the logits; in training, also the norm of each parameter's gradient. In float32.
    """

    seconds: float
    base_mib: float | None
    answers: list[np.ndarray]


@dataclass(frozen=True)
class Round:
    """The seconds of a call in one round, and the most memory until then."""

    seconds: float
    peak_mib: float | None


def contestant(
    net: Net, engine: str, setting: Setting, onnx: Path | None, folder: Path
) -> Iterator[Start | Round]:
    """Yield a ``Start``, then a ``Round`` again and again.

    Args:
        net: what is run.
        engine: in which.
        setting: the images and the mode.
        onnx: the net's file, for an engine that reads one.
        folder: where torch.compile keeps what it compiles, apart from what it compiled before.
    """
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp(dir=folder)
    device = torch.device(setting.device)
    build = builder(net)
    base = resident_mib() if device.type != "cuda" else None
    if onnx is not None:
        start = time.perf_counter()
        model = None
        run = _forward(FROM_FILE[engine](onnx, setting), setting)
    else:
        model = _built(build, setting)
        start = time.perf_counter()
        call = IN_TORCH[engine](model, setting)
        run = _training_step(model, call, setting) if setting.train else _forward(call, setting)
    answers = [run()]
    synchronize(device)
    seconds = time.perf_counter() - start
    if setting.train and model is not None:
        gradients = (parameter.grad for parameter in model.parameters())
        answers.append(torch.stack([each.norm() for each in gradients if each is not None]))
    yield Start(seconds, base, [answer.float().cpu().numpy() for answer in answers])
    run()
    number = max(1, ceil(ROUND_SECONDS / timed(run, device)))
    while True:
        if number > 1:
            run()  # the caches hold the data of others
        yield Round(timed(run, device, number), _peak_mib(device))


def size(net: Net, side: int) -> Iterator[tuple[int, int, int]]:
    """Yield the parameters of a net, and its multiply-adds and activations for one image."""
    model = _built(builder(net), Setting(1, side))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    image = (3, side, side)
    yield parameters, count_multiply_adds(model, image), count_activations(model, image)


def export(net: Net, setting: Setting, path: Path) -> Iterator[float]:
    """Write a net as an ONNX file, and yield the seconds that it took."""
    model = _built(builder(net), setting)
    began: dict[str, float] = {}
    start = time.perf_counter()
    if not net.library:
        sides = (setting.side, setting.side)
        export_model(model, path, "onnx", sides, lambda step: began.update({step: time.perf_counter()}))
        end = began["reading back"]  # which others do not do
    else:  # for images of this shape alone, as some nets take no other
        program = torch.onnx.export(
            model, (_images(setting),), dynamo=True, input_names=["images"], verbose=False
        )
        assert program is not None  # dynamo=True returns the program
        program.save(path, external_data=False)
        end = time.perf_counter()
    yield end - start


def _built(build: Callable[[], nn.Module], setting: Setting) -> nn.Module:
    """Return the net with the same weights in every process, and statistics that a wrong fold would show."""
    torch.manual_seed(0)
    model = build().train(setting.train)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, _BatchNorm) and module.affine and module.running_mean is not None:
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.75, 1.3, generator=generator)  # type: ignore[union-attr]
                module.weight.uniform_(0.75, 1.3, generator=generator)
                module.bias.normal_(0, 0.1, generator=generator)
    return model.to(setting.device)


def _images(setting: Setting) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(setting.batch, 3, setting.side, setting.side, generator=generator)
    return images.to(setting.device)


def _forward(call: Call, setting: Setting) -> Callable[[], Tensor]:
    images = _images(setting)

    def run() -> Tensor:
        with torch.inference_mode():
            return call(images)

    return run


def _training_step(model: nn.Module, call: Call, setting: Setting) -> Callable[[], Tensor]:
    images, device = _images(setting), torch.device(setting.device)
    labels = torch.arange(setting.batch, device=device) % CLASSES
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)

    def run() -> Tensor:
        with autocast(device, setting.dtype):
            logits = call(images)
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return logits.detach()

    return run


def _peak_mib(device: torch.device) -> float | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return peak_mib()
