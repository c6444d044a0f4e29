"""The training loop: Nesterov SGD on augmented batches, from a start or from a checkpoint to weights."""

from __future__ import annotations

import json
import math
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..common.files import atomic_write
from ..data.evaluate import Score, evaluate
from ..data.image_set import AnyImageSet
from ..factory import create_model
from ..models import FractalNet
from ..pretrained.weight_file import git_commit, save_weights, weight_metadata
from .averaging import averaged, recalibrate
from .batches import TrainingBatches
from .build import (
    compiled,
    how_images_reach,
    image_sets,
    name_with_tag,
    parameter_groups,
    scores_on_held_out,
    start_from,
)
from .checkpoint import (
    WEIGHTS,
    load_checkpoint_state,
    remove_leftovers,
    save_checkpoint,
    write_config,
    write_metrics,
    write_pictures,
)
from .config import MAY_CHANGE_ON_RESUME, TrainConfig
from .distill import Teacher, distillation_loss
from .distributed import (
    Processes,
    from_first,
    joined_processes,
    merged,
    restarts,
    share_buffers,
    summed,
    wrapped,
)
from .environment import changes, environment
from .interrupt import stop_on_signal
from .precision import autocast, fastest_precision
from .progress import duration, say, tracked
from .schedule import learning_rate

STEPS_BETWEEN_AGREEMENTS = 20
"""Processes ask each other so often whether one was told to stop, as asking takes time."""


class TrainingStopped(RuntimeError):
    """The run cannot go on; the message says why, the last checkpoint is kept."""


def train(config: TrainConfig, resume: bool = False) -> Path:
    """Run a training to its end and return the path of its weights.

    The folder ``config.out`` then holds ``model.safetensors``, ``metrics.csv`` (a row an epoch),
    ``curves.png``, ``config.json`` and the last checkpoint. Under torchrun the processes share every
    batch, and the first one writes.

    Args:
        config: the options.
        resume: go on from the last checkpoint in ``config.out``; start afresh where there is none. A
            process that torchrun restarted resumes in any case.

    Raises:
        ValueError: an option does not go with the data, the net or the run that is resumed.
        OSError: data cannot be read, or the folder cannot be written.
        TrainingStopped: the loss is no longer finite, the run was interrupted, the disk is full, or
            the data are gone.
    """
    resume = resume or restarts() > 0
    folder = Path(config.out)
    with joined_processes(config.device) as (processes, device), stop_on_signal() as stop:
        saved = from_first(_saved_state(folder, config, resume) if processes.is_first else None, processes)
        if from_first(resume and (folder / WEIGHTS).exists(), processes):
            say(f"{folder} is finished: {folder / WEIGHTS}")
            return folder / WEIGHTS
        run = _Run(config, saved, processes, device, stop)
        if processes.is_first:
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
            write_config(folder, config.to_dict() | {"environments": run.environments})
            if run.rows:
                write_metrics(folder, run.rows)
        try:
            for epoch in range(run.epochs_done + 1, config.epochs + 1):
                run.train_epoch(epoch)
            return run.finish()
        except OSError as error:
            raise TrainingStopped(f"{error}; {run.kept()}") from error


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
    old = {**TrainConfig.defaults(), **saved["config"]}  # an option newer than the run had its default
    for key, value in config.to_dict().items():
        if key not in MAY_CHANGE_ON_RESUME and old[key] != value:
            raise ValueError(
                f"{key} was {old[key]!r} when the run in {folder} began, now it is {value!r}; a resumed "
                "run keeps its options (start a new one from its weights with --init-from)"
            )
    return saved


class _Run:
    """A net in training, with all that a checkpoint holds."""

    def __init__(
        self,
        config: TrainConfig,
        saved: dict[str, Any] | None,
        processes: Processes,
        device: torch.device,
        stop: threading.Event,
    ) -> None:
        self.config, self.processes, self.device, self.stop = config, processes, device, stop
        self.folder = Path(config.out)
        torch.manual_seed(config.seed)
        self.train_set, self.watched_set, self.test_set = image_sets(
            config, how_images_reach(config, config.model)
        )
        self.class_names = self.train_set.class_names
        for scored in (self.watched_set, self.test_set):
            if len(scored) < processes.count:
                raise ValueError(
                    f"{processes.count} processes cannot share {len(scored)} images to score on: start at "
                    f"most {len(scored)}, or give more images"
                )
        self.model_name = name_with_tag(config, self.train_set)
        # A name without a tag stands for CIFAR-10, which the data may not be.
        starts_as = config.model if config.pretrained else self.model_name
        self.data_config = how_images_reach(config, starts_as)
        self.git_commit = git_commit() if saved is None else saved["git_commit"]
        model = create_model(
            self.model_name,
            num_classes=len(self.class_names),
            in_chans=config.in_chans or None,
            drop_path_rate=config.drop_path_rate or None,  # a net of the user's own may know none
        )
        self.init_sha256 = "" if saved is None else saved["init_sha256"]
        source = config.model if config.pretrained else config.init_from
        if saved is None and source:
            self.init_sha256 = start_from(source, model, self.class_names)
        mean, std = self.data_config["mean"], self.data_config["std"]
        self.model: nn.Module = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.batches = TrainingBatches(self.train_set, config, mean, std, device, processes)
        self.teacher = None
        if config.distill:
            self.teacher = Teacher(config.distill, self.class_names, mean, std, device)
        self.optimizer = torch.optim.SGD(
            parameter_groups(self.model, config.weight_decay, config.layer_decay),
            lr=config.lr,
            momentum=config.momentum,
            nesterov=True,
        )
        self.average = averaged(self.model, config)
        self.rows: list[dict[str, Any]] = []
        self.environments: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.step = 0
        self.loss = torch.zeros((), device=device)
        self.seconds = 0.0
        self.precision = from_first(self._chosen_precision(saved), processes)
        if saved is not None:
            self._restore(saved)
        self._note_environment()
        drops_layers = isinstance(self.model, FractalNet) and config.drop_path_rate > 0
        self.compiled = compiled(wrapped(self.model, processes, drops_layers), config.compile)
        self.saved_at = time.monotonic()
        together = f", {processes.count} processes" if processes.count > 1 else ""
        say(
            f"{self.model_name} on {device}: {config.epochs} epochs of {len(self.batches)} steps, "
            f"{self.precision}{together}"
        )

    @property
    def epochs_done(self) -> int:
        """Epochs trained so far, by this process or the one it goes on for."""
        return len(self.rows)

    def train_epoch(self, epoch: int) -> None:
        """Train one epoch, or what is left of it; add its row to ``metrics.csv``, write a checkpoint."""
        self.model.train()
        side = self.config.side_in(epoch)
        steps = len(self.batches)
        before = (epoch - 1) * steps
        start = time.perf_counter() - self.seconds
        description = f"epoch {epoch}/{self.config.epochs}"
        batches = self.batches.epoch(epoch, self.step)
        for images, labels in tracked(batches, steps, self.step, self.batches.batch_size, description):
            rate = self._rate(before + self.step)
            self.loss += self._step(images, labels, side, rate, before + self.step)
            if self.average is not None and before + self.step >= self._averaging_from():
                self.average.update_parameters(self.model)
            self.step += 1
            self.seconds = time.perf_counter() - start
            if self.step < steps:
                self._save_if_due()
        rate = self._rate(before + steps - 1)
        loss = summed(self.loss, self.processes).item() / steps / self.processes.count
        self._stop_unless_finite(loss)
        top1 = self._top1_after(epoch)
        if self.config.keep_best and top1 is not None and (self.best is None or top1 > self.best["top1"]):
            state = {name: tensor.cpu().clone() for name, tensor in self._final_model().state_dict().items()}
            self.best = {"epoch": epoch, "top1": top1, "state": state}
        speed = steps * self.batches.batch_size / self.seconds
        say(
            f"epoch {epoch}/{self.config.epochs}  loss {loss:.4f}  lr {rate:.4f}  "
            f"{self.seconds:.0f} s  {speed:,.0f} images/s"
            + (f"  top-1 {top1:.2f}%" if top1 is not None else "")
            + f"  ETA {duration(self._seconds_left_after(epoch))}"
        )
        row = {
            "epoch": epoch,
            "loss": f"{loss:.6f}",
            "lr": f"{rate:.6f}",
            "seconds": f"{self.seconds:.1f}",
            "images_per_second": f"{speed:.1f}",
            "top1": f"{top1:.2f}" if top1 is not None else "",
        }
        self.rows.append(row)
        self.step, self.seconds = 0, 0.0
        self.loss.zero_()
        self._save()
        if self.processes.is_first:
            write_metrics(self.folder, self.rows)
        if epoch < self.config.epochs and self._told_to_stop():
            raise TrainingStopped(f"interrupted; {self.kept()}")

    def finish(self) -> Path:
        """Score the final net on the test images; write its weights, the last row, the pictures."""
        if self.best is None:
            score = self._score()
            self.rows[-1]["top1"] = f"{score.top1:.2f}"
        else:
            say(f"the best epoch was {self.best['epoch']}")
            self._final_model().load_state_dict(self.best["state"])
            score = self._scored(self._final_model(), self.test_set)
        weights = self.folder / WEIGHTS
        if self.processes.is_first:
            write_metrics(self.folder, self.rows)
            write_pictures(self.folder, score.confusion, self.class_names)
            metadata = self._metadata(score)
            with atomic_write(weights) as (path,):
                save_weights(self._final_model(), path, metadata)
        say(f"top-1 {score.top1:.2f}% (error {100 - score.top1:.2f}%) of {score.count:,} {self._scored_on()}")
        say(f"weights: {weights}")
        return weights

    def _scored_on(self) -> str:
        """Say what kind of images the final figure is of."""
        if self.best is not None and self.test_set is self.watched_set:
            return "held-out images, on which the epoch was chosen"
        return "held-out images" if scores_on_held_out(self.config) else "test images"

    def kept(self) -> str:
        """Say which checkpoint there is to go on from."""
        saved = load_checkpoint_state(self.folder)
        if saved is None:
            return "there is no checkpoint yet"
        epoch, step = len(saved["metrics"]), saved["step"]
        place = f"epoch {epoch}" if not step else f"step {step} of epoch {epoch + 1}"
        return f"the checkpoint after {place} is kept; go on with the same command and --resume"

    def _step(self, images: Tensor, labels: Tensor, side: int | None, rate: float, number: int) -> Tensor:
        # Dropout and the like draw the same whatever happened before this step.
        drawn = (self.config.seed * 1_000_003 + number) * 1_000_003 + self.processes.rank
        torch.manual_seed(drawn % 2**63)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        inputs = _resized(images, side)
        with self._autocast():
            logits = self.compiled(inputs)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=self.config.label_smoothing)
        if self.teacher is not None:
            with self._autocast():
                taught = self.teacher(images.contiguous(memory_format=torch.channels_last))
            distilled = distillation_loss(logits.float(), taught, self.config.distill_temperature)
            loss = torch.lerp(loss, distilled, self.config.distill_weight)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _seconds_left_after(self, epoch: int) -> float:
        """Estimate from the last epoch's seconds: they grow with the pixels."""
        full = self.data_config["input_size"][-1]
        pixels = [(self.config.side_in(e) or full) ** 2 for e in range(epoch, self.config.epochs + 1)]
        return self.seconds * sum(pixels[1:]) / pixels[0]

    def _rate(self, step: int) -> float:
        total = len(self.batches) * self.config.epochs
        return learning_rate(step, total, self.config.lr, self.config.warmup, self.config.schedule)

    def _averaging_from(self) -> float:
        return self.config.ema_start * len(self.batches) * self.config.epochs

    def _save_if_due(self) -> None:
        """In mid-epoch: write a checkpoint where minutes have passed, stop where somebody asked to."""
        if self._told_to_stop():
            self._save()
            raise TrainingStopped(f"interrupted; {self.kept()}")
        waited = time.monotonic() - self.saved_at
        if self.config.checkpoint_minutes and waited >= 60 * self.config.checkpoint_minutes:
            self._save()

    def _told_to_stop(self) -> bool:
        if self.processes.count == 1:
            return self.stop.is_set()
        if self.step % STEPS_BETWEEN_AGREEMENTS:
            return False
        return bool(summed(torch.tensor(float(self.stop.is_set()), device=self.device), self.processes))

    def _save(self) -> None:
        self._stop_unless_finite(self.loss.item())
        if self.processes.is_first:
            save_checkpoint(self.folder, self._state())
        self.saved_at = time.monotonic()

    def _stop_unless_finite(self, loss: float) -> None:
        finite = math.isfinite(loss) and all(p.isfinite().all() for p in self.model.parameters())
        if not finite:
            raise TrainingStopped(
                f"the loss or the weights are no longer finite in epoch {self.epochs_done + 1} "
                f"(loss {loss}); a lower --lr than {self.config.lr} may help; {self.kept()}"
            )

    def _state(self) -> dict[str, Any]:
        """Return what a checkpoint holds: plain tensors, numbers and texts."""
        return {
            "config": self.config.to_dict(),
            "environments": self.environments,
            "metrics": self.rows,
            "step": self.step,
            "loss": self.loss,
            "seconds": self.seconds,
            "precision": self.precision,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "best": self.best,
            "git_commit": self.git_commit,
            "init_sha256": self.init_sha256,
        }

    def _restore(self, saved: dict[str, Any]) -> None:
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        self.rows, self.environments, self.best = saved["metrics"], saved["environments"], saved["best"]
        self.step, self.seconds = saved["step"], saved["seconds"]
        # The first process's losses stand for the others', which are not in the checkpoint.
        self.loss.copy_(saved["loss"])
        within = f", step {self.step} of the next" if self.step else ""
        say(f"resuming after epoch {self.epochs_done}{within}")

    def _note_environment(self) -> None:
        now = environment(self.config, self.precision, self.processes, self.device)
        if self.environments:
            different = changes(self.environments[-1], now)
            if not different:
                return
            say(f"going on with other means, so not to the last digit: {different}")
        self.environments.append(now | {"from_epoch": self.epochs_done, "from_step": self.step})

    def _metadata(self, score: Score) -> dict[str, str]:
        """Return what the weight file tells of the run."""
        options = self.config.to_dict() | {"precision": self.precision}
        recipe = {key: options[key] for key in options if key not in ("model", "data", "out")}
        if self.init_sha256:
            recipe["init_sha256"] = self.init_sha256
        return weight_metadata(
            self.model_name,
            data=self.train_set.name,
            recipe=json.dumps(recipe),
            epochs=self.config.epochs,
            seed=self.config.seed,
            top1=score.top1,
            class_names=self.class_names,
            data_config=self.data_config,
            git_commit=self.git_commit,
        )

    def _final_model(self) -> nn.Module:
        """Return the net whose weights the run ends with: the averaged one once there is one."""
        if self.average is None or not self.average.n_averaged:
            return self.model
        return self.average.module

    def _top1_after(self, epoch: int) -> float | None:
        every = self.config.eval_every
        last = epoch == self.config.epochs and not self.config.keep_best
        if not every or epoch % every or last:
            return None  # the last epoch's is for finish
        return self._score().top1

    def _score(self) -> Score:
        model = self._final_model()
        if model is not self.model:
            # With the last epoch's augmentation, the nearest to what the net will see.
            batches = self.batches.epoch(self.config.epochs)
            with self._autocast():
                recalibrate(model, (_resized(images, None) for images, _ in batches))
        share_buffers(model, self.processes)
        return self._scored(model, self.watched_set)

    def _scored(self, model: nn.Module, image_set: AnyImageSet) -> Score:
        part = _part_of(image_set, self.processes)
        score = evaluate(model, part, mean=self.data_config["mean"], std=self.data_config["std"])
        return merged(score, self.processes, self.device)

    def _autocast(self) -> AbstractContextManager[object]:
        return autocast(self.device, self.precision)

    def _chosen_precision(self, saved: dict[str, Any] | None) -> str:
        if self.config.precision != "auto":
            return self.config.precision
        if saved is not None:
            return saved["precision"]
        images, _ = next(self.batches.epoch(1))
        chosen, seconds = fastest_precision(self.model, _resized(images, None))
        timed = ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items())
        say(f"precision: {chosen} (a step uncompiled: {timed})")
        return chosen


def _part_of(image_set: AnyImageSet, processes: Processes) -> AnyImageSet:
    """Return this process's share of a set, every n-th image."""
    if processes.count == 1:
        return image_set
    return image_set.part(torch.arange(processes.rank, len(image_set), processes.count))


def _resized(images: Tensor, side: int | None) -> Tensor:
    """Return images ``(B, C, H, W)`` with both sides of ``side`` pixels, in channels-last layout."""
    if side is not None and images.shape[2:] != (side, side):
        images = F.interpolate(images, (side, side), mode="bilinear", antialias=True)
    return images.contiguous(memory_format=torch.channels_last)
