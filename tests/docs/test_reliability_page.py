"""docs/reliability.md names tests that exist and counts that are enough."""

from __future__ import annotations

import ast
import re

from support.repository import REPOSITORY

PAGE = (REPOSITORY / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_every_test_that_the_reliability_page_names_exists():
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    defined = {
        node.name
        for path in (REPOSITORY / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    assert len(named) > 20
    assert named <= defined


def test_every_kind_of_damage_was_tried_often_enough():
    counts = re.findall(r"^\| ([\w ]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|", PAGE, re.MULTILINE)
    tried = {kind: int(count.replace(",", "")) for kind, count, _, _ in counts}
    assert tried.pop("all") == sum(tried.values()) >= 2000
    assert tried.keys() == {
        *("header bytes", "offsets", "shapes and dtypes", "truncations", "names", "configs")
    }
    assert min(tried.values()) >= 300


def test_the_reliability_page_has_no_path_or_port_of_its_machine():
    assert not re.search(r"127\.0\.0\.1:(?!9\b)|/tmp/|/home/|/root/", PAGE)
