"""A saved folder that transformers has read and written again: what it copied must not mislead."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.nets import images

from sparsenet_models import create_model, save_pretrained

NAME = "sparsenet_bc_40_k12"


def resaved(folder, classes: int | None = None, names: list[str] | None = None):
    """Write the folder's files as transformers does: other bytes, every key of ours, and its own."""
    weights = load_file(folder / "model.safetensors")
    if classes is not None:
        weights |= {"head.fc.weight": torch.zeros(classes, 36), "head.fc.bias": torch.zeros(classes)}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["model_args"].pop("num_classes", None)
    config["pretrained_cfg"].pop("num_classes", None)
    config["label_names"] = names or config["pretrained_cfg"]["label_names"]
    config |= {"num_classes": classes or 10, "transformers_version": "5.24.0", "model_type": "timm_wrapper"}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture
def saved(tmp_path):
    net = create_model(NAME, pretrained=True).eval()
    save_pretrained(net, tmp_path)
    return net, tmp_path


def test_a_folder_that_transformers_wrote_again_loads_without_our_sha256_and_metrics(saved):
    net, folder = saved
    resaved(folder)
    again = create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert torch.equal(again(images()), net(images()))
    assert again.pretrained_cfg["label_names"] == net.pretrained_cfg["label_names"]
    assert net.pretrained_cfg["top1"] is not None
    assert again.pretrained_cfg["top1"] is again.pretrained_cfg["sha256"] is None


def test_our_own_folder_with_another_weight_file_is_still_refused(saved):
    _, folder = saved
    save_file(load_file(folder / "model.safetensors"), folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="is not the file that its configuration names"):
        create_model(f"local-dir:{folder}", pretrained=True)


@pytest.mark.parametrize(("names", "expected"), [(["red", "blue"], ("red", "blue")), (None, None)])
def test_the_copied_names_of_another_number_of_classes_are_left_out(saved, names, expected):
    _, folder = saved
    resaved(folder, classes=2, names=names)
    again = create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert again(images()).shape == (2, 2)
    assert again.pretrained_cfg["label_names"] == expected
