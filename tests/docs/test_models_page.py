"""The table of docs/models.md is what its command writes, from times of every bundled net for 32 pixels."""

from __future__ import annotations

import csv
import runpy

from support.repository import REPOSITORY

from sparsenet_models import get_pretrained_cfg, list_pretrained


def test_the_table_of_weights_is_what_its_command_writes():
    command = runpy.run_path(str(REPOSITORY / "docs" / "models.py"))
    assert command["PAGE"].read_text(encoding="utf-8") == command["page"]()


def test_every_bundled_net_for_32_pixels_was_timed_at_both_batch_sizes_in_one_run():
    with (REPOSITORY / "docs" / "speed.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    cfgs = [get_pretrained_cfg(name) for name in list_pretrained()]
    nets = {cfg.architecture for cfg in cfgs if cfg.input_size == (3, 32, 32)}
    assert nets
    timed = {(row["net"], int(row["batch"])): float(row["ms_per_image"]) for row in rows}
    assert all(timed[net, batch] > 0 for net in nets for batch in (1, 64))
    assert {row["engine"] for row in rows} == {"optimize"}
    assert not any(row["note"] for row in rows)
