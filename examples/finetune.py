"""Fine-tune from CIFAR-10 to 20 classes of CIFAR-100, beside random initialisation on the same budget.

    pip install ".[training,plots]" && python examples/finetune.py --data $SPARSENET_DATA/cifar100

Trains the bundled sparsenet_bc_40_k12.cifar10, and the same net from scratch, on 10 and 50 images of each
class. Scores each once on the 2,000 test images of these classes and prints the table. `--all` adds a run
with all 500 images of each class and takes four times as long.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import datasets
from matplotlib.figure import Figure

from sparsenet_models.analysis.plot.drawing import write_figure
from sparsenet_models.pretrained import read_metadata
from sparsenet_models.training.config import TrainConfig
from sparsenet_models.training.loop import train

MODEL = "sparsenet_bc_40_k12.cifar10"
CLASSES = (
    *("apple", "aquarium_fish", "bicycle", "bottle", "bridge", "butterfly", "castle"),
    *("chair", "clock", "cloud", "cup", "elephant", "house", "keyboard", "lion"),
    *("mushroom", "orange", "pine_tree", "rose", "tiger"),
)
"""None of them a class of CIFAR-10."""

EPOCHS = {10: 20, 50: 6, 500: 3}
"""By the number of images of each class; with fewer images there are more epochs."""

COMMON = dict(batch_size=32, eval_every=0, compile=False, schedule="cosine", warmup=0.1)
STARTS = {
    "pretrained on CIFAR-10": dict(pretrained=True, lr=0.05, layer_decay=0.8),
    "random initialisation": dict(lr=0.1),
}


@click.command()
@click.option("--data", required=True, help="Folder of CIFAR-100's Parquet files.")
@click.option("--all", "everything", is_flag=True, help="Also train on all 500 images of each class.")
@click.option("--picture", type=click.Path(path_type=Path), help="PNG file for the plot.")
@click.option("--seeds", default=1, show_default=True, help="Runs for each figure, which is their mean.")
def main(data: str, everything: bool, picture: Path | None, seeds: int) -> None:
    """Compare fine-tuning with training from scratch."""
    amounts = [count for count in EPOCHS if everything or count < 500]
    errors: dict[str, dict[int, float]] = {start: {} for start in STARTS}
    with tempfile.TemporaryDirectory() as folder:
        write_images(data, Path(folder), amounts)
        for count in amounts:
            for start, options in STARTS.items():
                runs = [error(Path(folder), count, start, options, seed) for seed in range(seeds)]
                errors[start][count] = sum(runs) / seeds
    for line in table(errors, seeds):
        click.echo(line)
    if picture is not None:
        plot(errors, picture)


def write_images(data: str, folder: Path, amounts: list[int]) -> None:
    """Write, by number of training images, class folders with that many, and all test images."""
    for split in ("train", "test"):
        rows = datasets.load_dataset(data, split=split)
        names = rows.features["fine_label"].names
        seen = dict.fromkeys(CLASSES, 0)
        for row in rows:
            name = names[row["fine_label"]]
            if name not in seen:
                continue
            for count in amounts:
                if split == "test" or seen[name] < count:
                    target = folder / str(count) / split / name / f"{seen[name]:03}.png"
                    target.parent.mkdir(parents=True, exist_ok=True)
                    row["img"].save(target)
            seen[name] += 1


def error(folder: Path, count: int, start: str, options: dict, seed: int) -> float:
    """Train once and return the error of the last epoch, in percent of the test images."""
    name = MODEL if "pretrained" in options else MODEL.partition(".")[0]
    out = folder / "runs" / f"{count} {start} {seed}"
    arguments = dict(model=name, data=str(folder / str(count)), out=str(out), seed=seed, epochs=EPOCHS[count])
    weights = train(TrainConfig(**arguments, **COMMON, **options))
    return 100 - float(read_metadata(weights)["top1"])


def table(errors: dict[str, dict[int, float]], seeds: int) -> list[str]:
    amounts = list(next(iter(errors.values())))
    mean = f", mean of {seeds} seeds" if seeds > 1 else ""
    return [
        f"Error in % on 2,000 test images of 20 classes (chance: 95){mean}; {MODEL.partition('.')[0]}",
        "",
        f"| images of each class | {' | '.join(map(str, amounts))} |",
        f"| --- |{' --- |' * len(amounts)}",
        f"| epochs | {' | '.join(str(EPOCHS[count]) for count in amounts)} |",
        *(
            f"| {start} | {' | '.join(f'{by_count[count]:.1f}' for count in amounts)} |"
            for start, by_count in errors.items()
        ),
    ]


def plot(errors: dict[str, dict[int, float]], picture: Path) -> None:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    styles = (dict(color="#0072B2", marker="o"), dict(color="#D55E00", marker="s", linestyle="--"))
    for (start, by_count), style in zip(errors.items(), styles):
        # To a tenth, as in the table.
        axes.plot(list(by_count), [round(value, 1) for value in by_count.values()], label=start, **style)
    axes.set_xscale("log")
    axes.set_xticks(list(by_count), [str(count) for count in by_count])
    axes.minorticks_off()
    axes.set_xlabel("training images of each class")
    axes.set_ylabel("test error (%)")
    axes.set_ylim(0, 100)
    axes.grid(alpha=0.3)
    axes.legend()
    write_figure(figure, picture)


if __name__ == "__main__":
    main()
