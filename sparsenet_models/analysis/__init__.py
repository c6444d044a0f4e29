"""What rules and nets cost, counted and drawn; a rule needs no torch. No net is trained here."""

from typing import TYPE_CHECKING

from ..common.lazy import lazy_exports

if TYPE_CHECKING:
    from .costs import stage_costs as stage_costs
    from .growth import growth_curves as growth_curves
    from .nets import analyze_model as analyze_model
    from .plot import plot_accuracy as plot_accuracy
    from .plot import plot_confusion as plot_confusion
    from .plot import plot_curves as plot_curves
    from .plot import plot_efficiency as plot_efficiency
    from .plot import plot_growth as plot_growth
    from .plot import plot_pattern as plot_pattern
    from .plot import plot_weights as plot_weights
    from .published import PUBLISHED as PUBLISHED
    from .rules import RULES as RULES
    from .rules import analyze_rule as analyze_rule
    from .table import analyze as analyze

_HOMES = {
    "PUBLISHED": "published",
    "RULES": "rules",
    "analyze": "table",
    "analyze_model": "nets",
    "analyze_rule": "rules",
    "growth_curves": "growth",
    "plot_accuracy": "plot",
    "plot_confusion": "plot",
    "plot_curves": "plot",
    "plot_efficiency": "plot",
    "plot_growth": "plot",
    "plot_pattern": "plot",
    "plot_weights": "plot",
    "stage_costs": "costs",
}

__all__ = [*_HOMES]
__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
