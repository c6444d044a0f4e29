"""The pictures, one file each; they need the extra ``plots`` (matplotlib). Nothing is counted here.

Colours are those of Okabe and Ito, which colour-blind readers can distinguish; line styles and markers make
the same distinctions in black and white. Every function writes one file, whole or not at all.
"""

from typing import TYPE_CHECKING

from ...common.lazy import lazy_exports

if TYPE_CHECKING:
    from .accuracy import plot_accuracy as plot_accuracy
    from .efficiency import plot_efficiency as plot_efficiency
    from .growth import plot_growth as plot_growth
    from .pattern import plot_pattern as plot_pattern
    from .run import plot_confusion as plot_confusion
    from .run import plot_curves as plot_curves
    from .weights import plot_weights as plot_weights

_HOMES = {
    "plot_accuracy": "accuracy",
    "plot_confusion": "run",
    "plot_curves": "run",
    "plot_efficiency": "efficiency",
    "plot_growth": "growth",
    "plot_pattern": "pattern",
    "plot_weights": "weights",
}

__all__ = [*_HOMES]
__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
