"""docs/finetuning.md names options that exist; `test_page_blocks.py` runs its commands and code."""

from __future__ import annotations

import re

from support.command import run
from support.repository import REPOSITORY


def test_the_options_of_the_page_exist():
    page = (REPOSITORY / "docs/finetuning.md").read_text(encoding="utf-8")
    options = sorted(set(re.findall(r"`(--[a-z-]+)", page)))
    shown = run("train", "--help").stdout
    assert options
    assert [option for option in options if option not in shown] == []
