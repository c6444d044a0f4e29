"""int8 ONNX files, by ONNX Runtime's static quantisation, scored beside their net."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..data.evaluate import normalised
from ..data.image_set import AnyImageSet
from ..data.transforms import resolve_data_config
from .export import ExportFailed, export_model, import_onnxruntime, target_path

CALIBRATION_IMAGES = 256
"""The ranges of the activations are those on so many images."""

SCORED_IMAGES = 1000
"""The file is compared with the net on at most so many other images."""

MOST_POINTS_LOST = 2.0
"""A file whose top-1 is further below the net's, in percentage points, is not written."""

BATCH = 32

STEPS = ("exporting", "calibrating", "comparing")
"""What an int8 export does, in this order."""


@dataclass(frozen=True)
class Int8Score:
    """An int8 file beside its net on ``images`` images.

    ``top1`` of the file, ``net_top1`` of the net, and ``agreement``, the images that both put into the same
    class, are in percent.
    """

    images: int
    top1: float
    net_top1: float
    agreement: float


def export_int8(
    model: nn.Module,
    path: str | os.PathLike[str],
    calibration: AnyImageSet,
    held_out: AnyImageSet,
    on_step: Callable[[str], object] | None = None,
) -> Int8Score:
    """Write ``model`` as an ONNX file with weights and activations in int8.

    The file takes images and returns logits as one by ``export_model`` does, and has the same metadata.

    Args:
        model: a net by ``create_model``, in float32 on the CPU; it is put into eval mode.
        path: the file, which must end in ".onnx"; an existing file is replaced.
        calibration: images like those that the net will see, in random order; the first
            ``CALIBRATION_IMAGES`` are used.
        held_out: other images, with labels; the first ``SCORED_IMAGES`` are used.
        on_step: called before each of ``STEPS`` with its name, for a progress bar.

    Returns:
        How the file scores beside the net.

    Raises:
        ValueError: as ``export_model``.
        ImportError: onnx, onnxscript or onnxruntime is not installed, or torch is older than 2.6.
        ExportFailed: the file scores more than ``MOST_POINTS_LOST`` points below the net; none is written.
        OSError: the file cannot be written, or an image cannot be read.
    """
    target = target_path(path, "onnx")
    begin = on_step or (lambda step: None)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
        in_float32, draft = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
        begin(STEPS[0])
        export_model(model, in_float32, "onnx")
        begin(STEPS[1])
        _quantize(in_float32, draft, _inputs(model, calibration, CALIBRATION_IMAGES))
        begin(STEPS[2])
        score = _score(model, draft, held_out)
        if score.top1 < score.net_top1 - MOST_POINTS_LOST:
            raise ExportFailed(
                f"{target} was not written: in int8 top-1 is {score.top1:.1f}% of {score.images:,} images, "
                f"the net's is {score.net_top1:.1f}%"
            )
        draft.replace(target)
    return score


def _inputs(model: nn.Module, image_set: AnyImageSet, count: int) -> Iterator[Tensor]:
    """Yield the first ``count`` images of a set in batches ``(N, C, H, W)``, as the net takes them."""
    data_config = resolve_data_config(model)
    for images in image_set.batches(torch.arange(min(count, len(image_set))).split(BATCH)):
        yield normalised(images, data_config["mean"], data_config["std"])


def _quantize(in_float32: Path, path: Path, inputs: Iterator[Tensor]) -> None:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Inputs(CalibrationDataReader):
        def get_next(self) -> dict[str, Any] | None:
            batch = next(inputs, None)
            return None if batch is None else {"images": batch.numpy()}

    prepared = in_float32.with_name("prepared.onnx")
    quant_pre_process(in_float32, prepared, skip_symbolic_shape=True)
    quantize_static(prepared, path, Inputs(), activation_type=QuantType.QUInt8)
    model = onnx.load(path)
    del model.metadata_props[:]
    model.metadata_props.extend(onnx.load(in_float32, load_external_data=False).metadata_props)
    onnx.save(model, path)


@torch.inference_mode()
def _score(model: nn.Module, path: Path, image_set: AnyImageSet) -> Int8Score:
    session = import_onnxruntime().InferenceSession(path, providers=["CPUExecutionProvider"])
    by_net, by_file = [], []
    for images in _inputs(model, image_set, SCORED_IMAGES):
        by_net.append(model(images).argmax(1))
        by_file.append(torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0]).argmax(1))
    net, file = torch.cat(by_net), torch.cat(by_file)
    labels = image_set.labels[: len(net)]
    percent = (100 * (a == b).double().mean().item() for a, b in ((file, labels), (net, labels), (net, file)))
    return Int8Score(len(net), *percent)
