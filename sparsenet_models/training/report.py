"""What a run says about itself: the row and the line of each epoch, and the metadata of its weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from .._version import __version__
from ..common.messages import duration
from ..models.names import split_model_name_tag
from ..models.pretrained_cfg import PretrainedCfg
from ..pretrained.weight_file import weight_description
from .config import TrainConfig
from .inputs import Inputs
from .record import Record


@dataclass(frozen=True)
class EpochReport:
    """An epoch (from 1): mean loss, last learning rate, time, images per second, and the score if any."""

    epoch: int
    loss: float
    rate: float
    seconds: float
    speed: float
    top1: float | None

    def row(self) -> dict[str, Any]:
        """Return its row in ``metrics.csv``."""
        return {
            "epoch": self.epoch,
            "loss": f"{self.loss:.6f}",
            "lr": f"{self.rate:.6f}",
            "seconds": f"{self.seconds:.1f}",
            "images_per_second": f"{self.speed:.1f}",
            "top1": f"{self.top1:.2f}" if self.top1 is not None else "",
        }

    def line(self, epochs: int, seconds_left: float) -> str:
        """Return the line to print, in a run of ``epochs`` of which ``seconds_left`` remain."""
        score = f"  top-1 {self.top1:.2f}%" if self.top1 is not None else ""
        return (
            f"epoch {self.epoch}/{epochs}  loss {self.loss:.4f}  lr {self.rate:.4f}  {self.seconds:.0f} s  "
            f"{self.speed:,.0f} images/s{score}  ETA {duration(seconds_left)}"
        )


def weights_metadata(
    config: TrainConfig, inputs: Inputs, record: Record, top1: float, scored_on: str
) -> dict[str, str]:
    """Return the metadata of a finished run's weight file.

    Args:
        config: the options of the run.
        inputs: its images.
        record: of the finished run.
        top1: accuracy in percent.
        scored_on: the images on which that was measured.
    """
    options = config.to_dict() | {"precision": record.precision}
    recipe = {key: options[key] for key in options if key not in ("model", "data", "out")}
    if config.pretrained:
        recipe["model"] = config.model  # its tag says which weights
    if record.init_sha256:
        recipe["init_sha256"] = record.init_sha256
    if config.soft_labels:
        recipe["soft_labels_sha256"] = inputs.fingerprint["soft_labels_sha256"]
    architecture, tag = split_model_name_tag(inputs.model_name)
    cfg = PretrainedCfg(
        architecture=architecture,
        tag=tag,
        label_names=inputs.class_names,
        data=inputs.train_set.name,
        recipe=json.dumps(recipe),
        epochs=record.epochs_done,
        seed=config.seed,
        top1=top1,
        library_version=__version__,
        git_commit=record.git_commit,
        license="Apache-2.0",
        **inputs.data_config,
    )
    return weight_description(cfg, with_metrics=True) | {"scored_on": scored_on}
