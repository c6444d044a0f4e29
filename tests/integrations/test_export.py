"""Exports: the program of torch.export and ONNX compute what the net computes, for any batch and size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from support.foreign_nets import lived_in
from support.nets import TINY, build, families, images
from support.repository import REPOSITORY
from torch import nn

from sparsenet_models import FractalNet, PretrainedCfg, create_model, register_model
from sparsenet_models.cli import main
from sparsenet_models.integrations.export import (
    METADATA_FILE,
    TOLERANCE,
    ExportFailed,
    export_metadata,
    export_model,
    traced,
)
from sparsenet_models.models.registry import temporary_registry
from sparsenet_models.pretrained.weight_file import save_weights

NAME = "sparsenet_bc_40_k12"
CIFAR = {"input_size": (3, 32, 32), "interpolation": "bicubic", "mean": (0.5,) * 3, "std": (0.25,) * 3}
CIFAR |= {"crop_pct": 1.0, "crop_mode": "center", "min_input_size": (3, 32, 32)}
MISSING = "pip install onnx onnxscript onnxruntime"
needs_dynamic_sizes = pytest.mark.skipif(
    not hasattr(torch.export.Dim, "DYNAMIC"), reason="export needs torch 2.6 or newer"
)


def with_cfg(net: nn.Module) -> nn.Module:
    net.pretrained_cfg = dict(CIFAR)
    return net


@needs_dynamic_sizes
@families
@pytest.mark.slow
@torch.no_grad()
def test_a_strictly_traced_program_takes_any_batch_and_size(family):
    net = build(family).eval()
    program = traced(net, images((64, 64))).module()
    for count, size in ((1, (64, 64)), (4, (96, 80)), (2, (77, 70))):
        batch = images(size, count=count)
        assert torch.allclose(program(batch), net(batch), atol=1e-5)


def takes_any_batch_and_size(logits_of: Callable[[torch.Tensor], torch.Tensor], net: nn.Module) -> bool:
    batches = [images(size, count=count) for count, size in ((1, (32, 32)), (4, (64, 48)), (2, (45, 70)))]
    return all(torch.allclose(logits_of(batch), net.eval()(batch), atol=1e-4) for batch in batches)


def opened_onnx(file: Path) -> tuple[Callable[[torch.Tensor], torch.Tensor], dict[str, str]]:
    """Return what onnxruntime computes, by batch, and the file's metadata."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    assert (entry.name, entry.shape) == ("images", ["batch", 3, "height", "width"])
    metadata = session.get_modelmeta().custom_metadata_map
    return lambda batch: torch.from_numpy(session.run(["logits"], {"images": batch.numpy()})[0]), metadata


def opened_pt2(file: Path) -> tuple[Callable[[torch.Tensor], torch.Tensor], dict[str, str]]:
    extra = {METADATA_FILE: ""}
    program = torch.export.load(file, extra_files=extra).module()
    return program, json.loads(extra[METADATA_FILE])


def tiny_net(**kwargs) -> nn.Module:
    return TINY["sparsenet"](**kwargs)


@pytest.fixture
def tiny_weights(tmp_path) -> Iterator[None]:
    """Register ``tiny_net.toy``, a net of two classes with weights."""
    file = tmp_path / "toy.safetensors"
    save_weights(build("sparsenet", num_classes=2), file, {"architecture": "tiny_net", "tag": "toy"})
    cfg = PretrainedCfg(
        file=str(file),
        num_classes=2,
        label_names=("cat", "dog"),
        input_size=(3, 32, 32),
        mean=(0.4, 0.5, 0.6),
        std=(0.1, 0.2, 0.3),
    )
    with temporary_registry():
        register_model(pretrained_cfgs={"toy": cfg})(tiny_net)
        yield


@needs_dynamic_sizes
@pytest.mark.usefixtures("tiny_weights")
@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("tiny_net.toy", "onnx"),
        pytest.param(f"{NAME}.cifar10", "onnx", marks=pytest.mark.slow),
        pytest.param(f"{NAME}.cifar10", "pt2", marks=pytest.mark.slow),
    ],
)
def test_the_command_writes_a_file_with_the_nets_logits_class_names_and_normalisation(name, suffix, tmp_path):
    if suffix == "onnx":
        pytest.importorskip("onnxruntime", reason=MISSING)
    (tmp_path / "out").mkdir()
    file = tmp_path / "out" / f"net.{suffix}"
    result = CliRunner().invoke(main, ["export", name, "--format", suffix, "--out", str(file)])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(
        f"{file}: {file.stat().st_size:,} bytes; on four batches no logit differs"
    )
    difference = float(result.stdout.split()[-1])
    assert 0 <= difference < 1e-3
    net = create_model(name, pretrained=True)
    logits_of, metadata = (opened_onnx if suffix == "onnx" else opened_pt2)(file)
    assert takes_any_batch_and_size(logits_of, net)
    assert tuple(json.loads(metadata["class_names"])) == net.pretrained_cfg["label_names"]
    assert tuple(json.loads(metadata["mean"])) == net.pretrained_cfg["mean"]
    assert tuple(json.loads(metadata["std"])) == net.pretrained_cfg["std"]
    assert json.loads(metadata["input_size"]) == [3, 32, 32]
    assert f"{metadata['architecture']}.{metadata['tag']}" == name
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@needs_dynamic_sizes
@pytest.mark.usefixtures("tiny_weights")
def test_the_command_takes_a_size_and_a_weight_file_of_another_origin(tmp_path):
    other = lived_in(build("sparsenet", num_classes=2)).eval()
    torch.save(other.state_dict(), tmp_path / "other.pth")
    file = tmp_path / "net.pt2"
    words = ["export", "tiny_net.toy", "--format", "pt2", "--out", str(file), "--size", "40"]
    result = CliRunner().invoke(main, [*words, "--checkpoint", str(tmp_path / "other.pth")])
    assert result.exit_code == 0, result.output
    logits_of, metadata = opened_pt2(file)
    assert json.loads(metadata["input_size"]) == [3, 40, 40]
    with torch.no_grad():
        torch.testing.assert_close(logits_of(images((40, 40))), other(images((40, 40))), rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("tiny_weights")
def test_the_class_names_of_a_former_head_are_left_out():
    net = create_model("tiny_net.toy", pretrained=True)
    assert json.loads(export_metadata(net, (32, 32))["class_names"]) == ["cat", "dog"]
    net.head.fc = nn.Linear(net.head.fc.in_features, 5)
    assert "class_names" not in export_metadata(net, (32, 32))


@pytest.mark.slow
@needs_dynamic_sizes
@families
def test_onnxruntime_computes_what_the_net_computes_for_any_batch_and_size(family, tmp_path):
    pytest.importorskip("onnxruntime", reason=MISSING)
    net = with_cfg(build(family))
    export_model(net, tmp_path / "net.onnx", "onnx", size=(64, 64))
    assert takes_any_batch_and_size(opened_onnx(tmp_path / "net.onnx")[0], net)
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


class Deceiver(nn.Module):
    """Computes something else when it is traced than when it is called."""

    num_classes = 3

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.pretrained_cfg = dict(CIFAR)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.conv(x).mean((2, 3))
        return logits + 0.01 if torch.compiler.is_compiling() else logits


@needs_dynamic_sizes
def test_a_file_that_computes_something_else_is_not_put_in_place(tmp_path):
    file = tmp_path / "net.pt2"
    file.write_bytes(b"what was there before")
    with pytest.raises(ExportFailed, match=r"net.pt2 was not written: on images \(1, 3, 32, 32\) the export"):
        export_model(Deceiver(), file, "pt2")
    assert file.read_bytes() == b"what was there before"
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt2"]


class SmallImagesOnly(Deceiver):
    """Takes images below 40 pixels alone where it is traced."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.compiler.is_compiling():
            torch._check(x.shape[2] < 40)
        return self.conv(x).mean((2, 3))


@needs_dynamic_sizes
def test_a_program_that_would_not_take_every_size_is_refused(tmp_path):
    with pytest.raises(ExportFailed, match=r"net.pt2 was not written: it takes no images \(1, 3, 64, 96\)"):
        export_model(SmallImagesOnly(), tmp_path / "net.pt2", "pt2")
    assert not list(tmp_path.iterdir())


@needs_dynamic_sizes
@pytest.mark.parametrize(
    "net",
    [
        lambda: FractalNet(columns=1, widths=(4, 4, 4, 4, 4)),
        pytest.param(lambda: FractalNet(columns=3, widths=(4, 4, 4, 4, 4)), marks=pytest.mark.slow),
        pytest.param(lambda: build("sparsenet_imagenet"), marks=pytest.mark.slow),
    ],
)
def test_a_program_traced_where_the_last_map_is_one_pixel_takes_every_size(net, tmp_path):
    """At 32x32 pixels it is, in a FractalNet of five widths and in the ImageNet layout."""
    net = with_cfg(net())
    export_model(net, tmp_path / "net.pt2", "pt2", size=(32, 32))
    program = torch.export.load(tmp_path / "net.pt2").module()
    for count, size in ((1, (32, 32)), (3, (64, 32)), (2, (70, 101))):
        assert torch.allclose(program(images(size, count=count)), net(images(size, count=count)), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "file_format", "size", "message"),
    [
        ("net.onx", "onx", None, r"format must be one of \('onnx', 'pt2'\), got 'onx'; did you mean 'onnx'"),
        ("net.onnx", "pt2", None, r"the file's name must end in \.pt2, got '.*net\.onnx'"),
        ("net.pt2", "pt2", (32, 4), r"size must be at least 8, got 4"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(name, file_format, size, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_model(create_model(NAME), tmp_path / name, file_format, size)
    assert not list(tmp_path.iterdir())


@needs_dynamic_sizes
def test_an_averaged_net_is_exported_and_a_net_without_a_configuration_refused(tmp_path):
    net = create_model("sparsenet_bc_40_k12")
    path = tmp_path / "averaged.pt2"
    assert export_model(torch.optim.swa_utils.AveragedModel(net), path, "pt2") <= TOLERANCE
    assert path.exists()
    with pytest.raises(ValueError, match="Linear has no pretrained_cfg"):
        export_model(torch.nn.Linear(3, 2), tmp_path / "linear.pt2", "pt2")
    with pytest.raises(ValueError, match=r"format must be one of .*, got None"):
        export_model(net, tmp_path / "none", None)


def test_a_net_of_another_precision_or_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"needs a net in float32 on the CPU, got torch\.bfloat16 on cpu"):
        export_model(create_model(NAME, dtype=torch.bfloat16), tmp_path / "net.pt2", "pt2")
    with pytest.raises(FileNotFoundError, match=r"folder not found: .*nowhere"):
        export_model(create_model(NAME), tmp_path / "nowhere" / "net.pt2", "pt2")


def test_the_command_names_the_packages_that_onnx_needs_where_they_are_missing(tmp_path):
    """A file that raises ImportError stands first on the path, as if onnxruntime were not installed."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "onnxruntime.py").write_text("raise ImportError('No module named onnxruntime')\n")
    arguments = ["export", f"{NAME}.cifar10", "--format", "onnx", "--out", str(tmp_path / "net.onnx")]
    result = subprocess.run(
        [sys.executable, "-m", "sparsenet_models", *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "path"), str(REPOSITORY)])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr == (
        "Error: the format onnx needs onnx, onnxscript and onnxruntime (No module named onnxruntime): "
        "pip install onnx onnxscript onnxruntime\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["path"]


def test_a_tag_without_weights_is_not_exported(tmp_path):
    arguments = ["export", "sparsenet_40_k12.cifar100", "--format", "pt2", "--out", str(tmp_path / "net.pt2")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "has no pretrained weights" in result.stderr
    assert not list(tmp_path.iterdir())


@families
@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning")
def test_torch_script_is_refused_in_words_and_tracing_works(family):
    net = build(family).eval()
    with pytest.raises(NotImplementedError, match=r"torch.jit.script, .* does not take .* use torch.export"):
        torch.jit.script(net)
    traced = torch.jit.trace(net, images())
    assert torch.allclose(traced(images(count=3)), net(images(count=3)), atol=1e-6)


@pytest.mark.skipif(hasattr(torch.export.Dim, "DYNAMIC"), reason="this torch is new enough")
def test_a_torch_too_old_is_refused_with_the_one_that_export_needs(tmp_path):
    words = ["export", f"{NAME}.cifar10", "--format", "pt2", "--out", str(tmp_path / "net.pt2")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert result.stderr == f"Error: export needs torch 2.6 or newer, this is {torch.__version__}\n"
    assert not list(tmp_path.iterdir())
