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
