"""Draw every picture of docs/figures again, by its command or code on the pages: `python docs/figures.py`.

With `--check` nothing is replaced, and a picture that shows other data than its command gives is an error.
The picture of a training that takes a quarter of an hour is drawn from the table of its results on the page.
"""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import tempfile
from pathlib import Path

import click
from PIL import Image

from sparsenet_models.analysis.plot.drawing import DATA_KEY
from sparsenet_models.cli import main as sparsenet

DOCS = Path(__file__).parent
FIGURES = DOCS / "figures"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
COMMAND = re.compile(r"^ *((?:sparsenet|python) .*\bdocs/figures/([\w-]+\.png).*)$", re.M)


@click.command()
@click.option("--check", is_flag=True, help="Replace nothing; fail where a picture is stale.")
def main(check: bool) -> None:
    """Draw every picture of docs/figures."""
    commands = commands_of_the_pages()
    pictures = {path.name for path in FIGURES.glob("*.png")}
    faults = [f"{name}: no page has the command that draws it" for name in sorted(pictures - set(commands))]
    with tempfile.TemporaryDirectory() as folder:
        for name, command in commands.items():
            drawn = Path(folder) / name
            draw(command, drawn)
            if not check:
                shutil.copyfile(drawn, FIGURES / name)
            elif name not in pictures or data_of(drawn) != data_of(FIGURES / name):
                faults.append(f"{name} is stale: {command.strip().splitlines()[-1]}")
            click.echo(name)
    if faults:
        raise click.ClickException("\n".join(faults))


def commands_of_the_pages() -> dict[str, str]:
    """Return what draws each picture, by its file's name: a command, or the Python blocks of its page."""
    found: dict[str, str] = {}
    for page in [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        found |= {name: command for command, name in COMMAND.findall(text)}
        blocks = BLOCK.findall(text)
        for name in re.findall(r"\(figures/([\w-]+\.png)\)", text):
            last = next((index for index, block in enumerate(blocks) if f'"{name}"' in block), None)
            if last is not None:
                found[name] = "".join(blocks[: last + 1])
    return found


def draw(command: str, picture: Path) -> None:
    """Run a command or the blocks of a page, with another file for its picture."""
    if "\n" in command:
        exec(command.replace(f'"{picture.name}"', repr(str(picture))), {})
        return
    program, *words = shlex.split(command)
    words = [str(picture) if word.startswith("docs/figures/") else word for word in words]
    if program == "sparsenet":
        sparsenet.main(words, standalone_mode=False)
    else:  # examples/finetune.py
        example = runpy.run_path(str(DOCS.parent / words[0]))
        example["plot"](errors_of_the_page(list(example["STARTS"])), picture)


def errors_of_the_page(starts: list[str]) -> dict[str, dict[int, float]]:
    """Return the errors in the table of docs/backbone.md, by start and by number of images of a class."""
    page = (DOCS / "backbone.md").read_text(encoding="utf-8")

    def row(title: str) -> list[str]:
        (cells,) = re.findall(rf"^\| (?:`\w+` )?{re.escape(title)} \|(.*)\|$", page, re.M)
        return [cell.strip() for cell in cells.split("|")]

    amounts = [int(cell) for cell in row("images of each class")]
    return {start: dict(zip(amounts, map(float, row(start)))) for start in starts}


def data_of(picture: Path) -> str | None:
    """Return the hash of the data that a picture shows, which is written in the file."""
    with Image.open(picture) as opened:
        return opened.info.get(DATA_KEY)


if __name__ == "__main__":
    main()
