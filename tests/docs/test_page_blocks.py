"""Every code block of README.md and docs/*.md runs; `support.pages` says how, and how a page excepts one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.elsewhere import run
from support.hub_server import running_hub
from support.pages import PAGES, Block, blocks, commands, run_python
from support.repository import REPOSITORY

from sparsenet_models import create_model, save_pretrained

BLOCKS = {page: blocks(page) for page in PAGES}


@pytest.fixture
def readers_folder(tmp_path: Path) -> Path:
    """A folder as a reader has it: the examples, records of runs, pictures of two kinds of flowers."""
    random = np.random.default_rng(0)
    for split, count in (("train", 10), ("test", 4)):
        for name, channel in (("daisy", 0), ("rose", 2)):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = random.integers(0, 120, (30, 40, 3), dtype=np.uint8)
                pixels[..., channel] += 100
                Image.fromarray(pixels).save(folder / f"{index}.jpg")
    (tmp_path / "new.jpg").write_bytes((tmp_path / "photos/test/rose/0.jpg").read_bytes())
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    (tmp_path / "docs" / "figures").mkdir(parents=True)
    for name in ("runs", "speed.csv", "depth.csv"):
        (tmp_path / "docs" / name).symlink_to(REPOSITORY / "docs" / name)
    return tmp_path


def run_blocks(page: str, folder: Path, slow: bool, environment: dict[str, str]) -> list[str]:
    code = f"import os; os.chdir({str(folder)!r})\nfrom support.pages import run_page\n"
    code += f"result = run_page({page!r}, slow={slow})"
    offline = {"HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1", "MPLBACKEND": "agg"}
    answer = run(code, offline | environment, timeout=1800 if slow else 180, daemon=False)
    assert not answer.kinds, answer.trace
    return answer.result


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(not block.not_run and not block.slow for block in BLOCKS[page])]
)
def test_the_quick_blocks_of_a_page_run_when_they_are_pasted(page, readers_folder):
    run_blocks(page, readers_folder, slow=False, environment={"HF_HUB_OFFLINE": "1"})


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if any(block.slow for block in BLOCKS[page])])
def test_all_blocks_of_a_page_run_when_they_are_pasted(page, readers_folder):
    with running_hub() as hub:
        save_pretrained(create_model("sparsenet_bc_40_k12", pretrained=True), readers_folder / "published")
        files = {path.name: path.read_bytes() for path in (readers_folder / "published").iterdir()}
        for branch in ("main", "v1"):
            hub.repository("org/name").commit(files, branch)
        environment = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.token, "no_proxy": "127.0.0.1"}
        left_out = run_blocks(page, readers_folder, slow=True, environment=environment)
    if left_out:
        pytest.skip("; ".join(left_out))


def test_every_exception_names_its_reason():
    excepted = [block for page in PAGES for block in BLOCKS[page] if block.not_run or block.slow]
    assert excepted
    for block in excepted:
        assert len((block.not_run or block.slow).split()) > 2, block.place


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- not run: -->\n\n    sparsenet list\n", "'not run' says no reason"),
        ("```\nsparsenet list\n```\n", "a block of '' is neither run nor data"),
        ("```pyton\n1 + 1\n```\n", "a block of 'pyton' is neither run nor data"),
        ("<!-- not run: downloads a set -->\n\nwords\n", "the last 'not run' has no block after it"),
    ],
)
def test_a_block_that_is_neither_run_nor_marked_is_refused(text, message):
    with pytest.raises(ValueError, match=f"^page.md:.*{message}$"):
        blocks("page.md", text)


def test_not_run_is_for_the_next_block_and_the_other_marks_for_their_section():
    text = (
        "<!-- not run: a synopsis of it -->\n<!-- needs: no_such, HOME -->\n\n    one\n\nwords\n\n    two\n"
    )
    text += "\n# Next\n\n    three\n"
    one, two, three = blocks("page.md", text)
    assert (one.not_run, one.lacks(), one.line) == ("a synopsis of it", ["no_such"], 4)
    assert (two.not_run, two.lacks(), two.line) == ("", ["no_such"], 8)
    assert three == Block("page.md", 12, "shell", "three\n")


@pytest.mark.parametrize(
    ("code", "right"),
    [
        ("1 + 1  # 2", True),
        ("1 + 1  # 3", False),
        ("total = 1000 * 2  # 2,000: links", True),
        ("1 / 3  # 0.33", True),
        ("1 / 3  # 0.34", False),
        ("torch.zeros(2, 3)  # (2, 3)", True),
        ("[\n    1,\n]  # [2]", False),
        ("1 + 1  # (N, C): words", True),
    ],
)
def test_the_value_in_a_comment_is_compared(code, right):
    block = Block("page.md", 1, "python", code)
    if right:
        run_python(block, {"torch": torch})
    else:
        with pytest.raises(AssertionError, match=r"^page.md:\d: the value is"):
            run_python(block, {"torch": torch})


def test_the_code_in_a_tables_column_of_ours_is_run():
    text = "| theirs | sparsenet_models |\n| --- | --- |\n| `a` | `b(1)` or `c` |\n"
    text += "| `d` | `sparsenet list` |\n\n`e`\n"
    assert [(block.language, block.line, block.code) for block in blocks("page.md", text)] == [
        ("python", 3, "b(1)"),
        ("python", 3, "c"),
        ("shell", 4, "sparsenet list"),
    ]


def test_a_transcript_is_commands_with_what_they_print_and_other_lines_are_commands():
    assert commands("$ a b\none\ntwo\n$ c\n") == [("a b", "one\ntwo\n"), ("c", "")]
    assert commands("a \\\n    b  # why\n# nothing\nc\n") == [("a b  # why", ""), ("c", "")]


def test_the_pages_that_need_data_say_so():
    for page in PAGES:
        for block in BLOCKS[page]:
            if not block.not_run and "SPARSENET_DATA" in block.code:
                assert "SPARSENET_DATA" in block.needs, f"{block.place}: <!-- needs: SPARSENET_DATA -->"


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
