"""The table that `sparsenet analyze` prints: rules at several depths, and models."""

from __future__ import annotations

from collections.abc import Sequence

from ..common.files import local_path
from ..common.messages import did_you_mean
from ..models.listing import list_models
from ..models.registry import is_model
from .rules import RULES, Analysis, analyze_rule


def analyze(name: str, depths: Sequence[int]) -> list[Analysis]:
    """Analyse a rule at each depth, or a model at its own depth.

    Args:
        name: "sparse", "dense", "resnet", a model's name, or the path of a run, a saved model or its weights.
        depths: layers of the one stage, for a rule.

    Raises:
        ValueError: ``name`` is neither a rule nor a model, or a depth is below 1.
    """
    if name in RULES:
        return [analyze_rule(name, depth) for depth in depths]
    if not is_model(name) and ":" not in name and not local_path(name).exists():
        hint = did_you_mean(name, [*RULES, *list_models()])
        raise ValueError(f"unknown rule or model {name!r}{hint or ';'} the rules: {', '.join(RULES)}")

    # These import torch, which neither rules nor names need.
    from ..pretrained.source import path_as_name
    from .nets import analyze_model

    return [analyze_model(path_as_name(name))]


def parse_depths(text: str) -> list[int]:
    """Return the depths of a text such as ``16,128,1024``.

    Raises:
        ValueError: a part is not an integer from 1 to 10**18.
    """
    depths = []
    for part in text.split(","):
        number = part.strip()
        # The length is checked first, since int() refuses thousands of digits with a message of its own.
        if not number.isdecimal() or len(number) > 19 or not 1 <= int(number) <= 10**18:
            raise ValueError(
                f"depths must be integers from 1 to 10**18 with commas between, got {part!r} in {text!r}"
            )
        depths.append(int(number))
    return depths
