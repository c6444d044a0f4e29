"""The Python blocks of the pages run as they stand, pasted one after another."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from support.repository import REPOSITORY

from sparsenet_models import create_model


@pytest.mark.parametrize("page", ["backbone.md"])
def test_the_blocks_of_a_page_run_when_they_are_pasted(page):
    blocks = re.findall(r"^```python\n(.*?)^```", (REPOSITORY / "docs" / page).read_text(), re.M | re.S)
    assert blocks
    namespace: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), namespace)
    low, high = namespace["low"], namespace["high"]
    assert [tuple(feature.shape) for feature in (low, high)] == [(1, 36, 16, 12), (1, 36, 64, 48)]


def test_the_table_of_feature_maps_is_that_of_the_nets():
    timm = pytest.importorskip("timm")
    page = (REPOSITORY / "docs" / "backbone.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if re.match(r"\| \d \|", line)]
    columns = [[int(cell) if cell.isdigit() else cell.strip("`") for cell in column] for column in zip(*rows)]
    ours, at_16, at_8 = (
        create_model("sparsenet121", features_only=True, device="meta", **options).feature_info
        for options in ({}, {"output_stride": 16}, {"output_stride": 8})
    )
    with torch.device("meta"):
        theirs = timm.create_model("densenet121", features_only=True).feature_info
    assert theirs.reduction() == ours.reduction()
    assert columns == [
        list(range(5)),
        *(ours.reduction(), at_16.reduction(), at_8.reduction()),
        *(ours.channels(), ours.module_name(), theirs.channels(), theirs.module_name()),
    ]
