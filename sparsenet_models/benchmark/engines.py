"""The engines: each makes of a net a function from images to logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from ..common.extras import pip_install
from ..common.messages import did_you_mean
from ..optimization.cuda_graphs import captured
from ..optimization.optimize import optimize

Call = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Setting:
    """What all contestants at one batch size have in common.

    Args:
        batch: images in a batch.
        side: height and width of the images in pixels.
        train: training steps in place of forward passes in eval mode.
        dtype: "float32" or "bfloat16"; training in bfloat16 is under autocast.
        device: "cpu", "cuda" or "mps".
    """

    batch: int
    side: int
    train: bool = False
    dtype: str = "float32"
    device: str = "cpu"


def _eager(model: nn.Module, setting: Setting) -> Call:
    if setting.train or setting.dtype == "float32":
        return model
    dtype = getattr(torch, setting.dtype)
    model.to(dtype)
    return lambda images: model(images.to(dtype))


def _channels_last(model: nn.Module, setting: Setting) -> Call:
    call = _eager(model.to(memory_format=torch.channels_last), setting)
    return lambda images: call(images.contiguous(memory_format=torch.channels_last))


def _compile(model: nn.Module, setting: Setting) -> Call:
    return torch.compile(_channels_last(model, setting), dynamic=False)


def _optimize(model: nn.Module, setting: Setting) -> Call:
    in_float32 = setting.train or setting.dtype == "float32"
    return optimize(model, dtype=None if in_float32 else getattr(torch, setting.dtype))


def _checkpointing(model: nn.Module, setting: Setting) -> Call:
    model.set_grad_checkpointing(True)  # type: ignore[operator]
    return model


def _cuda_graphs(model: nn.Module, setting: Setting) -> Call:
    shape = (setting.batch, 3, setting.side, setting.side)
    return captured(model.to(memory_format=torch.channels_last), shape, setting.dtype)


def _onnxruntime(file: Path, setting: Setting) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    for dimension, size in (("batch", setting.batch), ("height", setting.side), ("width", setting.side)):
        options.add_free_dimension_override_by_name(dimension, size)
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def _openvino(file: Path, setting: Setting) -> Call:
    import openvino

    core = openvino.Core()
    model = core.read_model(file)
    model.reshape([setting.batch, 3, setting.side, setting.side])
    config = {
        # By default OpenVINO computes in bfloat16 where the processor can.
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[setting.dtype],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = core.compile_model(model, "CPU", config)
    return lambda images: torch.from_numpy(compiled(images.numpy())[0])


IN_TORCH: dict[str, Callable[[nn.Module, Setting], Call]] = {
    "eager": _eager,
    "channels_last": _channels_last,
    "compile": _compile,
    "optimize": _optimize,
    "checkpointing": _checkpointing,
    "cuda_graphs": _cuda_graphs,
}
"""By name: a function that takes the net, in train or eval mode as the setting says."""

FROM_FILE: dict[str, Callable[[Path, Setting], Call]] = {"onnxruntime": _onnxruntime, "openvino": _openvino}
"""By name: a function that takes the net's ONNX file; images are in float32 on the CPU."""

ENGINES = (*IN_TORCH, *FROM_FILE)


def parse_engines(text: str) -> list[str]:
    """Return the engines of a text such as ``eager,compile``.

    Raises:
        ValueError: an unknown engine.
    """
    engines = [name.strip() for name in text.split(",")]
    for name in engines:
        if name not in ENGINES:
            hint = did_you_mean(name, ENGINES) or f"; the engines are {', '.join(ENGINES)}"
            raise ValueError(f"unknown engine {name!r}{hint}")
    return list(dict.fromkeys(engines))


def lack_of(engine: str, setting: Setting) -> str:
    """Return why an engine cannot run any net in this setting, "" where it may."""
    if engine == "checkpointing":
        return "" if setting.train else "is for training"
    if engine == "cuda_graphs":
        if not setting.train:
            return "is for training"
        return "" if setting.device == "cuda" else "needs an NVIDIA GPU"
    if engine not in FROM_FILE:
        return ""
    if setting.train:
        return "does not train"
    if setting.device != "cpu":
        return "is measured on the CPU alone"
    missing = [package for package in ("onnx", "onnxscript", engine) if find_spec(package) is None]
    if missing:
        extra = pip_install("export")
        return f"not installed: {extra if engine == 'onnxruntime' else f'{extra} {engine}'}"
    if setting.dtype == "bfloat16" and (engine == "onnxruntime" or not _openvino_has_bfloat16()):
        return "has no bfloat16 on this machine"
    return ""


def _openvino_has_bfloat16() -> bool:
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
