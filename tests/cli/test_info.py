"""`sparsenet info` as a table."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from support.command import run

from sparsenet_models import create_model, get_pretrained_cfg, list_pretrained
from sparsenet_models.analysis import analyze_model
from sparsenet_models.cli.info import LINE_CHARS, _lines
from sparsenet_models.models.pretrained_cfg import pretrained_cfg_of
from sparsenet_models.pretrained.weight_file import save_weights, weight_description

NAME = "sparsenet_bc_40_k12.cifar100"


def values(shown: str) -> dict[str, str]:
    """Return the rows of a table by label, with the lines of a row joined by blanks."""
    rows: dict[str, str] = {}
    label = ""
    for line in shown.splitlines():
        if row := re.fullmatch(r"(?:name|  \S.{0,15}) +(\S.*)", line):
            label = line[: row.start(1)].strip()
            rows[label] = row[1]
        elif line.startswith("   "):
            rows[label] += " " + line.strip()
    return rows


def test_info_gives_each_figure_with_its_unit():
    cfg = get_pretrained_cfg(NAME)
    rows = values(run("info", NAME).stdout)
    assert rows["name"] == NAME
    assert rows["input"] == "3 x 32 x 32 pixels"
    assert rows["parameters"] == "127,576"
    assert rows["multiply-adds"] == f"{cfg.macs / 1e6:.1f}M for one image of that size"
    assert rows["size"] == f"{Path(cfg.file).stat().st_size / 1e6:.2f} MB"
    assert rows["time"] == f"{cfg.train_seconds / 60:.0f} min"
    assert rows["top-1"] == f"{cfg.top1:.2f}% (error {100 - cfg.top1:.2f}%)"
    assert rows["loss"] == f"{cfg.loss:.4f} nats"
    assert rows["epochs"] == "39 + 8"


@pytest.mark.slow
def test_info_counts_the_multiply_adds_of_a_net_that_has_no_weights():
    macs = analyze_model("resnet_32").costs.macs
    rows = values(run("info", "resnet_32").stdout)
    assert rows["multiply-adds"] == f"{macs / 1e6:,.1f}M for one image of that size"


def test_info_cuts_nothing_and_wraps_lists(tmp_path):
    """A file's path is whole in its line, a list goes over as many lines as it needs."""
    folder = tmp_path / ("a folder whose name is long " * 5).strip()
    folder.mkdir()
    names = tuple(f"class {index} of a\tkind" for index in range(100))
    net = create_model(
        "sparsenet_bc_40_k12.cifar10", num_classes=100, pretrained_cfg_overlay={"label_names": names}
    )
    file = folder / "weights.safetensors"
    save_weights(net, file, weight_description(pretrained_cfg_of(net), False))
    shown = run("info", file).stdout
    assert f"  file            {file}\n" in shown
    rows = values(shown)
    assert rows["count"] == "100"
    assert rows["names"].split(", ") == [name.replace("\t", "\\t") for name in names]
    start = shown.index("  names ")
    for line in shown[start : shown.index("\n\n", start)].splitlines():
        assert len(line) <= LINE_CHARS


def test_info_shows_every_text_of_a_configuration_and_every_option_of_its_recipe():
    fields = {field.name for field in dataclasses.fields(get_pretrained_cfg(NAME))}
    elsewhere = {"architecture", "tag", "num_params", "epochs_before", "fixed_input_size", "recipe"}
    for name in list_pretrained():
        cfg = get_pretrained_cfg(name)
        shown = run("info", name).stdout
        for field in fields - elsewhere:
            value = getattr(cfg, field)
            if isinstance(value, str):
                assert value in shown, (name, field)
        for option in re.findall(r'"(\w+)": ', cfg.recipe or ""):
            assert f"{option}=" in shown, (name, option)


def test_a_row_of_nothing_has_no_line():
    assert list(_lines("top-1", None)) == list(_lines("top-1", False)) == []
