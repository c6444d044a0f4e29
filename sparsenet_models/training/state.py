"""What training steps change: the net, its optimizer and the running mean of its weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..models.param_groups import param_groups_layer_decay
from .averaging import averaged
from .config import TrainConfig
from .muon import MuonAdamW


class TrainingState:
    """A net in training.

    Args:
        model: the net, on its device and in its memory format.
        config: optimizer, decays and averaging.

    Raises:
        ValueError: ``layer_decay`` for a net of another library, or Muon for one without convolutions.
    """

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        self.model = model
        groups = param_groups_layer_decay(model, config.weight_decay, config.layer_decay)
        self.optimizer: torch.optim.Optimizer | MuonAdamW
        if config.optimizer == "adamw":
            self.optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(config.momentum, 0.999))
        elif config.optimizer == "muon":
            self.optimizer = MuonAdamW(groups, lr=config.lr, momentum=config.momentum)
        else:
            self.optimizer = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=True)
        self.average = averaged(model, config)

    @property
    def final_model(self) -> nn.Module:
        """The net to score and to save: the averaged one once averaging has started."""
        if self.average is None or not self.average.n_averaged:
            return self.model
        return self.average.module

    def is_finite(self) -> bool:
        """Return whether all weights and statistics of the net, and of the averaged one, are finite."""
        nets = [self.model] if self.average is None else [self.model, self.average.module]
        tensors = (tensor for net in nets for tensor in net.state_dict().values())
        return all(bool(tensor.isfinite().all()) for tensor in tensors)

    def set_learning_rate(self, rate: float) -> None:
        """Set the rate of every group, ``rate`` times the group's scale."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]

    def state_dict(self) -> dict[str, Any]:
        """Return the tensors, as checkpoints hold them."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
        }

    def load_state_dict(self, checkpoint: dict[str, Any]) -> None:
        """Continue from the tensors of a checkpoint."""
        self.model.load_state_dict(checkpoint["model"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        for group in self.optimizer.param_groups:
            if "scale" in group:  # its name in older checkpoints
                group["lr_scale"] = group.pop("scale")
        if self.average is not None:
            self.average.load_state_dict(checkpoint["average"])
