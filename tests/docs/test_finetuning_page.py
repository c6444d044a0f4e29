"""docs/finetuning.md: its commands and its code run in order, as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from support.elsewhere import run
from support.hub_server import running_hub
from support.repository import REPOSITORY

from sparsenet_models.cli import main

PAGE = (REPOSITORY / "docs/finetuning.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    sparsenet (.*)$", PAGE, re.MULTILINE)
OPTIONS = sorted(set(re.findall(r"`(--[a-z-]+)", PAGE)))


def draw(folder: Path, count: int) -> None:
    """Draw pictures of 40x30 pixels of two kinds, brownish and bluish noise."""
    random = np.random.default_rng(0)
    for name, channel in (("daisy", 0), ("rose", 2)):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = random.integers(0, 120, (30, 40, 3), dtype=np.uint8)
            pixels[..., channel] += 100
            Image.fromarray(pixels).save(folder / name / f"{index}.jpg")


def test_the_options_of_the_page_exist():
    shown = CliRunner().invoke(main, ["train", "--help"]).stdout
    assert OPTIONS
    assert [option for option in OPTIONS if option not in shown] == []


@pytest.mark.slow
def test_the_page_leads_from_a_folder_of_pictures_to_a_net_on_the_hub(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    draw(tmp_path / "photos" / "train", 10)
    draw(tmp_path / "photos" / "test", 4)
    Image.open(tmp_path / "photos" / "test" / "rose" / "0.jpg").save(tmp_path / "new.jpg")
    monkeypatch.chdir(tmp_path)
    told = []
    for command in COMMANDS:
        words = shlex.split(command)
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
        told.append(result.output)
    trained, *_ = told
    assert re.search(r"^about \d.* for 20 epochs on this machine \(\d+ images/s\); Ctrl-C", trained, re.M)
    assert re.search(r"^top-1 .* of 8 test images$", trained, re.M)
    assert "rose" in told[1].splitlines()[1]
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    with running_hub() as hub:
        environment = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.token, "HF_HUB_DISABLE_XET": "1"}
        environment |= {"HF_HOME": str(tmp_path / "home"), "no_proxy": "127.0.0.1"}
        code = f"{block}\nresult = model.pretrained_cfg['label_names']".replace("runs/", f"{tmp_path}/runs/")
        assert run(code, environment).value() == ("daisy", "rose")
        assert "me/flowers" in hub.repositories
