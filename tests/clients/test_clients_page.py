"""The blocks of docs/clients.md, run in order as they are printed, and the figures that the page gives."""

from __future__ import annotations

import re
from typing import Any

import pytest
from support.repository import REPOSITORY

# The filter is for the warnings of the clients and of what they import.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

PAGE = (REPOSITORY / "docs/clients.md").read_text(encoding="utf-8")
_, *SECTIONS = re.split(r"^#{1,2} ", PAGE, flags=re.MULTILINE)
BLOCKS = {
    section.partition("\n")[0]: re.findall(r"```python\n(.*?)```", section, re.DOTALL) for section in SECTIONS
}
FIRST = "In other libraries"


@pytest.fixture(scope="module")
def shared(cifar10_folder):
    """Return the names that the first block of the page defines, which the others use."""
    names: dict[str, Any] = {}
    exec(BLOCKS[FIRST][0], names)
    return names


def run(section: str, packages: tuple[str, ...], shared: dict[str, Any]) -> dict[str, Any]:
    """Run the blocks of a section; skip the test where a package of its client is not installed."""
    names = dict(shared)
    for package in packages:
        pytest.importorskip(package)
    for block in BLOCKS[section]:
        names["torch"].manual_seed(0)
        exec(compile(block, f"docs/clients.md, {section}", "exec"), names)
    return names


def test_the_net_has_the_top1_of_the_page(shared):
    assert f"{shared['top1'](shared['model']):.1f}%" in PAGE


def test_transformers_opens_our_folder_and_ours_a_tuned_one(shared, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    names = run("transformers", ("transformers", "timm"), shared)
    assert names["answers"][0]["label"] == "horse"
    tuned = names["create_model"](f"local-dir:{names['folder']}-tuned", pretrained=True)
    assert tuned.pretrained_cfg["label_names"] == ("cat", "dog")


def test_segmentation_models_have_masks_of_the_images_size(shared):
    names = run("segmentation_models_pytorch", ("segmentation_models_pytorch", "timm"), shared)
    torch, smp = names["torch"], names["smp"]
    assert names["unet"](names["images"][:2]).shape == (2, 3, 32, 32)
    assert torch.equal(names["unet"].encoder.model.model.stem.conv.weight, names["model"].stem.conv.weight)
    assert names["deeplab"].encoder.model.feature_info.reduction() == [2, 4, 8, 8, 8]
    assert names["deeplab"](torch.randn(1, 3, 64, 64)).shape == (1, 3, 64, 64)
    for decoder in (smp.PAN, smp.DeepLabV3Plus, smp.FPN):
        net = decoder("tu-sparsenet121", encoder_weights=None, classes=3).eval()
        assert net(torch.randn(1, 3, 128, 128)).shape == (1, 3, 128, 128)
    pspnet = smp.PSPNet("tu-resnet_20", encoder_weights=None, encoder_depth=2, upsampling=4).eval()
    assert pspnet(names["images"][:2]).shape == (2, 1, 32, 32)


def test_torchvisions_pyramid_reads_the_trunk(shared):
    names = run("Libraries that walk a net's children", (), shared)
    shapes = {name: tuple(level.shape) for name, level in names["pyramid"](names["images"][:1]).items()}
    assert shapes == {"0": (1, 16, 16, 16), "1": (1, 16, 8, 8), "pool": (1, 16, 4, 4)}


def test_one_epoch_of_fastai_learns_a_new_head(shared):
    assert run("fastai", ("fastai",), shared)["fastai_top1"] > 70


def test_one_epoch_of_lightning_keeps_the_net_as_good(shared):
    assert run("Lightning", ("lightning",), shared)["lightning_top1"] > 85


def test_ten_steps_of_lightlys_sim_clr_lower_its_loss(shared):
    names = run("lightly", ("lightly",), shared)
    assert sum(names["losses"][-3:]) < sum(names["losses"][:3])
    torch, net = names["torch"], names["backbone"].eval()
    features = torch.nn.Sequential(net.trunk(), torch.nn.AdaptiveAvgPool2d(1))
    assert torch.allclose(features(names["images"]).flatten(start_dim=1), net(names["images"]), atol=1e-6)


def test_the_attributions_of_captums_deep_lift_add_up(shared):
    names = run("captum", ("captum",), shared)
    assert float(names["error"].abs().max()) < 1e-4


def test_int8_by_torchao_is_as_good_as_the_net(shared):
    assert run("torchao", ("torchao",), shared)["torchao_top1"] > 88


def test_openvino_classifies_as_the_net_does(shared):
    names = run("OpenVINO", ("openvino",), shared)
    assert names["openvino_top1"] == names["top1"](names["model"])


def test_opacus_trains_with_a_privacy_budget(shared):
    names = run("Opacus", ("opacus",), shared)
    assert 0 < names["epsilon"] < 100
