"""Whether the answers of a net are numbers to go by, and the name that errors give the net."""

from __future__ import annotations

from torch import Tensor, nn

from ..common.wrappers import unwrap_model

NOT_FINITE = "answers with numbers that are not finite"


class NotFinite(ValueError):
    """A net answers with NaN or infinity; the message names it."""


def finite(logits: Tensor) -> Tensor:
    """Return ``(N,)`` bool, whether every logit ``(N, classes)`` of an image is finite.

    ``topk`` and ``argmax`` choose a class for an image whose logits are NaN, too.
    """
    return logits.isfinite().all(dim=1)


def net_name(model: nn.Module) -> str:
    """Return the name of a net by ``create_model``, ``architecture.tag``; of any other net, its class."""
    cfg = getattr(unwrap_model(model), "pretrained_cfg", None) or {}
    name = ".".join(part for key in ("architecture", "tag") if (part := cfg.get(key)))
    return name or type(model).__name__
