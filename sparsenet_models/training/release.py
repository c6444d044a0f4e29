"""From a finished run to a bundled weight: `python -m sparsenet_models.training.release RUN --data DIR`.

Writes three files into the package's weights folder, named after ``architecture.tag``: the weights (the
matrices in half precision where top-1 keeps within 0.05 points), what the registry reads (JSON) and a
card for people (Markdown). Every figure in them is measured here, on the file as it is written.
"""

from __future__ import annotations

import csv
import hashlib
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import click
from torch import nn

from ..data import ImageSet, load_image_set
from ..evaluate import Score, evaluate
from ..factory import create_model
from ..pretrained import read_metadata
from ..registry import WEIGHTS_DIR
from ..transforms import resolve_data_config
from ..weight_file import save_weights
from .checkpoint import METRICS, WEIGHTS, write_atomically

MOST_LOST_TO_HALF = 0.05
"""In points of top-1; a weight that loses more stays in single precision."""


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--data", required=True, help="The set that the run was trained on.")
@click.option("--machine", required=True, help="What it was trained on, for the card.")
def main(run: Path, data: str, machine: str) -> None:
    """Bundle the weights of the finished run in folder RUN."""
    source = run / WEIGHTS
    metadata = read_metadata(source)
    name = f"{metadata['architecture']}.{metadata['tag']}"
    model = create_model(name, checkpoint_path=source)
    test_set = load_image_set(data, "test", resolve_data_config(model))
    full = _score(model, test_set)

    target = WEIGHTS_DIR / f"{name}.safetensors"
    halved = _halved(model)
    reloaded = create_model(name)
    reloaded.load_state_dict(halved.state_dict())
    half = _score(reloaded, test_set)
    in_half = abs(half.top1 - full.top1) <= MOST_LOST_TO_HALF
    score, stored = (half, halved) if in_half else (full, model)
    metadata = {**metadata, "top1": f"{score.top1:.2f}"}
    write_atomically(target, lambda path: save_weights(stored, path, metadata))

    fields = {
        "file": target.name,
        "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
        "file_size": target.stat().st_size,
        "num_params": sum(parameter.numel() for parameter in model.parameters()),
        "data": metadata["data"],
        "top1": round(score.top1, 2),
        "recipe": metadata["recipe"],
        "epochs": int(metadata["epochs"]),
        "seed": int(metadata["seed"]),
        "library_version": metadata["library_version"],
        "git_commit": metadata["git_commit"],
        "license": metadata["license"],
    }
    card = _card(name, fields, full, half, in_half, _training_seconds(run), machine)
    (WEIGHTS_DIR / f"{name}.json").write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
    (WEIGHTS_DIR / f"{name}.md").write_text(card, encoding="utf-8")
    click.echo(f"{target}: {target.stat().st_size:,} bytes, top-1 {full.top1:.2f}% -> {score.top1:.2f}%")


def _halved(model: nn.Module) -> nn.Module:
    """Return a copy whose matrices and kernels are in half precision; norms and biases stay."""
    copy = deepcopy(model)
    for module in copy.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.ndim > 1:
                parameter.data = parameter.data.half()
    return copy


def _score(model: nn.Module, test_set: ImageSet) -> Score:
    config = resolve_data_config(model)
    return evaluate(model, test_set, mean=config["mean"], std=config["std"])


def _training_seconds(run: Path) -> float:
    with (run / METRICS).open(newline="", encoding="utf-8") as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file))


def _card(
    name: str,
    fields: dict,
    full: Score,
    half: Score,
    in_half: bool,
    seconds: float,
    machine: str,
) -> str:
    score = half if in_half else full
    accuracy = f"**{100 - score.top1:.2f}%** (accuracy {score.top1:.2f}%)"
    stored = "half precision (matrices and kernels), single (the rest)" if in_half else "single precision"
    recipe = json.loads(fields["recipe"])
    averaged = "The weights are the running mean" if recipe["ema_decay"] else "The weights are those"
    every = recipe["eval_every"]
    looks = f"the test images were looked at {f'each {every} epochs' if every else 'once, at the end'}"
    return f"""# {name}

| | |
| --- | --- |
| top-1 error on the {score.count:,} test images of {fields["data"]} | {accuracy} |
| top-5 accuracy, loss | {score.top5:.2f}%, {score.loss:.4f} |
| view | single, 32-bit floating point |
| parameters | {fields["num_params"]:,} |
| stored in | {stored} |
| top-1 accuracy before, in single precision | {full.top1:.2f}% |
| training | {fields["epochs"]} epochs, seed {fields["seed"]}, {seconds / 60:.0f} minutes on {machine} |
| library | sparsenet_models {fields["library_version"]}, commit {fields["git_commit"] or "unknown"} |
| licence | {fields["license"]} |
| sha256 | `{fields["sha256"]}` |

Trained here from random initialisation on all training images. {averaged} of the last epoch;
{looks}, and then once more, for the figure of the file as it is stored. Reproduce it with

    sparsenet validate {name} --data $SPARSENET_DATA/{fields["data"]}

and the training with

    {_command(name, fields["data"], recipe)}
"""


def _command(name: str, data: str, recipe: dict[str, Any]) -> str:
    """Return the command line whose options are those of ``recipe``."""
    words = [
        "sparsenet",
        "train",
        name.partition(".")[0],
        "--data",
        f"$SPARSENET_DATA/{data}",
        "--out",
        "runs/again",
    ]
    for key, value in recipe.items():
        option = f"--{key.replace('_', '-')}"
        if key == "resolution":
            if value:
                words += [option, ",".join(f"{side}:{epochs}" for side, epochs in value)]
        elif key == "compile":
            words.append(option if value else "--no-compile")
        else:
            words += [option, str(value)]
    return " ".join(words)


if __name__ == "__main__":
    main()
