"""One style of error over all verbs, and no control character on a terminal."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click
import pytest
from support.command import run
from support.repository import REPOSITORY

from sparsenet_models.cli import main

PHOTO = REPOSITORY / "examples" / "photos" / "cat_chelsea.jpg"
MODEL = "sparsenet_bc_40_k12.cifar10"
WEIGHTS = REPOSITORY / "sparsenet_models" / "weights" / f"{MODEL}.safetensors"


def verbs(command: click.Command = main, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(command, click.Group):
        return [path]
    return [verb for name, child in command.commands.items() for verb in verbs(child, (*path, name))]


@pytest.mark.parametrize("verb", verbs(), ids=" ".join)
def test_an_unknown_option_of_any_verb_is_one_line_that_says_where_its_help_is(verb):
    result = run(*verb, "--no-such-option")
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert "--no-such-option" in line
    assert f"{' '.join(verb)} --help" in line


@pytest.mark.parametrize("size", [10_000_000, 1_000_000_000])  # more than a machine, or torch, can address
def test_memory_that_does_not_suffice_is_one_line_and_leaves_no_file(size, tmp_path):
    result = run("export", MODEL, "--format", "pt2", "--out", tmp_path / "net.pt2", "--size", size)
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert line.startswith("Error: not enough memory: ")
    assert list(tmp_path.iterdir()) == []


def test_a_group_without_a_verb_prints_its_help():
    assert "Commands:" in run().stderr
    assert "pattern" in run("plot").stderr


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("no net and no picture")
    Path("folder").mkdir()
    shutil.copy(PHOTO, "cat.jpg")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("predict cat.jpg --model folder", "folder/config.json (the folder is neither a saved model nor"),
        ("predict cat.jpg --checkpoint gone.safetensors", "weight file not found: gone.safetensors"),
        ("predict cat.jpg --model text.txt", "text.txt (21 bytes) is not a readable"),
        ("predict cat.jpg --device gpu", "device must be one of ('auto', 'cpu', 'cuda', 'mps'), got 'gpu'"),
        ("info folder", "folder/config.json"),
        (f"validate {MODEL} --data text.txt", "data must be a folder of images, text.txt is a file"),
        (f"train {MODEL} --data text.txt", "data must be a folder of images, text.txt is a file"),
        (f"train {MODEL} --data folder --out text.txt/run", "text.txt/run: Not a directory"),
        (f"train {MODEL} --data folder --recipe finetun", "did you mean 'finetune'?"),
        (f"convert folder out.safetensors --model {MODEL}", "folder is a folder, not a weight file"),
        (f"convert text.txt folder --model {MODEL}", "folder is there already"),
        (f"export {MODEL} --format pt2 --out folder/net.onnx", "must end in .pt2"),
        (f"export {MODEL} --format pt2 --out gone/net.pt2", "folder not found: gone"),
        ("analyze spars", "did you mean 'sparse'"),
        ("analyze folder", "folder/config.json"),
        ("plot pattern sparse --out x.foo", "the format of x.foo is not one of "),
        ("plot pattern spars", "did you mean 'sparse'"),
        ("plot curves gone.csv", "gone.csv"),
    ],
)
def test_wrong_input_is_one_line_that_names_it(elsewhere, arguments, message):
    before = sorted(elsewhere.rglob("*"))
    result = run(*arguments.split())
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert message in line
    assert "Errno" not in line
    assert sorted(elsewhere.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", ""),
        ("predict", "cat.jpg", "--checkpoint", ""),
        ("validate", MODEL, "--data", ""),
        ("train", MODEL, "--data", "", "--out", "run"),
        ("export", MODEL, "--format", "pt2", "--out", ""),
    ],
)
def test_an_empty_path_is_not_the_current_folder(elsewhere, arguments):
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "Error: the path of a file or a folder is empty"
    assert len(list(elsewhere.iterdir())) == 3


def test_a_file_to_write_may_be_in_the_home_folder(elsewhere, monkeypatch):
    monkeypatch.setenv("HOME", str(elsewhere))
    result = run("plot", "pattern", "sparse", "--depth", "4", "--out=~/folder/p.png")
    assert result.exit_code == 0, result.output
    assert (elsewhere / "folder" / "p.png").exists()


def test_verify_takes_a_path_as_the_other_verbs_do(elsewhere):
    result = run("verify", WEIGHTS, "folder")
    assert result.exit_code == 1
    assert str(WEIGHTS) in result.stdout
    assert result.stderr.startswith("Error: folder: configuration file not found: folder/config.json")


ESCAPE = "\x1b[31m\x07"


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", f"gone{ESCAPE}.jpg"),
        ("predict", f"folder{ESCAPE}"),
        ("predict", "cat.jpg", "--model", f"./{ESCAPE}"),
        ("list", ESCAPE),
        ("info", ESCAPE),
        ("verify", ESCAPE),
        ("validate", MODEL, "--data", ESCAPE),
        ("train", MODEL, "--data", ESCAPE),
        ("convert", "text.txt", f"{ESCAPE}/x", "--model", MODEL),
        ("convert", WEIGHTS, f"net{ESCAPE}.safetensors", "--model", MODEL),
        ("export", MODEL, "--format", "pt2", "--out", f"{ESCAPE}.onnx"),
        ("analyze", ESCAPE),
        ("plot", "pattern", ESCAPE),
        pytest.param(("plot", "pattern", "sparse", "--out", f"{ESCAPE}.png"), marks=pytest.mark.slow),
        ("plot", "curves", ESCAPE),
        (ESCAPE,),
        ("list", "a", ESCAPE),
        (f"--{ESCAPE}",),
    ],
    ids=lambda arguments: " ".join(map(str, arguments)),
)
def test_no_verb_prints_a_control_character_of_a_name(elsewhere, arguments):
    Path(f"folder{ESCAPE}").mkdir()
    result = run(*arguments)
    printed = result.stdout + result.stderr
    assert all(character.isprintable() or character == "\n" for character in printed), printed
    assert r"\x1b[31m" in printed


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission_is_one_line(elsewhere):
    Path("cat.jpg").chmod(0)
    result = run("predict", "cat.jpg", "--model", MODEL)
    assert result.exit_code == 1
    assert "permission denied: cat.jpg" in result.stderr.splitlines()[-1]
