"""Modules that run others one after another, so that ``optimize`` can fold norms into convolutions."""

from __future__ import annotations

from torch import nn


class Chain:
    """Mixed into modules whose forward pass, in eval mode, is a chain."""

    def chain(self) -> list[nn.Module]:
        """Return the modules that run one after another in eval mode."""
        raise NotImplementedError
