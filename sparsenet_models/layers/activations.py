"""Layers with several activations, one module for each place, and weight files from before that."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn


class ActivatedLayer(nn.Module):
    """A layer whose activations ``act1``, ``act2``, ... each run once in a forward pass.

    Tools that attach something to a module, such as quantisers and captum's DeepLift, need that. A state dict
    from when one module ``act`` served all places loads too. (Only activations with parameters, such as
    ``nn.PReLU``, have tensors there.)
    """

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        give_each_place_its_own(state_dict, [f"{prefix}{name}" for name in self.state_dict()])
        super()._load_from_state_dict(state_dict, prefix, *args)


def give_each_place_its_own(state: dict[str, Tensor], expected: Iterable[str]) -> None:
    """Replace in ``state`` the tensors of a shared activation ``act`` by copies for ``act1``, ``act2``, ...

    Args:
        state: a state dict, changed in place.
        expected: the names in the state dict of the net.
    """
    shared = {name: re.sub(r"\bact\d\.(?=\w+$)", "act.", name) for name in expected}
    copies = {name: state[old].clone() for name, old in shared.items() if name not in state and old in state}
    for name in copies:
        state.pop(shared[name], None)
    state.update(copies)
