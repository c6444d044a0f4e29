"""A table of rules and models: `sparsenet analyze`."""

from __future__ import annotations

from collections.abc import Sequence

from .rules import RULES, Analysis, analyze_rule


def analyze(name: str, depths: Sequence[int]) -> list[Analysis]:
    """Analyse a rule at each depth, or a model, whose depth is its own.

    Args:
        name: "sparse", "dense", "resnet", or a model's name.
        depths: layers of the one stage, for a rule.

    Raises:
        ValueError: neither a rule nor a model; a depth below 1.
    """
    if name in RULES:
        return [analyze_rule(name, depth) for depth in depths]
    from ..common.messages import did_you_mean
    from ..models.listing import list_models
    from ..models.registry import is_model
    from .nets import analyze_model

    if not is_model(name):
        hint = did_you_mean(name, [*RULES, *list_models()])
        raise ValueError(f"unknown rule or model {name!r}{hint or ';'} the rules: {', '.join(RULES)}")
    return [analyze_model(name)]
