"""The card of a released weight, for people: what was measured, and how to repeat it."""

from __future__ import annotations

import json
from typing import Any

from ..data.evaluate import Score
from ..models.pretrained_cfg import PretrainedCfg
from ..pretrained.model_card import IMAGE_TERMS, scored_images
from .inputs import HELD_OUT_SHARE


def weight_card(
    name: str,
    fields: dict[str, Any],
    score: Score,
    full_top1: float,
    in_half: bool,
    watched: str,
    before: str,
    processes: int,
) -> str:
    """Return the card of a released weight.

    Args:
        name: its ``architecture.tag``.
        fields: what the registry is told of it.
        score: of the file as it is written.
        full_top1: top-1 on the same images in single precision.
        in_half: whether the file is in half precision.
        watched: the images on which the run scored its epochs.
        before: training of the weights that the run started from, "" for none.
        processes: that trained together.
    """
    accuracy = f"**{100 - score.top1:.2f}%** (accuracy {score.top1:.2f}%)"
    halves = "half precision (matrices and kernels), single (the rest)"
    stored = halves if in_half else "single precision"
    recipe = json.loads(fields["recipe"])
    averaged = "The weights are the running mean" if recipe["ema_decay"] else "The weights are those"
    epoch = "the epoch that scored best" if recipe.get("keep_best") else "the last epoch"
    every = recipe["eval_every"]
    images = scored_images(fields["data"])
    on_others = watched.startswith("held-out")
    looked = f"every {every} epochs" if every and not on_others else "once, at the end"
    looks = f"the {images} were scored {looked}"
    terms = f"| training images | {IMAGE_TERMS[fields['data']]} |\n" if fields["data"] in IMAGE_TERMS else ""
    minutes = f"{fields['train_seconds'] / 60:.0f} minutes on {fields['machine']}"
    launcher = f"`torchrun --nproc-per-node {processes} -m sparsenet_models` in place of `sparsenet`"
    together = f", in {processes} processes ({launcher})," if processes > 1 else ""
    return f"""# {name}

| | |
| --- | --- |
| top-1 error on the {score.count:,} {images} of {fields["data"]} | {accuracy} |
| top-5 accuracy, loss | {score.top5:.2f}%, {score.loss:.4f} |
| view | single, 32-bit floating point |
| parameters, multiply-adds of an image | {fields["num_params"]:,}, {fields["macs"]:,} |
| stored in | {stored} |
| top-1 accuracy before, in single precision | {full_top1:.2f}% |
| training | {PretrainedCfg(**fields).epochs_text} epochs, seed {fields["seed"]}, {minutes} |
| library | sparsenet_models {fields["library_version"]}, commit {fields["git_commit"] or "unknown"} |
| licence | {fields["license"]} |
{terms}| sha256 | `{fields["sha256"]}` |

Trained here {_start(recipe, on_others, before)}. {averaged} of {epoch};
{looks}, and again to measure the stored file, without and with mirror images. Measure it again with

    sparsenet validate {name} --data {_place(fields["data"])}

and, with the library at the commit above, repeat the training{together} with

    {_command(name, fields["data"], recipe)}
"""


def _start(recipe: dict[str, Any], on_others: bool, before: str) -> str:
    earlier = f" ({before})" if before else ""
    if recipe.get("pretrained"):
        source = f"the pretrained weights {recipe['model']}{earlier}, sha256 `{recipe['init_sha256']}`,"
    elif recipe.get("init_from"):
        source = f"the weights {recipe['init_from']}{earlier}, sha256 `{recipe['init_sha256']}`,"
    else:
        source = "random initialisation"
    share = recipe.get("validation") or HELD_OUT_SHARE
    held_out = f" but {share:.0%} of each class" if on_others else ""
    taught = f", with {recipe['distill']} as the teacher" if recipe.get("distill") else ""
    if recipe.get("soft_labels"):
        taught = f", with soft labels, sha256 `{recipe['soft_labels_sha256']}`"
    return f"from {source} on all training images{held_out}{taught}"


def _place(data: str) -> str:
    """Return what ``--data`` takes for a set: CIFAR's folders are in ``$SPARSENET_DATA``."""
    return data if data in ("imagenette", "tiny-imagenet") else f"$SPARSENET_DATA/{data}"


def _command(name: str, data: str, recipe: dict[str, Any]) -> str:
    """Return the command line that trains ``name`` with the options in ``recipe``."""
    model = recipe.get("model", name.partition(".")[0])
    words = ["sparsenet", "train", model, "--data", _place(data), "--out", "runs/again"]
    for key, value in recipe.items():
        if key == "model":
            continue
        option = f"--{key.replace('_', '-')}"
        if key == "resolution":
            value = ",".join(f"{side}:{epochs}" for side, epochs in value)
        if isinstance(value, bool):
            words.append(option if value else f"--no-{option[2:]}")
        elif value != "" and not key.endswith("_sha256"):
            words += [option, str(value)]
    return " ".join(words)
