"""The code blocks of the pages, read from their Markdown and run as a reader would paste them.

Blocks fenced as ``python`` and ``shell``, and indented blocks, which are shell commands. All blocks of a page
run in its order, in one namespace and one folder. So does the code in a table's column ``sparsenet_models``:
Python, or a command that begins with ``sparsenet``. Comments in a page's source say otherwise:

- ``<!-- not run: REASON -->``: the next block is not run.
- ``<!-- slow: REASON -->``: up to the next heading, blocks run in the slow suite alone, where the whole page
  runs; ``<!-- slow page: REASON -->``: to the end of the page.
- ``<!-- needs: onnx, SPARSENET_DATA -->``: up to the next heading, blocks run where these packages and
  environment variables are there.
- ``<!-- run: CODE -->``: hidden Python that runs at this place, where ``PAGE`` is the page's text; an
  ``assert`` checks what the page says.

A comment behind a statement that is the value of its expression, such as ``# 199``, is compared with it; that
of a tensor is its shape. After ``$ COMMAND``, the lines up to the next one are compared with what it prints.
"""

from __future__ import annotations

import ast
import importlib.util
import io
import itertools
import os
import re
import shlex
import subprocess
import sys
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from support.command import run as run_sparsenet
from support.repository import REPOSITORY

PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md"))]

_RUN = ("python", "shell")
OURS = "sparsenet_models"
"""The title of the column of a table whose code is run."""

_DATA = ("text", "bibtex", "yaml", "json", "csv", "toml")
_MARK = re.compile(r"<!--\s*(not run|slow page|slow|needs|run):(.*?)-->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of a page; ``line`` is that of its first line of code, from 1."""

    page: str
    line: int
    language: str
    code: str
    not_run: str = ""
    slow: str = ""
    needs: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    def lacks(self) -> list[str]:
        """Return the packages and environment variables that the block needs and that are not there."""
        return [
            name
            for name in self.needs
            if not (name in os.environ if name.isupper() else importlib.util.find_spec(name))
        ]


def blocks(page: str, text: str | None = None) -> list[Block]:
    """Return the blocks of a page, the hidden ones too.

    Raises:
        ValueError: a mark has no reason or no block, or a block's language is neither run nor data.
    """
    text = (REPOSITORY / page).read_text(encoding="utf-8") if text is None else text
    found: list[Block] = []
    marks = dict.fromkeys(("not run", "slow", "slow page", "needs"), "")
    line, column, column_of_ours = 0, 0, -1

    def add(line: int, language: str, code: str) -> None:
        needs = tuple(name.strip() for name in marks["needs"].split(",") if name)
        slow = marks["slow"] or marks["slow page"]
        found.append(Block(page, line, language, code, marks["not run"], slow, needs))

    for token in MarkdownIt().enable("table").parse(text):
        line = token.map[0] + 1 if token.map else line
        if token.type == "heading_open":
            marks["slow"] = marks["needs"] = ""
        elif token.type == "html_block":
            for mark in _MARK.finditer(token.content):
                if not mark[2].strip():
                    raise ValueError(f"{page}:{line}: {mark[1]!r} says no reason")
                if mark[1] == "run":
                    add(line + token.content[: mark.start(2)].count("\n"), "python", mark[2].strip(" "))
                else:
                    marks[mark[1]] = mark[2].strip()
        elif token.type in ("fence", "code_block"):
            language, fenced = token.info.strip(), token.type == "fence"
            if fenced and language not in (*_RUN, *_DATA):
                raise ValueError(f"{page}:{line + 1}: a block of {language!r} is neither run nor data")
            if language not in _DATA:
                add(line + fenced, language or "shell", token.content)
            marks["not run"] = ""
        elif token.type == "table_close":
            column_of_ours = -1
        elif token.type == "tr_open":
            column = 0
        elif token.type in ("th_close", "td_close"):
            column += 1
        elif token.type == "inline" and token.level == 4 and token.content == OURS:
            column_of_ours = column
        elif token.type == "inline" and column == column_of_ours:
            for child in token.children or ():
                if child.type == "code_inline":
                    add(line, "shell" if child.content.startswith("sparsenet ") else "python", child.content)
    if marks["not run"]:
        raise ValueError(f"{page}: the last 'not run' has no block after it")
    return found


def run_page(page: str, slow: bool) -> list[str]:
    """Run the blocks of a page in the current folder, the slow ones where ``slow``; return what was left out.

    Raises:
        AssertionError: a block's value or output is not the one that the page shows.
    """
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    namespace: dict[str, Any] = {"__name__": "__main__", "PAGE": text}
    left_out = []
    for block in blocks(page):
        if block.not_run or (block.slow and not slow):
            continue
        if block.lacks():
            left_out.append(f"{block.place} needs {', '.join(block.lacks())}")
        elif block.language == "python":
            run_python(block, namespace)
        else:
            for command, expected in commands(block.code):
                shown = run_shell(command, block.place)
                if expected:
                    assert shown.split() == expected.split(), f"{block.place}: {command} prints\n{shown}"
    return left_out


def run_python(block: Block, namespace: dict[str, Any]) -> None:
    """Run a block statement by statement; compare the values that its comments give."""
    padded = "\n" * (block.line - 1) + block.code
    comments = {
        token.start[0]: token.string[1:].strip()
        for token in tokenize.generate_tokens(io.StringIO(padded).readline)
        if token.type == tokenize.COMMENT
    }
    for statement in ast.parse(padded, block.page).body:
        if isinstance(statement, ast.Expr):
            value = eval(compile(ast.Expression(statement.value), block.page, "eval"), namespace)
        else:
            exec(compile(ast.Module([statement], []), block.page, "exec"), namespace)
            if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
                continue
            value = namespace[statement.targets[0].id]
        shown = _literal(comments.get(statement.end_lineno or 0, ""))
        if shown is not None:
            place = f"{block.page}:{statement.lineno}"
            assert _same(value, shown), f"{place}: the value is {value!r}, not {shown!r}"


def _literal(comment: str) -> Any:
    """Return the value that a comment, or its part before a colon, is; None where it is none."""
    for text in (comment, comment.partition(": ")[0]):
        try:
            return ast.literal_eval(re.sub(r"(?<=\d),(?=\d{3}\b)", "", text))
        except (ValueError, SyntaxError):
            continue
    return None


def _same(value: Any, shown: Any) -> bool:
    if isinstance(shown, float):
        digits = len(repr(shown).partition(".")[2])
        return round(float(value), digits) == shown
    if isinstance(shown, tuple) and hasattr(value, "shape"):
        value = tuple(value.shape)
    return bool(value == shown)


def commands(code: str) -> list[tuple[str, str]]:
    """Return the commands of a shell block, each with the output that the page shows, or ""."""
    lines = re.sub(r"\\\n\s*", "", code).splitlines()
    if not any(line.startswith("$ ") for line in lines):
        return [(line, "") for line in lines if line.split("#")[0].strip()]
    parts = re.split(r"^\$ (.*)\n?", "\n".join(lines), flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2]))


def run_shell(command: str, place: str) -> str:
    """Run a command line and return what it prints; parts that install are left out.

    `sparsenet` runs in this process, as importing torch takes seconds; all else in bash.
    """
    shown = ""
    for part in command.split(" && "):
        if part.startswith("pip install "):
            continue
        if part.startswith("sparsenet ") and "|" not in part:
            words = [os.path.expandvars(word) for word in shlex.split(part, comments=True)[1:]]
            files = [sorted(map(str, Path().glob(word))) if "*" in word else [word] for word in words]
            result = run_sparsenet(*itertools.chain(*files))
            if result.exit_code:
                raise AssertionError(f"{place}: {part}\n{result.output}") from result.exception
            shown += result.stdout
        else:
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            done = subprocess.run(
                ["bash", "-euc", part], env=os.environ | {"PATH": path}, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{place}: {part}\n{done.stdout}{done.stderr}"
            shown += done.stdout
    return shown
