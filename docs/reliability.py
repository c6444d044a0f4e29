"""Write `docs/reliability.md` from a run of the tests of faults: `python docs/reliability.py`.

The tests record what a user sees and what is left on disk.
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

HEAD = """# Missing and damaged weights: what you see

Weights are loaded whole or not at all: on any error a net that exists keeps all its values, and
`create_model` returns none. A fetched file gets its name only when it is complete, and each load checks it
against the sha256 (weights) or git hash (small files) that the Hub has for it.

`python docs/reliability.py` writes this page from a run of the tests that it names, including slow ones.
They run the real huggingface_hub client against a local server, kill real processes, and fill a real file
system. `DIR` is the folder of the test, and the address of the server is replaced by that of the Hub.

| fault | what the user sees | what is left on disk | test |
| --- | --- | --- | --- |
"""

MUTATIONS = """
## Damaged files at random

Hypothesis damages weight files and configurations. Each file was either refused with a message of one line
that names it, and the net was unchanged, or it was loaded with exactly the values that a second,
independent reader finds in its bytes. None made the process crash, took 10 s of CPU time, or was loaded in
part.

| damaged part | tried | refused | loaded correctly | test |
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
