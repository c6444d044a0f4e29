"""Write docs/results.md, docs/weights.md and sparsenet_models/weights/results.csv: `python docs/results.py`.

The results come from the runs and the published figures, the rest from the bundled cards.
"""

from __future__ import annotations

import csv
import io
import json
import statistics
from pathlib import Path
from typing import Any

from sparsenet_models import PretrainedCfg, create_model, get_pretrained_cfg, list_pretrained
from sparsenet_models.analysis.published import PUBLISHED
from sparsenet_models.common.addresses import REPOSITORY
from sparsenet_models.models.listing import TABLE_COLUMNS
from sparsenet_models.models.registry import WEIGHTS_DIR
from sparsenet_models.training.config import MAY_CHANGE_ON_RESUME, TrainConfig

DOCS = Path(__file__).parent

ZOO = ("bc_100_k24", "bc_100_k16_32_64", "bc_40_k12", "bc_100_k12", "40_k24")
GOALS = (
    # net, tag, error to reach on 2 CPU cores and with a GPU (None: nothing asked on such a machine), goal
    ("sparsenet_bc_40_k12", "cifar10", 10.5, 8.0, 6.9),
    ("sparsenet_bc_40_k12", "cifar100", 39.0, 32.5, 30.0),
    ("sparsenet_bc_40_k12", "cifar10_kd", 9.0, None, 8.2),
    ("sparsenet_bc_40_k12", "cifar100_kd", 36.0, None, 34.0),
    ("sparsenet_bc_100_k12", "cifar10", 7.2, 6.0, 5.3),
    ("sparsenet_bc_100_k12", "cifar100", 30.5, 27.0, 25.0),
    ("sparsenet_40_k24", "cifar10", None, 5.47, 4.5),
    ("sparsenet_40_k24", "cifar100", None, 24.65, 22.5),
    ("sparsenet_bc_100_k24", "cifar10", 6.0, 4.6, 4.0),
    ("sparsenet_bc_100_k24", "cifar100", 27.0, 22.1, 20.5),
    ("sparsenet_bc_100_k16_32_64", "cifar10", None, 4.0, 3.6),
    ("sparsenet_bc_100_k16_32_64", "cifar100", None, 19.7, 18.5),
    ("sparsenet121", "tiny_imagenet", 55.0, 55.0, 45.0),
    ("sparsenet121", "tiny_imagenet_kd", 55.0, 55.0, 45.0),
)

RUN_COLUMNS = (
    *("net", "data", "error", "with flips", "parameters", "multiply-adds"),
    *("epochs", "minutes", "machine", "bundled", "log"),
)

GOAL_COLUMNS = (
    *("net", "data", "2 cores: ours", "must", "met"),
    *("GPU: ours", "must", "met", "goal"),
)

CARDS_HEAD = (
    "`python docs/results.py` writes this page. What it includes is in the folder "
    f"[sparsenet_models/weights]({REPOSITORY}/tree/main/sparsenet_models/weights), a file for each weight. "
    "`$SPARSENET_DATA` is a folder with the Parquet files of CIFAR-10 and CIFAR-100 in `cifar10/` and "
    f"`cifar100/` ([how to fetch them]({REPOSITORY}/blob/main/CONTRIBUTING.md)); `sparsenet validate NAME` "
    "without `--data` downloads the set."
)


def main() -> None:
    (DOCS / "results.md").write_text(page(finished_runs()), encoding="utf-8")
    (DOCS / "weights.md").write_text(cards(), encoding="utf-8")
    (WEIGHTS_DIR / "results.csv").write_text(weights_table(), encoding="utf-8")


def cards() -> str:
    """Return the page of cards, each included without its heading of the first level."""
    folder = WEIGHTS_DIR.relative_to(DOCS.parent).as_posix()
    parts = [f'## {name}\n\n--8<-- "{folder}/{name}.md:3:"' for name in list_pretrained()]
    return "\n\n".join(["# Cards of the weights", CARDS_HEAD, *parts]) + "\n"


def weights_table() -> str:
    """Return ``list_pretrained(as_table=True)`` as csv, a line for each bundled weight."""
    text = io.StringIO()
    writer = csv.DictWriter(text, TABLE_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(list_pretrained(as_table=True))
    return text.getvalue()


def finished_runs() -> list[dict[str, Any]]:
    """Return each run's ``result.json``, with its net, tag and folder as ``net``, ``tag`` and ``run``."""
    return [
        json.loads(path.read_text(encoding="utf-8"))
        | {"net": path.parts[-3].partition(".")[0], "tag": path.parts[-3].partition(".")[2]}
        | {"run": path.parent.relative_to(DOCS).as_posix()}
        for path in sorted(DOCS.glob("runs/*/*/result.json"))
    ]


def page(runs: list[dict[str, Any]]) -> str:
    """Return the text of the page; ``runs`` as ``finished_runs`` returns them."""
    parts = [
        "# Results",
        "`python docs/results.py` writes this page from the results of the runs "
        "(`docs/runs/*/*/result.json`) and the published results "
        "(`sparsenet_models/analysis/published.py`). Errors are top-1 in percent on all 10,000 test "
        "images, of Tiny ImageNet its 10,000 validation images, single view unless a column says otherwise, "
        "after the last epoch. All training images were used. No option was chosen by its error on CIFAR's "
        "test images, but the runs named `seed0-longer` were begun once those of shorter runs were known. "
        "The validation images of Tiny ImageNet were scored during its runs, and its schedule of image "
        "sizes was chosen by them. So the errors of these runs are slightly optimistic.",
        "## Every finished run",
        "All runs are listed, also those whose weights are not used. `sparsenet list --pretrained` lists "
        "the bundled weights, as does `sparsenet_models/weights/results.csv`, which the wheel has too; "
        "[runs](runs/README.md) describes the runs. Epochs a + b: a run of b "
        "epochs that began with weights trained for a epochs; the minutes are those of the b epochs. With "
        "flips: the logits of each image and of its mirror image averaged (`sparsenet validate --tta`), "
        "where that was measured.",
        table(RUN_COLUMNS, [finished(run) for run in runs]),
        spread(runs),
        "Of sparsenet_bc_40_k12.cifar10, seed 0 (9.98) began with norm biases of 0, as nets of that version "
        "did, and ran in bfloat16; seeds 1 and 2 (10.64 and 11.32) began with 1 and ran in float32. So the "
        "deviation may not be the seeds' alone.",
        "## Goals",
        'The errors that this project aims at, on 2 CPU cores and with a GPU: "must" is what the first '
        'release has to reach, "goal" what is hoped for. The columns "ours" have the error of the best '
        "recipe run on such a machine; where it was run with several seeds, their mean, not the error of the "
        "seed that is bundled.",
        table(GOAL_COLUMNS, [goal(*row, runs) for row in GOALS]),
        "Still to be trained: " + missing_weights(runs) + ".",
        "## Published figures",
        "The paper trains for 300 epochs with batches of 64, a learning rate of 0.1 that is divided by 10 "
        "after epochs 150 and 225, weight decay 1e-4, random crops and flips (`--recipe original`). Its "
        "nets have a stem of 2k channels, ours of k. The course project trains for 7 to 70 epochs with "
        "batches of 32 and a constant learning rate of 0.1, without augmentation or weight decay. Our nets "
        "are trained for the epochs of the first table, most of them on smaller images, with a learning "
        "rate that falls linearly. Parameters are counted with this library, for 100 classes. The errors of "
        "SparseNets on CIFAR-100 are those in the README of the paper's code; for sparsenet_bc_100_k24 other "
        "papers quote 22.71. That README has 24.79, 20.97, 19.61 and 22.62 for the dense nets 40_k12, "
        "100_k12, 100_k24 and bc_100_k12, more than DenseNet's own paper.",
        'The columns "ours" have the errors of the same net with its default stem: of the bundled weights '
        "or, where their recipe was run with several seeds, the mean.",
        table(
            ("who", "net", "parameters", "CIFAR-10", "ours", "CIFAR-100", "ours"),
            published(runs),
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ("---",) * len(header), *rows))


def error(run: dict[str, Any]) -> float:
    return round(100 - run["top1"], 2)


def finished(run: dict[str, Any]) -> tuple[str, ...]:
    cfg = PretrainedCfg(epochs=run["epochs"], epochs_before=run.get("epochs_before", 0))
    return (
        f"{run['net']}.{run['tag']}",
        run["data"],
        f"{error(run):.2f}",
        percent(100 - run["top1_with_flips"] if "top1_with_flips" in run else None),
        f"{run['num_params']:,}",
        f"{run['macs']:,}",
        str(cfg.epochs_text),
        f"{run['train_seconds'] / 60:.0f}",
        run["machine"],
        "yes" if _is_bundled(run) else "",
        f"[{Path(run['run']).name}]({run['run']}/log.txt)",
    )


def _is_bundled(run: dict[str, Any]) -> bool:
    name = f"{run['net']}.{run['tag']}"
    return name in list_pretrained() and run.get("sha256") == get_pretrained_cfg(name).sha256


def spread(runs: list[dict[str, Any]]) -> str:
    """Return a table of the mean and standard deviation of each recipe that was run with several seeds."""
    rows = [
        (f"{net}.{tag}", str(len(errors)), f"{statistics.mean(errors):.2f} ± {statistics.stdev(errors):.2f}")
        for (net, tag, _), errors in by_recipe(runs).items()
        if len(errors) > 1
    ]
    return table(("weights", "seeds", "error, mean ± standard deviation"), rows)


def goal(
    net: str, data: str, cpu_must: float | None, must: float | None, aim: float, runs: list[dict[str, Any]]
) -> tuple[str, ...]:
    ours = [run for run in runs if (run["net"], run["tag"]) == (net, data)]
    on_cpu = [run for run in ours if run["machine"].startswith("2 cores")]
    on_gpu = [run for run in ours if run not in on_cpu]
    return (net, data, *compared(on_cpu, cpu_must), *compared(on_gpu, must), f"{aim}")


def compared(runs: list[dict[str, Any]], must: float | None) -> tuple[str, str, str]:
    """Return the mean error of the best recipe of the runs, the error to reach, and whether it does."""
    lowest = min((statistics.mean(errors) for errors in by_recipe(runs).values()), default=None)
    if must is None:
        return percent(lowest), "", ""
    if lowest is None:
        return "", f"{must}", "no run yet"
    return percent(lowest), f"{must}", "yes" if lowest <= must else f"no, by {lowest - must:.2f}"


def by_recipe(runs: list[dict[str, Any]]) -> dict[tuple[str, ...], list[float]]:
    """Return the errors of the runs of each net, tag and recipe, one for each seed."""
    groups: dict[tuple[str, ...], list[float]] = {}
    for run in runs:
        key = (run["net"], run["tag"], recipe_of(run["recipe"]))
        groups.setdefault(key, []).append(error(run))
    return groups


def our_error(net: str, tag: str, runs: list[dict[str, Any]]) -> float | None:
    """Return the error in percent of the bundled weights, as the mean over all seeds of their recipe."""
    recipe = get_pretrained_cfg(f"{net}.{tag}").recipe
    if recipe is None:
        return None
    return statistics.mean(by_recipe(runs)[net, tag, recipe_of(recipe)])


def percent(error: float | None) -> str:
    return "" if error is None else f"{error:.2f}"


def recipe_of(options: str) -> str:
    """Return the JSON of a run's options without its seed and those that a resumed run may change.

    Options that the library did not have when the run was made get their defaults.
    """
    recipe = {**TrainConfig.defaults(), **json.loads(options)}
    kept = recipe.keys() - {"seed", *MAY_CHANGE_ON_RESUME}
    return json.dumps({key: recipe[key] for key in kept}, sort_keys=True)


def missing_weights(runs: list[dict[str, Any]]) -> str:
    done = {(run["net"], run["tag"]) for run in runs}
    both = ("cifar10", "cifar100")
    planned = [(f"sparsenet_{size}", data) for size in ZOO for data in both]
    planned += [("densenet_bc_40_k12", data) for data in both]
    planned += [(net, "cifar10") for net in ("sparse_resnet_20", "resnet_20")]
    planned += [(f"sparsenet_{size}", f"{data}_kd") for size in ZOO for data in both]
    planned += [(f"densenet_{size}", data) for size in ZOO for data in both if size != "bc_40_k12"]
    return ", ".join(f"{net}.{tag}" for net, tag in planned if (net, tag) not in done)


def published(runs: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    rows = []
    for result in PUBLISHED:
        arguments = "".join(f", {key}={value}" for key, value in result.arguments.items())
        model = create_model(result.model, device="meta", num_classes=100, **result.arguments)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        errors = []
        for tag, value in (("cifar10", result.cifar10), ("cifar100", result.cifar100)):
            ours = our_error(result.model, tag, runs)
            errors += ["" if value is None else f"{value}", percent(ours)]
        rows.append((result.source, result.model + arguments, f"{parameters:,}", *errors))
    return rows


if __name__ == "__main__":
    main()
