"""The training loop, from new weights or a checkpoint to a weight file."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..analysis.metrics import Scoring
from ..common.files import atomic_write, local_path
from ..common.messages import duration
from ..data.answers import NotFinite
from ..data.evaluate import Score
from ..data.run_files import OPTIONS
from ..models.pretrained_cfg import WEIGHTS
from ..pretrained.weight_file import save_weights, weight_bytes
from .agreement import Agreement
from .batches import TrainingBatches
from .build import check_batch_norm, check_net_for_graphs, check_place_for_graphs, new_net, start_from
from .config import TrainConfig
from .copies import write_copies
from .distill import Teacher
from .distributed import Processes, from_first, joined_processes, restarts, summed
from .environment import changes, environment, git_commit
from .estimate import FIRST_STEPS, epochs_left, seconds_per_step
from .execution import Execution
from .inputs import open_inputs
from .interrupt import StopRequest, stop_on_signal
from .muon import require_muon
from .progress import say, tracked
from .record import Record
from .report import EpochReport, weights_metadata
from .resume import check_same_images, checkpoint_to_resume, is_finished, last_checkpoint
from .run_folder import remove_leftovers, save_checkpoint, write_metrics, write_options, write_pictures
from .run_lock import locked
from .schedule import learning_rate
from .scoring import Scorer
from .state import TrainingState
from .step import TrainingStep, balanced_weights


class TrainingStopped(RuntimeError):
    """The run cannot continue; the message says why, and the last checkpoint is kept."""


def train(config: TrainConfig, resume: bool = False) -> Path:
    """Run a training to its end and return the path of its weights.

    The folder ``config.out`` then holds ``model.safetensors``, ``metrics.csv`` (a row for each epoch),
    ``run.json`` (the options), the last checkpoint and, where matplotlib is installed, ``curves.png`` and
    ``confusion.png``; ``copies.csv``, where there are any, lists the scored images that are also learnt from.
    Under torchrun the processes share every batch, and the first one writes.

    Args:
        config: the options.
        resume: continue from the last checkpoint in ``config.out``; start afresh where there is none. A
            process that torchrun restarted resumes the run that it finds.

    Raises:
        ValueError: an option does not fit the data, the net or the run that is resumed.
        OSError: the data cannot be read, or the folder cannot be written.
        TrainingStopped: the loss is no longer finite, the run was interrupted, the disk or the memory of the
            GPU is full, or the data were removed.
    """
    folder = local_path(config.out)
    resume = resume or (restarts() > 0 and (folder / OPTIONS).is_file())
    with (
        joined_processes(config.device) as (processes, device),
        stop_on_signal(tells=processes.is_first) as stop,
        locked(folder) if processes.is_first else nullcontext(),
    ):
        checkpoint = checkpoint_to_resume(folder, config, resume) if processes.is_first else None
        checkpoint = from_first(checkpoint, processes)
        if from_first(processes.is_first and resume and is_finished(folder, config, checkpoint), processes):
            say(f"{folder} is finished: {folder / WEIGHTS}")
            return folder / WEIGHTS
        try:
            run = _Run(config, checkpoint, processes, device, stop)
        except torch.cuda.OutOfMemoryError as error:
            raise _out_of_memory(folder) from error
        except KeyboardInterrupt as error:
            raise TrainingStopped(f"interrupted; {last_checkpoint(folder)}") from error
        if processes.is_first:
            remove_leftovers(folder)
            run.write_beginning()
        try:
            while run.record.epochs_done < config.epochs and not run.record.is_stuck(config.patience):
                run.train_epoch(run.record.epochs_done + 1)
            return run.finish()
        except OSError as error:
            run.keep_steps()
            reason = "interrupted" if stop.made else str(error)  # the signal may have ended data workers too
            raise TrainingStopped(f"{reason}; {last_checkpoint(folder)}") from error
        except torch.cuda.OutOfMemoryError as error:  # the step may be half done, so nothing is saved
            raise _out_of_memory(folder) from error
        except KeyboardInterrupt as error:
            raise TrainingStopped(f"interrupted; {last_checkpoint(folder)}") from error


def _out_of_memory(folder: Path) -> TrainingStopped:
    return TrainingStopped(
        "the GPU has too little memory left: free some, or start a new run with --accumulate 2 or a smaller "
        f"--batch-size; {last_checkpoint(folder)}"
    )


class _Run:
    """A run from new weights, or from a checkpoint, to its weight file."""

    def __init__(
        self,
        config: TrainConfig,
        checkpoint: dict[str, Any] | None,
        processes: Processes,
        device: torch.device,
        stop: StopRequest,
    ) -> None:
        self.config, self.processes, self.device, self.stop = config, processes, device, stop
        self.folder = local_path(config.out)
        self.agreement = Agreement(processes, device)
        if config.cuda_graphs:
            check_place_for_graphs(processes, device)
        if config.optimizer == "muon":
            require_muon()
        self.inputs = open_inputs(config)
        if checkpoint is not None:
            check_same_images(checkpoint, config, self.inputs.fingerprint)
        model = new_net(config, self.inputs)
        if config.cuda_graphs:
            check_net_for_graphs(model, self.inputs.input_size)
        if checkpoint is None:
            self.record = self._new_record(model)
        else:
            self.record = Record.from_state_dict(checkpoint, device)
        weight_bytes(model, {})  # a net that cannot be written is not trained for hours
        model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.state = TrainingState(model, config)
        normalisation = self.inputs.mean_and_std
        self.batches = TrainingBatches(
            self.inputs.train_set, config, **normalisation, device=device, processes=processes
        )
        channels, _, own_side = self.inputs.input_size
        sides = dict(config.sides_and_epochs(own_side))  # each once
        check_batch_norm(model, self.batches.images_at_a_time, sides, channels)
        self.scorer = Scorer(self.inputs, self.batches, processes, device)
        teacher = None
        if config.distill:
            teacher = Teacher(config.distill, self.inputs.class_names, **normalisation, device=device)
        execution = Execution(model, config, self.batches, self.inputs.input_size, processes, device)
        self.compiled_sides = execution.choose(self.record)
        if checkpoint is not None:
            self.state.load_state_dict(checkpoint)
            within = f", step {self.record.step} of the next" if self.record.step else ""
            say(f"resuming after epoch {self.record.epochs_done}{within}")
        self.began_after = self.record.epochs_done + self.record.step / len(self.batches)
        self.told_cost = False
        self._record_environment()
        self.training_step = TrainingStep(
            self.state,
            execution.forward_at(self.compiled_sides, self.record.precision),
            teacher,
            self._class_weights(),
            config,
            self.record.precision,
            processes.rank,
            device,
        )
        self._nothing_to_lose()
        together = f", {processes.count} processes" if processes.count > 1 else ""
        say(
            f"{self.inputs.model_name} on {device}: {config.epochs} epochs of {len(self.batches)} steps, "
            f"{self.record.precision}{together}"
        )

    def write_beginning(self) -> None:
        """Write ``run.json``, ``copies.csv`` if there are copies, and the rows of a run that goes on."""
        self._write_options({})
        if self.inputs.copies:
            write_copies(self.folder, self.inputs.copies)
        if self.record.rows:
            write_metrics(self.folder, self.record.rows)

    def train_epoch(self, epoch: int) -> None:
        """Train an epoch, or the rest of it; add its row to ``metrics.csv`` and write a checkpoint."""
        self._train_steps(epoch)
        loss = summed(self.record.loss, self.processes).item() / len(self.batches) / self.processes.count
        self._stop_unless_finite(loss)
        top1 = self._top1_after(epoch)
        best = self.record.best
        if self.config.keep_best and top1 is not None and (best is None or top1 > best["top1"]):
            weights = self.state.final_model.state_dict()
            copied = {name: tensor.cpu().clone() for name, tensor in weights.items()}
            self.record.best = {"epoch": epoch, "top1": top1, "state": copied}
        report = self._report(epoch, loss, top1)
        line = report.line(self.config.epochs, report.seconds * self._epochs_left(epoch, epoch))
        self.record.end_epoch(report.row())
        self._save()
        if self.processes.is_first:
            write_metrics(self.folder, self.record.rows)
        say(line)
        stuck = self.record.is_stuck(self.config.patience)
        if stuck:
            say(f"stopping: no score has been better in {self.config.patience} scored epochs")
        elif epoch < self.config.epochs and self.agreement.is_any(self.stop.made, at_end=True):
            raise self._interrupted()

    def keep_steps(self) -> None:
        """Save the steps since the last checkpoint, where the disk takes them."""
        if self.record.step:
            with suppress(OSError):
                self._save()

    def finish(self) -> Path:
        """Score the final net; write its weights, the last row and the pictures; return the weight file."""
        model, best = self.state.final_model, self.record.best
        if best is None:
            score = self._watched_score()
            self.record.rows[-1]["top1"] = f"{score.top1:.2f}"
        else:
            say(f"the best epoch was {best['epoch']}")
            model.load_state_dict(best["state"])
            score = self._finite(lambda: self.scorer.test(model))
        weights = self.folder / WEIGHTS
        if self.processes.is_first:
            write_metrics(self.folder, self.record.rows)
            scoring = Scoring(self.inputs.watched_images, None if best is None else best["epoch"])
            self._write_options({"scored_on": scoring.images, "kept_epoch": scoring.kept_epoch})
            names, images = self.inputs.class_names, self._scored_on().partition(",")[0]
            write_pictures(self.folder, score.confusion, names, images, scoring)
            with atomic_write(weights) as (path,):
                metadata = weights_metadata(
                    self.config, self.inputs, self.record, score.top1, self._scored_on()
                )
                save_weights(model, path, metadata)
        say(f"top-1 {score.top1:.2f}% (error {100 - score.top1:.2f}%) of {score.count:,} {self._scored_on()}")
        say(f"weights: {weights}")
        return weights

    def _write_options(self, result: dict[str, Any]) -> None:
        environments = {"environments": self.record.environments}
        write_options(self.folder, self.config.to_dict() | result | environments)

    def _new_record(self, model: nn.Module) -> Record:
        """Return the record of a new run, once ``model`` has the weights that the run starts from."""
        source = self.config.model if self.config.pretrained else self.config.init_from
        sha256 = start_from(source, model, self.inputs.class_names) if source else ""
        return Record(git_commit(), sha256, torch.zeros((), device=self.device))

    def _record_environment(self) -> None:
        now = environment(
            self.config, self.record.precision, self.compiled_sides, self.processes, self.device
        )
        environments = self.record.environments
        if environments:
            different = changes(environments[-1], now)
            if not different:
                return
            say(f"the environment has changed, so the last digits may differ: {different}")
        environments.append(now | {"from_epoch": self.record.epochs_done, "from_step": self.record.step})

    def _class_weights(self) -> Tensor | None:
        if not self.config.class_weights:
            return None
        labels, classes = self.inputs.train_set.labels, len(self.inputs.class_names)
        return balanced_weights(labels, classes).to(self.device)

    def _train_steps(self, epoch: int) -> None:
        """Train the steps of an epoch that are left, with checkpoints in between."""
        record, steps = self.record, len(self.batches)
        self.agreement.begin_epoch()
        self.state.model.train()
        side = self.config.side_in(epoch)
        first = (epoch - 1) * steps
        averaging_from = self.config.ema_start * steps * self.config.epochs
        times = [time.perf_counter()]
        start = times[0] - record.seconds
        title = f"epoch {epoch}/{self.config.epochs}"
        batches = self.batches.epoch(epoch, record.step)
        for images, labels in tracked(batches, steps, record.step, self.batches.batch_size, title):
            number = first + record.step
            record.loss += self.training_step(images, labels, side, self._rate(number), number)
            if self.state.average is not None and number >= averaging_from:
                self.state.average.update_parameters(self.state.model)
            self.stop.at_once = False
            record.step += 1
            record.seconds = time.perf_counter() - start
            if not self.told_cost:
                record.loss.item()  # waits for the device
                times.append(time.perf_counter())
                self._tell_cost(times, epoch)
            if record.step < steps:
                self._save_if_due()

    def _tell_cost(self, times: list[float], epoch: int) -> None:
        """After a few steps, say how long the run takes."""
        if len(times) <= FIRST_STEPS and self.record.step < len(self.batches):
            return
        self.told_cost = True
        seconds = seconds_per_step(times)
        left = seconds * len(self.batches) * self._epochs_left(self.began_after, epoch)
        rest = "the rest of " if self.began_after else ""
        speed = self.batches.batch_size / seconds
        say(
            f"about {duration(left)} for {rest}{self.config.epochs} epochs on this machine "
            f"({speed:,.0f} images/s); Ctrl-C keeps the steps done, --resume goes on"
        )

    def _rate(self, step: int) -> float:
        total = len(self.batches) * self.config.epochs
        return learning_rate(step, total, self.config.lr, self.config.warmup, self.config.schedule)

    def _report(self, epoch: int, loss: float, top1: float | None) -> EpochReport:
        steps, seconds = len(self.batches), self.record.seconds
        speed = steps * self.batches.batch_size / seconds
        return EpochReport(epoch, loss, self._rate(epoch * steps - 1), seconds, speed, top1)

    def _epochs_left(self, done: float, epoch: int) -> float:
        """Return the epochs after ``done``, in epochs that take as long as ``epoch``."""
        return epochs_left(self.config, self.inputs.input_size[-1], done, self.config.side_in(epoch))

    def _top1_after(self, epoch: int) -> float | None:
        every = self.config.eval_every
        if not every or epoch % every:
            return None
        if epoch == self.config.epochs and not self.config.keep_best:
            return None  # finish scores the last epoch
        return self._watched_score().top1

    def _watched_score(self) -> Score:
        return self._finite(lambda: self.scorer.watched(self.state, self.record.precision))

    def _finite(self, score: Callable[[], Score]) -> Score:
        try:
            return score()
        except NotFinite as error:
            raise TrainingStopped(
                f"{error}; a lower --lr than {self.config.lr} may help; {last_checkpoint(self.folder)}"
            ) from error

    def _scored_on(self) -> str:
        """Return what kind of images the final net is scored on."""
        if self.record.best is None:
            ended = self.record.epochs_done < self.config.epochs  # by patience
            return self.inputs.watched_images + (", which ended the run" if ended else "")
        if self.inputs.test_set is self.inputs.watched_set:
            return f"{self.inputs.watched_images}, on which the epoch was chosen"
        return "test images"

    def _save_if_due(self) -> None:
        """Within an epoch: save and stop after a signal, save after ``checkpoint_minutes``."""
        if self.agreement.is_any(self.stop.made):
            self._save()
            raise self._interrupted()
        waited = time.monotonic() - self.saved_at
        if self.config.checkpoint_minutes and waited >= 60 * self.config.checkpoint_minutes:
            self._save()

    def _interrupted(self) -> TrainingStopped:
        # The others may come here before the first process has saved, or have no such folder.
        kept = "the first process says which checkpoint is kept"
        return TrainingStopped(
            f"interrupted; {last_checkpoint(self.folder) if self.processes.is_first else kept}"
        )

    def _save(self) -> None:
        self._stop_unless_finite(self.record.loss.item())
        if self.processes.is_first:
            options = {"config": self.config.to_dict(), "images": self.inputs.fingerprint}
            save_checkpoint(self.folder, options | self.record.state_dict() | self.state.state_dict())
        self._nothing_to_lose()

    def _nothing_to_lose(self) -> None:
        """Until the next step ends, a signal may stop the run at once."""
        self.saved_at = time.monotonic()
        # Of several processes one would leave the others waiting.
        self.stop.at_once = self.processes.count == 1

    def _stop_unless_finite(self, loss: float) -> None:
        if not (math.isfinite(loss) and self.state.is_finite()):
            raise TrainingStopped(
                f"the loss or the weights are no longer finite in epoch {self.record.epochs_done + 1} "
                f"(loss {loss}); a lower --lr than {self.config.lr} may help; {last_checkpoint(self.folder)}"
            )
