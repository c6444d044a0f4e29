"""int8 files: they answer as the net does, or are not written."""

import json
import re

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from sparsenet_models import create_model, get_pretrained_cfg, resolve_data_config
from sparsenet_models.cli import main
from sparsenet_models.data.datasets import load_image_set
from sparsenet_models.data.evaluate import normalised
from sparsenet_models.integrations import quantize
from sparsenet_models.integrations.export import ExportFailed
from sparsenet_models.integrations.quantize import export_int8

NAME = "sparsenet_bc_40_k12.cifar10"


@pytest.mark.slow
def test_an_int8_file_keeps_the_accuracy_and_the_metadata(cifar10_folder, tmp_path):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    file, data = tmp_path / "net.onnx", str(cifar10_folder)
    words = ["export", NAME, "--format", "onnx", "--out", str(file), "--quantize", data]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    pattern = r"top-1 of 1,000 images ([\d.]+)%, ([\d.]+)% by \S+, the same class for ([\d.]+)%"
    told = re.search(pattern, result.output)
    assert told is not None
    int8, float32, agreement = map(float, told.groups())
    assert int8 >= float32 - 1.5
    assert agreement >= 96
    kinds = {node.op_type for node in onnx.load(file).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear", "Conv"} <= kinds

    net = create_model(NAME, pretrained=True).eval()
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert len(json.loads(session.get_modelmeta().custom_metadata_map["class_names"])) == 10
    config = resolve_data_config(net)
    images = next(iter(load_image_set(data, "test", config, "stream").batches([torch.arange(200)])))
    inputs = normalised(images, config["mean"], config["std"])
    with torch.no_grad():
        expected = net(inputs).argmax(1)
    answers = torch.from_numpy(session.run(["logits"], {"images": inputs.numpy()})[0]).argmax(1)
    assert (answers == expected).double().mean() >= 0.95
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.slow
def test_a_file_that_loses_too_much_is_not_written(ten_class_folder, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(quantize, "MOST_POINTS_LOST", -101)
    net = create_model(NAME, pretrained=True)
    images = load_image_set(ten_class_folder, "test", resolve_data_config(net))
    with pytest.raises(ExportFailed, match=r"net.onnx was not written: in int8 .* of 28 images"):
        export_int8(net, tmp_path / "net.onnx", images, images)
    assert not list(tmp_path.iterdir())


def test_int8_needs_an_image_for_the_ranges_and_one_to_compare_on(tmp_path):
    for name in get_pretrained_cfg(NAME).label_names:
        (tmp_path / "data" / "train" / name).mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(tmp_path / "data" / "train" / "cat" / "a.png")
    out, data = tmp_path / "net.onnx", tmp_path / "data"
    words = ["export", NAME, "--format", "onnx", "--out", str(out), "--quantize", str(data)]
    result = CliRunner().invoke(main, words)
    assert f"Error: --quantize needs at least two images, {data} has 1" in result.stderr
    assert not out.exists()


@pytest.mark.parametrize("words", [["--format", "pt2"], ["--format", "onnx", "--size", "64"]])
def test_int8_is_for_onnx_at_the_nets_own_size(words, tmp_path):
    arguments = ["export", NAME, *words, "--out", str(tmp_path / "net.onnx"), "--quantize", str(tmp_path)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "--quantize is for --format onnx at the model's own size" in result.stderr
    assert not list(tmp_path.iterdir())
