"""The Python blocks of the pages run as they stand, pasted one after another."""

from __future__ import annotations

import re
from typing import Any

import pytest
from support.repository import REPOSITORY


@pytest.mark.parametrize("page", ["backbone.md"])
def test_the_blocks_of_a_page_run_when_they_are_pasted(page):
    blocks = re.findall(r"^```python\n(.*?)^```", (REPOSITORY / "docs" / page).read_text(), re.M | re.S)
    assert blocks
    namespace: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), namespace)
    low, high = namespace["low"], namespace["high"]
    assert [tuple(feature.shape) for feature in (low, high)] == [(1, 36, 16, 12), (1, 36, 64, 48)]
