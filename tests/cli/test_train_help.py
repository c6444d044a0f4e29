"""The options of `sparsenet train --help`, in groups."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter

from support.command import run

from sparsenet_models.training.config import TrainConfig


def sections(shown: str) -> dict[str, list[str]]:
    """Return the options of each section of a help."""
    titles: dict[str, list[str]] = {}
    for line in shown.splitlines():
        if title := re.fullmatch(r"(\w[\w ]*):", line):
            titles[title[1]] = []
        elif option := re.match(r"  (?:-h, )?--([\w-]+)", line):
            titles[list(titles)[-1]].append(option[1])
    return titles


def test_every_option_of_a_run_is_in_one_group_of_the_help_once():
    shown = sections(run("train", "--help").stdout)
    counts = Counter(option for options in shown.values() for option in options)
    fields = {field.name.replace("_", "-") for field in dataclasses.fields(TrainConfig)} - {"model"}
    assert counts == Counter([*fields, "recipe", "resume", "help"])


def test_the_groups_of_the_help_are_those_of_the_fields():
    shown = sections(run("train", "--help").stdout)
    titles = [field.metadata.get("group") for field in dataclasses.fields(TrainConfig)]
    assert list(shown) == ["Options", *filter(None, titles)]
    assert shown["Distillation"] == ["distill", "soft-labels", "distill-weight", "distill-temperature"]
    assert {"lr", "epochs", "warmup"} <= set(shown["Schedule"])
