"""From a finished run to a bundled weight: `python -m sparsenet_models.training.release RUN --data DIR`.

Writes three files into the package's weights folder, named after ``architecture.tag``: the weights (the
matrices in half precision where top-1 changes by at most 0.05 points), their metadata for the registry (JSON)
and a card for people (Markdown). All metrics are measured here, on the file as it is written. The run's log,
metrics, curves, options and result go to ``docs/runs``, whether or not its weights are bundled.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from torch import nn

from ..analysis.nets import analyze_model
from ..common.files import atomic_write, sha256_of
from ..data.datasets import load_image_set
from ..data.evaluate import Score, evaluate
from ..data.transforms import resolve_data_config
from ..factory import create_model
from ..models.pretrained_cfg import WEIGHTS, PretrainedCfg
from ..models.registry import WEIGHTS_DIR
from ..pretrained.model_card import IMAGE_TERMS, scored_images
from ..pretrained.weight_file import TEST_IMAGES, read_metadata, save_weights
from .inputs import HELD_OUT_SHARE
from .run_folder import CURVES, METRICS, OPTIONS, options_file

MOST_LOST_TO_HALF = 0.05
"""Points of top-1; weights that lose more in half precision stay in single precision."""

RUNS_DIR = WEIGHTS_DIR.parent.parent / "docs" / "runs"


@dataclass(frozen=True)
class Stored:
    """A net as its file will hold it, and what was measured on it."""

    net: nn.Module
    metadata: dict[str, str]
    score: Score
    with_flips: Score
    """The score with the logits of mirror images averaged in."""

    full_top1: float
    """Top-1 on the same images in single precision."""

    in_half: bool
    data_config: dict[str, Any]
    """The keys of its image configuration that differ from the tag's."""


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--data", required=True, help="The data that the run was trained on.")
@click.option("--machine", required=True, help="The machine that it was trained on, for the card.")
@click.option("--log", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--bundle/--no-bundle", default=True, help="Whether its weights become those of its tag.")
@click.option("--tag", help="For a variant of the tag, such as cifar100_kd for a distilled one.")
@click.option("--replace", is_flag=True, help="Replace the weights that the tag has; before a release only.")
@click.option(
    "--epochs-before", default=0, help="Epochs of the weights that the run started from, for the table."
)
@click.option("--before", default="", help="Training of the weights that the run started from, for the card.")
def main(
    run: Path,
    data: str,
    machine: str,
    log: Path,
    bundle: bool,
    tag: str | None,
    replace: bool,
    epochs_before: int,
    before: str,
) -> None:
    """Bundle the weights of the finished run in folder RUN, whose output is in the file LOG."""
    for file in (METRICS, CURVES):
        if not (run / file).is_file():
            raise click.ClickException(f"{run} has no {file}: finish the run, with matplotlib installed")
    evidence = _evidence(run, log, Path(data))
    processes = _processes(evidence[OPTIONS])
    metadata = read_metadata(run / WEIGHTS)
    name = _name_to_release(metadata, tag, overwrite=replace or not bundle)
    target = (WEIGHTS_DIR if bundle else run) / f"{name}.safetensors"
    if epochs_before:
        metadata["epochs_before"] = str(epochs_before)
    stored = _stored(run / WEIGHTS, metadata, name, data)
    score = stored.score
    measured = {
        **_costs(metadata, stored.data_config.get("input_size")),
        "data": metadata["data"],
        "top1": round(score.top1, 2),
        "top5": round(score.top5, 2),
        "loss": round(score.loss, 4),
        "recipe": metadata["recipe"],
        "epochs": int(metadata["epochs"]),
        **({"epochs_before": epochs_before} if epochs_before else {}),
        "seed": int(metadata["seed"]),
        "train_seconds": round(_training_seconds(run), 1),
        "machine": machine,
        "library_version": metadata["library_version"],
        "git_commit": metadata["git_commit"],
        "license": metadata["license"],
        **stored.data_config,
    }
    watched = metadata.get("scored_on", TEST_IMAGES)
    about = [WEIGHTS_DIR / f"{name}.{ending}" for ending in ("json", "md")] if bundle else []
    with atomic_write(target, *about) as (weights, *about_weights):  # an error leaves all as they were
        save_weights(stored.net, weights, stored.metadata)
        size = weights.stat().st_size
        fields = {"file": target.name, "sha256": sha256_of(weights), "file_size": size, **measured}
        if bundle:
            texts = (_json(fields), _card(name, fields, stored, watched, before, processes))
            for path, text in zip(about_weights, texts, strict=True):
                path.write_text(text, encoding="utf-8")
    result = fields | {"top1_with_flips": round(stored.with_flips.top1, 2)}
    _record(run, evidence | {"result.json": _json(result)}, RUNS_DIR / name / run.name)
    click.echo(
        f"{target}: {target.stat().st_size:,} bytes, top-1 {stored.full_top1:.2f}% -> {score.top1:.2f}%"
    )


def _name_to_release(metadata: dict[str, str], tag: str | None, overwrite: bool) -> str:
    """Return ``architecture.tag`` of the released weights, once it is clear that they may be written."""
    if tag is not None and not f"{tag}_".startswith(f"{metadata['tag']}_"):
        raise click.ClickException(f"--tag of this run must be {metadata['tag']}_..., got {tag!r}")
    name = f"{metadata['architecture']}.{tag or metadata['tag']}"
    if not overwrite and (WEIGHTS_DIR / f"{name}.json").exists():
        raise click.ClickException(
            f"{name} has weights: give --tag for a variant, --no-bundle, or --replace before a release"
        )
    return name


def _stored(source: Path, metadata: dict[str, str], name: str, data: str) -> Stored:
    """Return the net of a run as it is written, in half precision where that costs little accuracy."""
    trained_as = f"{metadata['architecture']}.{metadata['tag']}"
    model = create_model(trained_as, checkpoint_path=source)
    data_config = resolve_data_config(model)
    test_set = load_image_set(data, "test", data_config)

    def score_of(net: nn.Module, flip: bool = False) -> Score:
        return evaluate(net, test_set, mean=data_config["mean"], std=data_config["std"], flip=flip)

    halved = _halved(model)
    reloaded = create_model(trained_as)
    reloaded.load_state_dict(halved.state_dict())
    scored, written = reloaded, halved
    score = score_of(scored)
    is_scored = metadata.get("scored_on", TEST_IMAGES) == TEST_IMAGES
    full_top1 = float(metadata["top1"]) if is_scored else score_of(model).top1
    in_half = abs(score.top1 - full_top1) <= MOST_LOST_TO_HALF
    if not in_half:
        scored = written = model
        score = score_of(scored)
    tag = name.partition(".")[2]
    metadata = metadata | {"tag": tag, "top1": f"{score.top1:.2f}", "scored_on": TEST_IMAGES}
    default = resolve_data_config(create_model(trained_as, device="meta"))
    changed = {key: value for key, value in data_config.items() if value != default[key]}
    with_flips = score_of(scored, flip=True)
    return Stored(written, metadata, score, with_flips, full_top1, in_half, changed)


def _costs(metadata: dict[str, str], input_size: tuple[int, int, int] | None) -> dict[str, Any]:
    """Return parameters and multiply-adds, for images of ``input_size`` or, with None, of the tag's."""
    costs = analyze_model(f"{metadata['architecture']}.{metadata['tag']}", input_size).costs
    assert costs is not None, "only rules have no costs"
    return {"num_params": costs.parameters, "macs": costs.macs}


def _json(fields: dict[str, Any]) -> str:
    return json.dumps(fields, indent=2) + "\n"


def _evidence(run: Path, log: Path, data: Path) -> dict[str, str]:
    """Return the options and the output of a run, by the names of their files in its record."""
    sources = {OPTIONS: options_file(run), "log.txt": log}
    return {name: _without_folders(source, run, data) for name, source in sources.items()}


def _record(run: Path, texts: dict[str, str], record: Path) -> None:
    """Write the files of a run that show how its weights came about."""
    record.mkdir(parents=True, exist_ok=True)
    for file in (METRICS, CURVES):
        shutil.copy(run / file, record / file)
    for file, text in texts.items():
        (record / file).write_text(text, encoding="utf-8")


def _without_folders(text: Path, run: Path, data: Path) -> str:
    """Return a file's text with its folders shortened, without torch's warnings and progress bars."""
    lines = [line.rpartition("\r")[2] for line in text.read_text(encoding="utf-8").splitlines()]
    kept = "".join(
        f"{line}\n" for line in lines if line and not re.match(r"W\d{4} |Generating \w+ split", line)
    )
    shortened = {run: "runs", data: "$SPARSENET_DATA"}
    parents = {
        spelt: short for path, short in shortened.items() for spelt in (path.resolve(), path.absolute())
    }
    for path in sorted(parents, key=lambda path: len(path.parts), reverse=True):  # one may lie in the other
        kept = kept.replace(f"{path.parent}/", f"{parents[path]}/")
    return kept


def _halved(model: nn.Module) -> nn.Module:
    """Return a copy whose matrices and kernels are in half precision; norms and biases stay."""
    copy = deepcopy(model)
    for module in copy.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.ndim > 1:
                parameter.data = parameter.data.half()
    return copy


def _training_seconds(run: Path) -> float:
    with (run / METRICS).open(newline="", encoding="utf-8") as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file))


def _processes(options: str) -> int:
    """Return how many processes trained together, at most; the oldest runs do not say, and had one."""
    environments = json.loads(options).get("environments", ())
    return max((environment["processes"] for environment in environments), default=1)


def _card(
    name: str, fields: dict[str, Any], result: Stored, watched: str, before: str, processes: int
) -> str:
    """Return the card of a weight; ``watched`` says on which images the run scored its epochs."""
    score = result.score
    accuracy = f"**{100 - score.top1:.2f}%** (accuracy {score.top1:.2f}%)"
    halves = "half precision (matrices and kernels), single (the rest)"
    stored = halves if result.in_half else "single precision"
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
| top-1 accuracy before, in single precision | {result.full_top1:.2f}% |
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


if __name__ == "__main__":
    main()
