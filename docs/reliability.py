"""Write `docs/reliability.md` from a run of the tests of faults: `python docs/reliability.py`.

The tests record what a user sees and what is left on disk; nothing in the tables is typed by hand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
TESTS = ("tests/pretrained", "tests/test_create_model.py", "tests/integrations/test_convert.py")

HEAD = """# What goes wrong with weights, and what you see

No weights are loaded half: on any error the net in hand keeps every byte, and what `create_model` was
building is never returned. Nor are files: what arrives is renamed into place when it is whole, and checked at
every load against the sha256 (weights) or git hash (small files) under which the Hub keeps it.

`python docs/reliability.py` wrote this page from a run of the tests that it names, slow ones too; they drive
the real huggingface_hub client against a server on loopback, kill real processes, and fill a real file
system. `DIR` is the test's folder, and the server's address is shown as the Hub's.

| fault | what the user sees | what is left on disk | test |
| --- | --- | --- | --- |
"""

MUTATIONS = """
## Damaged files at random

Hypothesis damages weight files and configurations. Each was either refused in one line with the file's name,
the net in hand unchanged, or loaded with exactly the numbers that a second, independent reading of its bytes
finds. None crashed, took 10 s of CPU time or loaded in part.

| what was damaged | tried | refused | loaded as they say | test |
| --- | --- | --- | --- | --- |
"""


def main() -> None:
    """Run the tests, then write the page."""
    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder) / "records.jsonl"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-m", "slow or not slow", *TESTS],
            cwd=REPOSITORY,
            env={**os.environ, "SPARSENET_RELIABILITY": str(records)},
            check=True,
        )
        rows = [json.loads(line) for line in records.read_text(encoding="utf-8").splitlines()]
    faults = {row["fault"]: row for row in rows if "fault" in row}
    page = HEAD
    for fault, row in faults.items():
        page += f"| {cell(fault)} | {cell(row['text'])} | {row['left']} | `{row['test']}` |\n"
    page += MUTATIONS
    kinds = [row for row in rows if "kind" in row and row["tried"] >= 300]
    for row in kinds:
        counts = " | ".join(f"{row[key]:,}" for key in ("tried", "refused", "loaded"))
        page += f"| {row['kind']} | {counts} | `{row['test']}` |\n"
    totals = (sum(row[key] for row in kinds) for key in ("tried", "refused", "loaded"))
    page += f"| all | {' | '.join(f'{total:,}' for total in totals)} | |\n"
    (REPOSITORY / "docs" / "reliability.md").write_text(page, encoding="utf-8")


def cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main()
