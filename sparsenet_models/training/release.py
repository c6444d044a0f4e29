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
from ..data.run_files import CURVES, METRICS, OPTIONS
from ..data.transforms import resolve_data_config
from ..factory import create_model
from ..models.pretrained_cfg import WEIGHTS
from ..models.registry import WEIGHTS_DIR
from ..pretrained.weight_file import TEST_IMAGES, read_metadata, save_weights
from .release_card import weight_card
from .run_folder import options_file

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
    name = _name_to_release(run, metadata, tag, overwrite=replace or not bundle)
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
    record = RUNS_DIR / name / run.name
    record.mkdir(parents=True, exist_ok=True)
    recorded = [record / file for file in (*evidence, "result.json")]
    with atomic_write(target, *about, *recorded) as (weights, *others):  # an error leaves all as they were
        save_weights(stored.net, weights, stored.metadata)
        size = weights.stat().st_size
        fields = {"file": target.name, "sha256": sha256_of(weights), "file_size": size, **measured}
        contents = [*evidence.values(), _json(fields | {"top1_with_flips": round(stored.with_flips.top1, 2)})]
        if bundle:
            card = weight_card(
                name, fields, score, stored.full_top1, stored.in_half, watched, before, processes
            )
            contents = [_json(fields), card.encode(), *contents]
        for path, content in zip(others, contents, strict=True):
            path.write_bytes(content)
    click.echo(
        f"{target}: {target.stat().st_size:,} bytes, top-1 {stored.full_top1:.2f}% -> {score.top1:.2f}%"
    )


def _name_to_release(run: Path, metadata: dict[str, str], tag: str | None, overwrite: bool) -> str:
    """Return ``architecture.tag`` of the released weights, once it is clear that they may be written."""
    if not {"architecture", "tag", "recipe"} <= metadata.keys():
        raise click.ClickException(f"{run / WEIGHTS} was not written by sparsenet train")
    if not metadata["tag"]:
        raise click.ClickException(
            f"{run} has classes of its own, for which {metadata['architecture']} has no tag: share its "
            "weights by save_pretrained or push_to_hub"
        )
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


def _json(fields: dict[str, Any]) -> bytes:
    return f"{json.dumps(fields, indent=2)}\n".encode()


def _evidence(run: Path, log: Path, data: Path) -> dict[str, bytes]:
    """Return the files of a run that show how its weights came about, by their names in its record."""
    texts = {OPTIONS: options_file(run), "log.txt": log}
    shortened = {name: _without_folders(source, run, data).encode() for name, source in texts.items()}
    return shortened | {name: (run / name).read_bytes() for name in (METRICS, CURVES)}


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


def _processes(options: bytes) -> int:
    """Return how many processes trained together, at most; the oldest runs do not say, and had one."""
    environments = json.loads(options).get("environments", ())
    return max((environment["processes"] for environment in environments), default=1)


if __name__ == "__main__":
    main()
