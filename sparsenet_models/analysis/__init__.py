"""What rules and nets cost, counted and drawn; the rules need no torch. No net is trained here."""

from typing import TYPE_CHECKING

from ..common.lazy import lazy_exports

if TYPE_CHECKING:
    from .rules import analyze_rule as analyze_rule

__getattr__, __dir__ = lazy_exports(__name__, {"analyze_rule": "rules"})
