"""hubconf.py: the checkout as torch.hub reads it."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys

import pytest
import torch
from support.repository import REPOSITORY

from sparsenet_models import create_model, list_models

HERE = str(REPOSITORY)


def test_every_name_and_tag_is_an_entry_point_and_nothing_else_is():
    hubconf = runpy.run_path(str(REPOSITORY / "hubconf.py"))
    # What torch.hub.list takes for one.
    entry_points = [name for name, value in hubconf.items() if callable(value) and not name.startswith("_")]
    assert sorted(entry_points) == sorted({*list_models(), *list_models(include_tags=True)})


@pytest.mark.parametrize("name", ["sparsenet_bc_40_k12", "sparsenet_bc_40_k12.cifar10"])
def test_torch_hub_loads_the_net_that_create_model_builds(name):
    images = torch.randn(2, 3, 32, 32)
    net = torch.hub.load(HERE, name, source="local", pretrained=True).eval()
    assert torch.equal(net(images), create_model(name, pretrained=True).eval()(images))
    assert torch.hub.load(HERE, name, source="local", num_classes=7, in_chans=1).head.fc.out_features == 7


def test_the_checkout_alone_is_enough(tmp_path):
    """The package is not on the path: torch.hub puts the checkout there."""
    code = (
        "import sys, torch\n"
        f"net = torch.hub.load({HERE!r}, 'sparsenet_40_k12', source='local', trust_repo=True)\n"
        "print(sys.modules['sparsenet_models'].__file__, net.num_classes)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert shown.stdout.split() == [str(REPOSITORY / "sparsenet_models" / "__init__.py"), "10"]
