r"""Nets from several weights, fine-tuned on photographs in class folders, with few and with many of them.

    python examples/transfer.py --data flowers --out runs/transfer \
        --net sparsenet121.tiny_imagenet --net sparsenet121

A net with a tag starts from that tag's weights, one without from random ones. Exact copies are left out, a
fifth of each class is set aside by a fixed seed and scored once, after the last epoch. Each seed draws its
own images to learn from. The options are those of the recipe finetune, with TrivialAugment and a rate of
0.02, which were chosen on flowers that are not set aside. No epoch is chosen, as five images leave none to
choose on: the last one counts. A run that is in the folder OUT already is not trained again, so other
photographs or options need another folder.
"""

from __future__ import annotations

import csv
import shutil
import statistics
from pathlib import Path
from typing import Any

import click
import torch

from sparsenet_models import create_model, resolve_data_config
from sparsenet_models.data import load_image_set
from sparsenet_models.data.image_set import AnyImageSet
from sparsenet_models.pretrained import read_metadata
from sparsenet_models.training.config import TrainConfig
from sparsenet_models.training.copies import copies
from sparsenet_models.training.hold_out import hold_out
from sparsenet_models.training.loop import train
from sparsenet_models.training.recipes import recipe_options

TEST_SHARE, TEST_SEED = 0.2, 0
EPOCHS = {5: 60, 20: 40, 0: 8}
"""By the number of images of each class, 0 for all; with fewer images there are more epochs."""

HEADER = ("start", "pixels", "images of each class", "error in %", "minutes", "images/s")


@click.command()
@click.option("--data", required=True, help="Folder with a folder of photographs for each class.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder of runs and of the table."
)
@click.option("--net", "nets", multiple=True, required=True, help="NAME.TAG, or NAME for random weights.")
@click.option("--images", "amounts", multiple=True, default=(5, 20, 0), help="Of each class; 0: all.")
@click.option("--size", "sides", multiple=True, default=(64, 128), help="Side in pixels.")
@click.option("--seeds", default=3, show_default=True, help="Runs for each row of the table.")
def main(
    data: str, out: Path, nets: tuple[str, ...], amounts: tuple[int, ...], sides: tuple[int, ...], seeds: int
) -> None:
    """Fine-tune each net; print the table after each row, and write it to table.md in the folder OUT."""
    for amount in amounts:
        if amount not in EPOCHS:
            raise click.BadParameter(f"--images must be one of {', '.join(map(str, EPOCHS))}, got {amount}")
    photographs = load_image_set(data, "train", resolve_data_config(create_model(nets[0])), loader="stream")
    twins = {index for first, index in copies(photographs, photographs) if first != index}
    left = [index for index in range(len(photographs)) if index not in twins]
    rest, test = hold_out(photographs.part(torch.tensor(left)), TEST_SHARE, TEST_SEED)
    classes = len(photographs.class_names)
    chance = f"{len(test):,} test images of {classes} classes (chance: {100 - 100 / classes:.0f})"
    title = f"Error on {chance}; seeds: {seeds}; copies left out: {len(twins)}."
    lines = [title, "", row(HEADER), row(("---",) * len(HEADER))]
    for amount in amounts:
        for side in sides:
            for net in nets:
                runs = [run(out, net, rest, test, amount, side, seed) for seed in range(seeds)]
                lines.append(row((net, str(side), str(amount or "all"), *means(runs))))
                (out / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
                click.echo("\n".join(lines))


def run(
    out: Path, net: str, rest: AnyImageSet, test: AnyImageSet, amount: int, side: int, seed: int
) -> tuple[float, float, float]:
    """Train once; return the error in percent, the minutes of training, and its images per second."""
    data, name = out / "images" / f"{amount}_{seed}", f"{net}_{side}px_{amount}_{seed}"
    chosen = drawn(rest, amount, seed)
    options: dict[str, Any] = recipe_options("finetune")
    options |= dict(keep_best=False, patience=0, eval_every=0, epochs=EPOCHS[amount])
    options |= dict(lr=0.02, trivial_augment=1.0)
    options |= dict(batch_size=min(options["batch_size"], len(chosen)), size=side, seed=seed)
    if "." not in net:
        options |= dict(pretrained=False, layer_decay=1.0)
    config = TrainConfig(model=net, data=str(data), out=str(out / name), **options)
    weights = out / name / "model.safetensors"
    if not weights.exists():
        write_images(data / "train", chosen)
        write_images(data / "test", test)
    train(config, resume=True)  # of a finished run it only compares the options
    images = len(chosen) // config.batch_size * config.batch_size
    with (out / name / "metrics.csv").open(newline="", encoding="utf-8") as file:
        seconds = [images / float(epoch["images_per_second"]) for epoch in csv.DictReader(file)]
    return (
        100 - float(read_metadata(weights)["top1"]),
        sum(seconds) / 60,
        images * len(seconds) / sum(seconds),
    )


def write_images(folder: Path, part: AnyImageSet) -> None:
    for index, (path, label) in enumerate(zip(part.paths, part.labels.tolist())):
        target = folder / part.class_names[label] / f"{index:05}{Path(path).suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def drawn(rest: AnyImageSet, amount: int, seed: int) -> AnyImageSet:
    """Return ``amount`` images of each class, or all for 0."""
    order = torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))
    classes = range(len(rest.class_names))
    members = [order[rest.labels[order] == label] for label in classes]
    return rest.part(torch.cat([some[: amount or None] for some in members]))


def means(runs: list[tuple[float, float, float]]) -> tuple[str, str, str]:
    """Return the error with its standard deviation, the minutes and the images per second, as text."""
    errors, minutes, speeds = zip(*runs)
    spread = f" ± {statistics.stdev(errors):.1f}" if len(errors) > 1 else ""
    return (
        f"{statistics.mean(errors):.1f}{spread}",
        f"{statistics.mean(minutes):.1f}",
        f"{statistics.mean(speeds):.0f}",
    )


def row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
