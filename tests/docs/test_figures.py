"""The pictures of the pages: each is drawn by its page's command, and shows today's data."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.repository import REPOSITORY

from sparsenet_models import StageGraph
from sparsenet_models.analysis import plot_pattern

SCRIPT = runpy.run_path(str(REPOSITORY / "docs" / "figures.py"))


def test_every_picture_has_a_command_on_a_page_and_the_hash_of_its_data():
    pictures = sorted((REPOSITORY / "docs" / "figures").glob("*.png"))
    assert pictures
    assert {path.name for path in pictures} == set(SCRIPT["commands_of_the_pages"]())
    for path in pictures:
        assert len(SCRIPT["data_of"](path)) == 64


def test_the_hash_is_that_of_the_data_and_not_of_the_pixels(tmp_path):
    hashes = []
    for name, depth, base in (("one", 16, 2), ("again", 16, 2), ("deeper", 17, 2), ("of base 3", 16, 3)):
        plot_pattern({"sparse": StageGraph(depth, "sparse", base)}, tmp_path / f"{name}.png")
        hashes.append(SCRIPT["data_of"](tmp_path / f"{name}.png"))
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def check(figures: Path) -> str:
    """Return what `python docs/figures.py --check` says of a folder of figures."""
    SCRIPT["main"].callback.__globals__["FIGURES"] = figures
    result = CliRunner().invoke(SCRIPT["main"], ["--check"])
    assert result.exit_code == int("stale" in result.output), result.output
    return result.output


@pytest.mark.slow
def test_no_picture_is_stale_and_one_of_other_data_is_found(tmp_path):
    assert "stale" not in check(REPOSITORY / "docs" / "figures")
    for path in (REPOSITORY / "docs" / "figures").glob("*.png"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    plot_pattern({"sparse": StageGraph(15)}, tmp_path / "aggregation.png")
    told = check(tmp_path)
    assert "aggregation.png is stale: sparsenet plot pattern sparse dense" in told
    assert told.count("stale") == 1
