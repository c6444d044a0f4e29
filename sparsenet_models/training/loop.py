"""The training loop: Nesterov SGD, one checkpoint an epoch, weights at the end."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .. import registry
from ..data import ImageSet, load_image_set
from ..devices import select_device
from ..evaluate import Score, evaluate
from ..factory import create_model
from ..transforms import resolve_data_config
from ..weight_file import git_commit, save_weights, weight_metadata
from .batches import TrainingBatches
from .checkpoint import (
    CONFIG,
    WEIGHTS,
    load_checkpoint_state,
    save_checkpoint,
    write_atomically,
    write_metrics,
)
from .config import MAY_CHANGE_ON_RESUME, TrainConfig
from .precision import autocast, fastest_precision
from .progress import duration, say, tracked
from .schedule import learning_rate

RECALIBRATION_BATCHES = 50


class TrainingStopped(RuntimeError):
    """The run cannot go on; the message says why, the last checkpoint is kept."""


def train(config: TrainConfig, resume: bool = False) -> Path:
    """Run a training to its end and return the path of its weights.

    The folder ``config.out`` then holds ``model.safetensors``, ``metrics.csv`` (a row an epoch),
    ``config.json`` and the last checkpoint.

    Args:
        config: the options.
        resume: go on from the last checkpoint in ``config.out``; start afresh where there is none.

    Raises:
        ValueError: an option does not go with the data, the net or the run that is resumed.
        OSError: data cannot be read, or the folder cannot be written.
        TrainingStopped: the loss is no longer finite.
    """
    folder = Path(config.out)
    weights = folder / WEIGHTS
    saved = _saved_state(folder, config, resume)
    if resume and weights.exists():
        say(f"{folder} is finished: {weights}")
        return weights
    run = _Run(config, saved)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config.to_dict() | {"precision": run.precision}, indent=2) + "\n"
    write_atomically(folder / CONFIG, lambda path: path.write_text(text, encoding="utf-8"))
    if run.rows:
        write_metrics(folder, run.rows)
    for epoch in range(run.epochs_done + 1, config.epochs + 1):
        run.train_epoch(epoch)
        save_checkpoint(folder, run.state())
        write_metrics(folder, run.rows)
    score = run.final_score()
    write_metrics(folder, run.rows)
    metadata = run.metadata(score)
    write_atomically(weights, lambda path: save_weights(run.final_model(), path, metadata))
    say(f"top-1 {score.top1:.2f}% (error {100 - score.top1:.2f}%) of {score.count:,} test images")
    say(f"weights: {weights}")
    return weights


def _saved_state(folder: Path, config: TrainConfig, resume: bool) -> dict[str, Any] | None:
    """Return the checkpoint to go on from, or None for a fresh start."""
    if not resume:
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(f"out is not empty: {folder}; pass --resume to go on with the run in it")
        return None
    saved = load_checkpoint_state(folder)
    if saved is None:
        if not (folder / WEIGHTS).exists():
            say(f"no checkpoint in {folder}: starting afresh")
        return None
    old, new = saved["config"], config.to_dict()
    for key, value in new.items():
        if key not in MAY_CHANGE_ON_RESUME and old.get(key) != value:
            raise ValueError(
                f"{key} was {old.get(key)!r} when the run in {folder} began, now it is {value!r}; "
                "a resumed run keeps its options"
            )
    return saved


class _Run:
    """A net in training, with all that a checkpoint holds."""

    def __init__(self, config: TrainConfig, saved: dict[str, Any] | None) -> None:
        self.config = config
        self.device = select_device(config.device)
        torch.manual_seed(config.seed)
        self.data_config = resolve_data_config(create_model(config.model, device="meta"))
        say(f"reading {config.data}")
        self.train_set = load_image_set(config.data, "train", self.data_config)
        self.test_set = load_image_set(config.data, "test", self.data_config)
        if self.train_set.class_names != self.test_set.class_names:
            raise ValueError(
                f"{config.data} has other classes for training {self.train_set.class_names} than "
                f"for testing {self.test_set.class_names}"
            )
        self.model_name = _name_with_tag(config.model, self.train_set)
        self.git_commit = git_commit() if saved is None else saved["git_commit"]
        model = create_model(self.model_name, num_classes=len(self.train_set.class_names))
        self.data_config = resolve_data_config(model)
        self.mean, self.std = self.data_config["mean"], self.data_config["std"]
        self.model = model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.batches = TrainingBatches(
            self.train_set, config.batch_size, self.mean, self.std, config.seed, self.device
        )
        self.optimizer = torch.optim.SGD(
            _parameter_groups(self.model, config.weight_decay),
            lr=config.lr,
            momentum=config.momentum,
            nesterov=True,
        )
        self.average = _average(self.model, config)
        self.rows: list[dict[str, Any]] = []
        self.precision = self._chosen_precision(saved)
        if saved is not None:
            self._restore(saved)
        self.compiled = _compiled(self.model, config.compile)
        say(
            f"{self.model_name} on {self.device}: {config.epochs} epochs of "
            f"{len(self.batches)} steps, {self.precision}"
        )

    @property
    def epochs_done(self) -> int:
        """Epochs trained so far, by this process or the one it goes on for."""
        return len(self.rows)

    def train_epoch(self, epoch: int) -> None:
        """Train one epoch and add its row of ``metrics.csv``."""
        self.model.train()
        total = torch.zeros((), device=self.device)
        side = self.config.side_in(epoch)
        steps = len(self.batches)
        first_step = (epoch - 1) * steps
        rate = 0.0
        start = time.perf_counter()
        batches = self.batches.epoch(epoch, side)
        description = f"epoch {epoch}/{self.config.epochs}"
        for step, (images, labels) in enumerate(
            tracked(batches, steps, self.batches.batch_size, description), first_step
        ):
            rate = learning_rate(step, steps * self.config.epochs, self.config.lr, self.config.warmup)
            total += self._step(images, labels, rate)
            if self.average is not None and self._averages_at(step):
                self.average.update_parameters(self.model)
        loss = total.item() / steps
        seconds = time.perf_counter() - start
        if not math.isfinite(loss):
            raise TrainingStopped(
                f"the loss of epoch {epoch} is {loss}; the checkpoint of epoch {epoch - 1} is kept. "
                f"A lower --lr than {self.config.lr} may help"
            )
        top1 = self._top1_after(epoch)
        speed = steps * self.batches.batch_size / seconds
        say(
            f"epoch {epoch}/{self.config.epochs}  loss {loss:.4f}  lr {rate:.4f}  "
            f"{seconds:.0f} s  {speed:,.0f} images/s"
            + (f"  top-1 {top1:.2f}%" if top1 is not None else "")
            + f"  ETA {duration(seconds * (self.config.epochs - epoch))}"
        )
        row = {
            "epoch": epoch,
            "loss": f"{loss:.6f}",
            "lr": f"{rate:.6f}",
            "seconds": f"{seconds:.1f}",
            "images_per_second": f"{speed:.1f}",
            "top1": f"{top1:.2f}" if top1 is not None else "",
        }
        self.rows.append(row)

    def final_model(self) -> nn.Module:
        """Return the net whose weights the run ends with: the averaged one once there is one."""
        if self.average is None or not self.average.n_averaged:
            return self.model
        return self.average.module

    def final_score(self) -> Score:
        """Score the final net on the test images, and add it to the last epoch's row."""
        score = self._score()
        self.rows[-1]["top1"] = f"{score.top1:.2f}"
        return score

    def metadata(self, score: Score) -> dict[str, str]:
        """Return what the weight file tells of the run."""
        options = self.config.to_dict() | {"precision": self.precision}
        recipe = {key: options[key] for key in options if key not in ("model", "data", "out")}
        return weight_metadata(
            self.model_name,
            data=self.train_set.name,
            recipe=json.dumps(recipe),
            epochs=self.config.epochs,
            seed=self.config.seed,
            top1=score.top1,
            class_names=self.train_set.class_names,
            git_commit=self.git_commit,
        )

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds: plain tensors, numbers and texts."""
        return {
            "config": self.config.to_dict(),
            "metrics": self.rows,
            "precision": self.precision,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "git_commit": self.git_commit,
        }

    def _restore(self, saved: dict[str, Any]) -> None:
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        self.rows = saved["metrics"]
        say(f"resuming after epoch {self.epochs_done}")

    def _step(self, images: torch.Tensor, labels: torch.Tensor, rate: float) -> torch.Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with self._autocast():
            logits = self.compiled(images)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=self.config.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _autocast(self) -> AbstractContextManager[object]:
        return autocast(self.device, self.precision)

    def _averages_at(self, step: int) -> bool:
        return step >= self.config.ema_start * len(self.batches) * self.config.epochs

    def _top1_after(self, epoch: int) -> float | None:
        every = self.config.eval_every
        if not every or epoch % every or epoch == self.config.epochs:
            return None  # the last epoch's is final_score's
        return self._score().top1

    def _score(self) -> Score:
        model = self.final_model()
        if model is not self.model:
            self._recalibrate(model)
        return evaluate(model, self.test_set, mean=self.mean, std=self.std)

    @torch.no_grad()
    def _recalibrate(self, model: nn.Module) -> None:
        """Measure the averaged net's batch-norm statistics anew, on augmented training images."""
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
        model.train()
        for _, (images, _) in zip(range(RECALIBRATION_BATCHES), self.batches.epoch(1)):
            with self._autocast():
                model(images)
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum

    def _chosen_precision(self, saved: dict[str, Any] | None) -> str:
        if self.config.precision != "auto":
            return self.config.precision
        if saved is not None:
            return saved["precision"]
        images, _ = next(self.batches.epoch(1))
        chosen, seconds = fastest_precision(self.model, images)
        timed = ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items())
        say(f"precision: {chosen} (a step uncompiled: {timed})")
        return chosen


def _name_with_tag(name: str, image_set: ImageSet) -> str:
    """Return ``name`` with the tag whose classes are those of the data, where it names no tag.

    Raises:
        ValueError: ``name`` has a tag whose classes are others.
    """
    architecture, tag = registry.split_model_name_tag(name)
    tagged = registry.list_models(f"{architecture}.*", include_tags=True)
    by_classes = {registry.get_pretrained_cfg(other).label_names: other for other in reversed(tagged)}
    if not tag:
        return by_classes.get(image_set.class_names, name)
    if registry.get_pretrained_cfg(name).label_names not in (None, image_set.class_names):
        raise ValueError(
            f"the tag of {name!r} stands for other classes than those of {image_set.name}; "
            f"train {architecture!r} without a tag"
        )
    return name


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay the weights of convolutions and linear layers; norms and biases stay free."""
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return [
        {"params": weights, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _average(model: nn.Module, config: TrainConfig) -> AveragedModel | None:
    if not config.ema_decay:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))


def _compiled(model: nn.Module, wanted: bool) -> Any:
    if not wanted:
        return model
    compilers = (os.environ.get("CXX", "c++"), "c++", "g++", "clang++", "cl")
    if not any(shutil.which(compiler) for compiler in compilers):
        say("no C++ compiler found: running without torch.compile")
        return model
    try:
        torch.compile(torch.sin)(torch.zeros(8, device=next(model.parameters()).device))
    # Missing Python headers, no triton, a Python too new: each torch has its own way to fail.
    except Exception as error:
        say(f"torch.compile does not work here ({type(error).__name__}): running without it")
        return model
    return torch.compile(model, dynamic=False)
