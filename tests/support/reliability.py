"""The rows of `docs/reliability.md`: a fault, what a user sees, what is left on disk.

Where ``SPARSENET_RELIABILITY`` names a file, tests write their rows into it, for the page to be made of.
Otherwise they compare them with those of the page.
"""

from __future__ import annotations

import json
import os
import re
from functools import cache
from pathlib import Path

from support.repository import REPOSITORY


def record(**fields: object) -> None:
    target = os.environ.get("SPARSENET_RELIABILITY")
    if target is None:
        return
    with Path(target).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"test": _test(), **fields}) + "\n")


def fault(name: str, text: str, left: str, *folders: Path) -> None:
    """Record a fault and its outcome, or compare them with the page; ``folders`` become ``DIR``."""
    for folder in folders:
        text = text.replace(str(folder), "DIR")
    text = re.sub(r"http://127\.0\.0\.1:\d+", "https://huggingface.co", text)
    if "SPARSENET_RELIABILITY" in os.environ:
        record(fault=name, text=text, left=left)
        return
    row = [name, _without_numbers(text).replace("|", "\\|"), left, f"`{_test()}`"]
    assert _rows().get(name) == row, "docs/reliability.md has another row: run `python docs/reliability.py`"


def _test() -> str:
    return os.environ["PYTEST_CURRENT_TEST"].partition(" ")[0].rpartition("::")[2].partition("[")[0]


@cache
def _rows() -> dict[str, list[str]]:
    page = (REPOSITORY / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in page.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row] for row in rows if len(row) == 4]
    return {name: [name, _without_numbers(text), left, test] for name, text, left, test in cells}


def _without_numbers(text: str) -> str:
    """Replace what differs between runs: hashes, sizes, counts."""
    return re.sub(r"\b[0-9a-f]{14,}\b|\d[\d,]*", "#", text)
