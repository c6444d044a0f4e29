"""What a run finds in its folder: nothing, a checkpoint to continue from, or finished weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.run_files import LOCK
from ..models.pretrained_cfg import WEIGHTS
from .config import MAY_CHANGE_ON_RESUME, TrainConfig
from .fingerprint import difference
from .inputs import open_inputs
from .progress import say
from .run_folder import load_checkpoint_state, options_file


def checkpoint_to_resume(folder: Path, config: TrainConfig, resume: bool) -> dict[str, Any] | None:
    """Return the checkpoint to continue from, None for a new run or one that is finished.

    Raises:
        ValueError: the folder is in use, the checkpoint is damaged, or the folder's run has other options.
    """
    if not resume:
        if any(path.name != LOCK for path in folder.iterdir()):
            raise ValueError(f"out is not empty: {folder}; pass --resume to continue the run in it")
        return None
    checkpoint = load_checkpoint_state(folder)
    if checkpoint is not None:
        check_same_options(checkpoint["config"], config, folder)
    elif not (folder / WEIGHTS).exists():
        say(f"no checkpoint in {folder}: starting afresh")
    return checkpoint


def is_finished(folder: Path, config: TrainConfig, checkpoint: Mapping[str, Any] | None) -> bool:
    """Return whether the folder has the weights of the run that ``config`` describes.

    Raises:
        ValueError: it has those of another run; the message names the option that differs.
        OSError: the images cannot be read; they are only read where ``data`` names another folder.
    """
    if not (folder / WEIGHTS).exists():
        return False
    if checkpoint is None:
        checkpoint = {"config": _written_options(folder)}
        check_same_options(checkpoint["config"], config, folder)
    if not _is_same_place(checkpoint["config"]["data"], config.data):
        check_same_images(checkpoint, config, open_inputs(config).fingerprint)
    return True


def check_same_options(begun_with: Mapping[str, Any], config: TrainConfig, folder: Path) -> None:
    """Raise a ValueError that names the first option with which the run in ``folder`` cannot go on.

    ``data`` may be spelt anew: the images themselves are compared, see ``check_same_images``.
    """
    old = {**TrainConfig.defaults(), **begun_with}  # an option newer than the run had its default
    for key, value in config.to_dict().items():
        if key not in MAY_CHANGE_ON_RESUME and old[key] != value:
            raise ValueError(
                f"{key} was {old[key]!r} when the run in {folder} began, now it is {value!r}; a resumed "
                "run keeps its options (start a new one from its weights with --init-from)"
            )


def check_same_images(checkpoint: Mapping[str, Any], config: TrainConfig, now: Mapping[str, Any]) -> None:
    """Raise a ValueError that says how images or soft labels differ from those that the run began with.

    Args:
        checkpoint: of the run; an older one has no fingerprint, so that its folder must still be the same.
        config: the options of the resumed run.
        now: the fingerprint of its images.
    """
    before = checkpoint.get("images")
    if before is None:
        began = checkpoint["config"]["data"]
        if not _is_same_place(began, config.data):
            raise ValueError(
                f"data was {began!r} when the run in {config.out} began, now it is {config.data!r}; a run as "
                "old as that one cannot compare the images, so give the same folder"
            )
        return
    different = difference(before, now)
    if different:
        raise ValueError(
            f"{config.data} has other images than those that the run in {config.out} began with: "
            f"{different}; give the same images, or start a new run from its weights with --init-from"
        )
    if before.get("soft_labels_sha256") != now.get("soft_labels_sha256"):
        raise ValueError(
            f"soft_labels {config.soft_labels} has other contents than when the run in {config.out} began; "
            "give the same file, or start a new run from its weights with --init-from"
        )


def _is_same_place(one: str, other: str) -> bool:
    """Return whether two values of ``data`` are the same name, or paths of the same folder."""
    return one == other or Path(one).expanduser().resolve() == Path(other).expanduser().resolve()


def last_checkpoint(folder: Path) -> str:
    """Say which checkpoint a stopped run can continue from."""
    checkpoint = load_checkpoint_state(folder)
    if checkpoint is None:
        return "there is no checkpoint yet"
    epoch, step = len(checkpoint["metrics"]), checkpoint["step"]
    place = f"epoch {epoch}" if not step else f"step {step} of epoch {epoch + 1}"
    return f"the checkpoint after {place} is kept; continue with the same command and --resume"


def _written_options(folder: Path) -> dict[str, Any]:
    """Return the options that a run wrote into its folder.

    Raises:
        ValueError: there are none; the weights are not those of a run.
    """
    path = options_file(folder)
    try:
        options = json.loads(path.read_text(encoding="utf-8"))
        return {key: options[key] for key in ("model", "data", "out")} | options
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder} holds {WEIGHTS} but no options of a run ({path.name}) to compare with: "
            "give another folder"
        ) from error
