"""What tests of faults tell `docs/reliability.py`: the fault, what a user sees, what is left on disk.

Nothing is kept unless ``SPARSENET_RELIABILITY`` names a file.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path


def record(**fields: object) -> None:
    target = os.environ.get("SPARSENET_RELIABILITY")
    if target is None:
        return
    name = os.environ["PYTEST_CURRENT_TEST"].partition(" ")[0].rpartition("::")[2].partition("[")[0]
    with Path(target).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"test": name, **fields}) + "\n")


def fault(told: str, text: str, left: str, *folders: Path) -> None:
    """Record a fault and what came of it; ``folders`` are the test's own and become ``DIR``."""
    for folder in folders:
        text = text.replace(str(folder), "DIR")
    text = re.sub(r"http://127\.0\.0\.1:\d+", "https://huggingface.co", text)
    record(fault=told, text=text, left=left)
