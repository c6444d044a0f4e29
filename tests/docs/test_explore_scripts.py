"""The scripts of the interactive diagram, in node: they count as the library does, and name what is wrong."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import subprocess
from typing import Any

import pytest
from support.explore import SCRIPTS, library_figures, library_graph, random_settings


@pytest.fixture(scope="module")
def run_script(tmp_path_factory: pytest.TempPathFactory):
    """Return a function that runs JavaScript beside the page's scripts, given JSON, and returns its JSON."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: the page's scripts run in it without a browser")
    folder = shutil.copytree(SCRIPTS, tmp_path_factory.mktemp("node") / "explore")
    (folder / "package.json").write_text('{"type": "module"}')

    def run(script: str, given: object) -> Any:
        read_given = (
            'import { readFileSync } from "node:fs"; const given = JSON.parse(readFileSync(0, "utf8"));'
        )
        (folder / "main.js").write_text(f"{read_given}\n{script}")
        done = subprocess.run(
            [node, folder / "main.js"], input=json.dumps(given), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_the_scripts_count_what_the_library_counts(run_script):
    settings = random_settings(200)
    counted = run_script(
        'import { figures } from "./rules.js"; console.log(JSON.stringify(given.map(figures)));', settings
    )
    assert counted == [library_figures(setting) for setting in settings]


def test_the_scripts_name_the_readers_and_inputs_that_the_library_names(run_script):
    settings = random_settings(40)
    named = run_script(
        """import { inputs, range, readers } from "./rules.js";
        const all = (setting) => [
          range(1, setting.depth + 1).map((layer) => inputs(setting, layer).sort((a, b) => a - b)),
          range(0, setting.depth).map((output) => readers(setting, output)),
        ];
        console.log(JSON.stringify(given.map(all)));""",
        settings,
    )
    for setting, (inputs, readers) in zip(settings, named):
        graph, layers = library_graph(setting), range(1, setting["depth"] + 2)
        assert inputs == [sorted(graph.inputs(layer)) for layer in layers]
        assert readers == [
            [layer for layer in layers if layer > output and graph.reads(layer, output)]
            for output in range(setting["depth"] + 1)
        ]


def test_the_python_that_the_page_shows_prints_its_figures(run_script):
    settings = random_settings(40)
    shown = run_script(
        'import { python } from "./words.js"; console.log(JSON.stringify(given.map(python)));', settings
    )
    for setting, code in zip(settings, shown):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "the page's Python", "exec"), {})
        values = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)[,)]", printed.getvalue())}
        expected = library_figures(setting)
        assert {name: values[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "offsets must be integers from 1 to 64, such as 1, 2, 4; got none."),
        ("1, two", "offsets must be integers from 1 to 64, such as 1, 2, 4; got two."),
        ("1, 65", "offsets must be integers from 1 to 64, such as 1, 2, 4; got 65."),
        ("1, 3, 3", "offsets must differ from each other; got 3 more than once."),
        ("2, 4", "offsets must contain 1, or layer 1 would read nothing; got 2, 4."),
    ],
)
def test_bad_offsets_get_a_sentence(run_script, text, sentence):
    script = """import { readOffsets } from "./setting.js";
        let said;
        try { said = readOffsets(given); } catch (error) { said = error.message; }
        console.log(JSON.stringify(said));"""
    assert run_script(script, text) == sentence


def test_bad_parts_of_an_address_get_a_sentence_and_the_others_hold(run_script):
    script = (
        """import { readFragment } from "./setting.js"; console.log(JSON.stringify(readFragment(given)));"""
    )
    read = run_script(script, "#depth=900&rule=sprase&merge=sum&base=2.5&layer=13")
    assert read["problems"] == [
        "depth must be an integer from 1 to 64, got 900.",
        "rule must be one of sparse, dense, resnet, own; got sprase.",
        "base must be an integer from 2 to 8, got 2.5.",
        "layer must be an integer from 0 to 12, got 13.",
    ]
    setting = {"depth": 12, "rule": "sparse", "base": 2, "offsets": [1, 2, 3, 5, 8], "merge": "sum"}
    assert (read["setting"], read["layer"]) == (setting, None)
