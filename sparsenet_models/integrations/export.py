"""Export of a net to a file that runs without this library: ONNX, or torch.export's pt2.

The file is written to a temporary folder, read back, and compared with the net on batches and image sizes
other than those of the trace. It is moved to its path only if the logits agree.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._version import __version__
from ..common.arguments import integer, one_of
from ..common.extras import pip_install
from ..common.files import local_path
from ..common.wrappers import unwrap_model
from ..data.transforms import resolve_data_config
from ..models.feature_net import FeatureNet

TOLERANCE = 1e-4
"""Largest difference of a logit, relative to the largest logit: kernels sum in different orders."""

STEPS = ("tracing", "writing", "reading back", "comparing")
"""What an export does, in this order."""

METADATA_FILE = "metadata.json"
"""Name of the extra file in a pt2 file that holds the metadata."""


class ExportFailed(RuntimeError):
    """The exported file computes other logits than the net."""


def export_model(
    model: nn.Module,
    path: str | os.PathLike[str],
    format: str,
    size: tuple[int, int] | None = None,
    on_step: Callable[[str], object] | None = None,
) -> float:
    """Write ``model`` to ``path``, for batches and images of any size.

    The file takes images ``(N, in_chans, H, W)`` in float32, normalised as its metadata specify, and returns
    logits ``(N, num_classes)``; ONNX names them ``images`` and ``logits``. An ONNX file has the metadata as
    its ``metadata_props``, a pt2 file as the extra file ``metadata.json``.

    Args:
        model: a net by ``create_model``, in float32 on the CPU, also in the wrapper of torch.compile,
            DistributedDataParallel or AveragedModel; it is put into eval mode.
        path: the file; an existing file is replaced.
        format: "onnx" or "pt2"; the path must end in it.
        size: height and width in pixels of the images for the trace and the comparison; default: those of
            the net's ``input_size``. The file takes other sizes too.
        on_step: called before each of ``STEPS`` with its name, for a progress bar.

    Returns:
        The largest difference of a logit between the file and the net, on four batches.

    Raises:
        ValueError: an argument is out of range, or the net is a ``FeatureNet``, is not in float32 on the CPU,
            or has no image configuration.
        TypeError: a side of ``size`` is not an integer.
        ImportError: the format needs a package that is not installed, or a newer torch.
        ExportFailed: the file's logits differ from those of the net; no file is written.
        OSError: the file cannot be written.
    """
    one_of("format", format, FORMATS)
    target = target_path(path, format)
    model = unwrap_model(model)
    if isinstance(model, FeatureNet):
        raise ValueError(
            "export takes a net with one output; a FeatureNet's list of maps goes through torch.export"
        )
    like = next(model.parameters())
    if like.dtype != torch.float32 or like.device.type != "cpu":
        raise ValueError(f"export needs a net in float32 on the CPU, got {like.dtype} on {like.device}")
    height, width = _checked_size(model, size)
    channels = resolve_data_config(model)["input_size"][0]
    metadata = export_metadata(model, (height, width))
    if format == "onnx":
        import_onnxruntime()
    write, open_file = FORMATS[format]
    model.eval()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder, torch.no_grad():
        draft = Path(folder) / target.name
        begin = on_step or (lambda step: None)
        begin(STEPS[0])
        program = traced(model, torch.zeros(2, channels, height, width))
        begin(STEPS[1])
        write(program, draft, metadata)
        begin(STEPS[2])
        exported = open_file(draft)
        begin(STEPS[3])
        difference = _compare(model, exported, channels, (height, width), target)
        draft.replace(target)
    return difference


def target_path(path: str | os.PathLike[str], format: str) -> Path:
    """Return the path of a file to write.

    Raises:
        ValueError: its name does not end in ``format``.
        FileNotFoundError: its folder is missing.
    """
    target = local_path(path)
    if target.suffix != f".{format}":
        raise ValueError(f"the file's name must end in .{format}, got {str(path)!r}")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"folder not found: {target.parent}")
    return target


def export_metadata(model: nn.Module, size: tuple[int, int]) -> dict[str, str]:
    """Return the metadata of an exported file, each value as JSON or plain text.

    These are the image configuration (``input_size``, ``mean``, ``std``, ``interpolation``, ``crop_pct``,
    ``crop_mode``), ``class_names`` in the order of the logits if the net has them, and the file's origin
    (``architecture``, ``tag``, ``license``, ``library``, ``library_version``).

    Args:
        model: a net by ``create_model``.
        size: height and width in pixels of the images.
    """
    cfg: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    data_config = resolve_data_config(model)
    data_config["input_size"] = [data_config["input_size"][0], *size]
    metadata = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in data_config.items()
    }
    names = cfg.get("label_names")
    if names is not None and getattr(model, "num_classes", None) in (None, len(names)):
        metadata["class_names"] = json.dumps(list(names))
    metadata |= {key: cfg[key] for key in ("architecture", "tag", "license") if cfg.get(key)}
    return metadata | {"library": "sparsenet_models", "library_version": __version__}


def _checked_size(model: nn.Module, size: tuple[int, int] | None) -> tuple[int, int]:
    own_size = resolve_data_config(model)["input_size"][1:]
    smallest = model.pretrained_cfg.get("min_input_size") or (1, 1, 1)  # type: ignore[union-attr, operator]
    height, width = own_size if size is None else size
    for side, minimum in ((height, smallest[1]), (width, smallest[2])):
        integer("size", side, minimum=minimum)
    return height, width


def traced(model: nn.Module, images: Tensor) -> Any:
    """Return torch.export's program of ``model``, strictly traced, with dynamic batch, height and width.

    Args:
        model: a net in eval mode.
        images: ``(N, in_chans, H, W)``, what it is traced with.

    Raises:
        ImportError: torch is older than 2.6.
    """
    from torch.export import Dim, export

    if not hasattr(Dim, "DYNAMIC"):
        raise ImportError(f"export needs torch 2.6 or newer, this is {torch.__version__}")
    shapes = ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)
    with _one_pixel_as_any_size():
        return export(model, (images,), dynamic_shapes=shapes, strict=True)


def _one_pixel_as_any_size() -> AbstractContextManager[Any]:
    """Stop torch.export from treating maps of one pixel as a special case, which would fix the size."""
    from torch.fx.experimental import _config

    if not hasattr(_config, "backed_size_oblivious"):  # torch before 2.7: _compare reports a fixed size
        return nullcontext()
    return _config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]


def _write_pt2(program: Any, path: Path, metadata: dict[str, str]) -> None:
    torch.export.save(program, path, extra_files={METADATA_FILE: json.dumps(metadata, indent=2)})


def _open_pt2(path: Path) -> Callable[[Tensor], Tensor]:
    return torch.export.load(path).module()


def _write_onnx(program: Any, path: Path, metadata: dict[str, str]) -> None:
    written = torch.onnx.export(
        program,
        dynamo=True,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: "batch", 2: "height", 3: "width"},),
        verbose=False,
    )
    assert written is not None  # dynamo=True returns the program
    written.model.metadata_props.update(metadata)
    written.save(path, external_data=False)


def _open_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    session = import_onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def import_onnxruntime() -> Any:
    """Return the module onnxruntime.

    Raises:
        ImportError: it, onnx or onnxscript is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"the format onnx needs onnx, onnxscript and onnxruntime ({error}): " + pip_install("export")
        ) from error
    return onnxruntime


FORMATS: dict[str, tuple[Callable[..., None], Callable[[Path], Callable[[Tensor], Tensor]]]] = {
    "onnx": (_write_onnx, _open_onnx),
    "pt2": (_write_pt2, _open_pt2),
}
"""By format: a function that writes the file, and one that opens it as a function from images to logits."""


def _compare(
    model: nn.Module,
    exported: Callable[[Tensor], Tensor],
    channels: int,
    size: tuple[int, int],
    target: Path,
) -> float:
    """Return the largest difference of a logit, for two batch sizes and two image sizes.

    Raises:
        ExportFailed: it is too large, or the file takes no such images.
    """
    largest = 0.0
    generator = torch.Generator().manual_seed(0)
    larger = (2 * size[0], 3 * size[1])
    for count in (1, 3):
        for height, width in (size, larger):
            images = torch.randn(count, channels, height, width, generator=generator)
            expected = model(images)
            try:
                logits = exported(images)
            # A pt2 file's guards and onnxruntime raise errors of many classes.
            except Exception as error:
                reason = str(error).partition("\n")[0]
                raise ExportFailed(
                    f"{target} was not written: it takes no images {tuple(images.shape)}: {reason}"
                ) from error
            allowed = TOLERANCE * max(1.0, expected.abs().max().item())
            if logits.shape == expected.shape:
                difference = (logits - expected).abs().max().item()
                if difference <= allowed:
                    largest = max(largest, difference)
                    continue
            raise ExportFailed(
                f"{target} was not written: on images {tuple(images.shape)} the export's logits "
                f"{tuple(logits.shape)} differ from the net's by more than {allowed:.1e}"
            )
    return largest
