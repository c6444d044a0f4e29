"""Write docs/results.md from the results of the runs and the published figures: `python docs/results.py`."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from sparsenet_models import create_model, get_pretrained_cfg
from sparsenet_models.analysis.published import PUBLISHED

DOCS = Path(__file__).parent

ZOO = ("bc_100_k24", "bc_100_k16_32_64", "bc_40_k12", "bc_100_k12", "40_k24")
GOALS = (
    # net, data, error that must be reached on 2 CPU cores (None: only with a GPU), must and goal with a GPU
    ("sparsenet_bc_40_k12", "cifar10", 10.5, 8.0, 6.9),
    ("sparsenet_bc_40_k12", "cifar100", 39.0, 32.5, 30.0),
    ("sparsenet_bc_100_k12", "cifar10", None, 6.0, 5.3),
    ("sparsenet_bc_100_k12", "cifar100", None, 27.0, 25.0),
    ("sparsenet_40_k24", "cifar10", None, 5.47, 4.5),
    ("sparsenet_40_k24", "cifar100", None, 24.65, 22.5),
    ("sparsenet_bc_100_k24", "cifar10", 11.0, 4.6, 4.0),
    ("sparsenet_bc_100_k24", "cifar100", None, 22.1, 20.5),
    ("sparsenet_bc_100_k16_32_64", "cifar10", None, 4.0, 3.6),
    ("sparsenet_bc_100_k16_32_64", "cifar100", None, 19.7, 18.5),
)


def main() -> None:
    (DOCS / "results.md").write_text(page(finished_runs()), encoding="utf-8")


def finished_runs() -> list[dict[str, Any]]:
    """Return what ``training.release`` told of each run, and which net, tag and folder it is of."""
    return [
        json.loads(path.read_text(encoding="utf-8"))
        | {"net": path.parts[-3].partition(".")[0], "tag": path.parts[-3].partition(".")[2]}
        | {"run": path.parent.relative_to(DOCS).as_posix()}
        for path in sorted(DOCS.glob("runs/*/*/result.json"))
    ]


def page(runs: list[dict[str, Any]]) -> str:
    """Return the page; ``runs`` are those of ``finished_runs``."""
    parts = [
        "# Results",
        "Written by `python docs/results.py` from the results of the runs (`docs/runs/*/*/result.json`) and "
        "`sparsenet_models/published.py`. Errors are top-1 in percent on all 10,000 test images: last epoch, "
        "single view, trained on all 50,000 training images, nothing chosen on the test set.",
        "## Every finished run",
        "The bad ones too. `sparsenet list --pretrained` lists those whose weights are bundled; "
        "[runs](runs/README.md) tells their stories. Epochs a + b: the run of b epochs began with weights "
        "that had seen a; the minutes are of the b.",
        table(
            ("net", "data", "error", "parameters", "multiply-adds", "epochs", "minutes", "machine", "log"),
            [finished(run) for run in runs],
        ),
        spread(runs),
        "## Goals",
        "What the project set itself, on 2 CPU cores and with a GPU. Ours are the weights that are bundled, "
        "and where their recipe was run with several seeds, the mean of these.",
        table(
            ("net", "data", "ours", "2 cores: must", "met", "GPU: must", "GPU: goal"),
            [goal(*row, runs) for row in GOALS],
        ),
        "Still to be trained: " + still_open(runs) + ".",
        "## Published figures",
        "The paper trains 300 epochs of batch 64, rate 0.1 divided by 10 after 150 and 225, weight decay "
        "1e-4, crops and flips (`--recipe original`); its nets have a stem of 2k channels, ours of k. The "
        "course project trains 7 to 70 epochs of batch 32 at a constant rate of 0.1 without augmentation or "
        "weight decay. Ours are trained for as many epochs as the first table says, most of them on smaller "
        "images, with a rate that falls linearly. Parameters are counted here, for 100 classes. The paper's "
        "sparsenet_bc_100_k24 has 22.12 in its code's README and is quoted elsewhere with 22.71.",
        "Ours beside them are the bundled weights, of the same net with its usual stem.",
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
    earlier = f"{run['epochs_before']} + " if run.get("epochs_before") else ""
    return (
        f"{run['net']}.{run['tag']}",
        run["data"],
        f"{error(run):.2f}",
        f"{run['num_params']:,}",
        f"{run['macs']:,}",
        f"{earlier}{run['epochs']}",
        f"{run['train_seconds'] / 60:.0f}",
        run["machine"],
        f"[{Path(run['run']).name}]({run['run']})",
    )


def spread(runs: list[dict[str, Any]]) -> str:
    """Return the mean and the spread of every recipe that was run with several seeds."""
    groups: dict[tuple[str, ...], list[float]] = {}
    for run in runs:
        key = (run["net"], run["tag"], json.dumps(without_seed(run["recipe"]), sort_keys=True))
        groups.setdefault(key, []).append(error(run))
    rows = [
        (f"{net}.{tag}", str(len(errors)), f"{statistics.mean(errors):.2f} ± {statistics.stdev(errors):.2f}")
        for (net, tag, _), errors in groups.items()
        if len(errors) > 1
    ]
    if not rows:
        return "No recipe has been run with a second seed so far, so no spread is known."
    return table(("weights", "seeds", "error, mean ± standard deviation"), rows)


def goal(
    net: str, data: str, cpu_must: float | None, must: float, aim: float, runs: list[dict[str, Any]]
) -> tuple[str, ...]:
    found = our_error(net, data, runs)
    met = "" if cpu_must is None else "no run yet"
    if cpu_must is not None and found is not None:
        met = "yes" if found <= cpu_must else f"no, by {found - cpu_must:.2f}"
    ours = "" if found is None else f"{found:.2f}"
    return (net, data, ours, "" if cpu_must is None else f"{cpu_must}", met, f"{must}", f"{aim}")


def our_error(net: str, tag: str, runs: list[dict[str, Any]]) -> float | None:
    """Return the error of the bundled weights, as the mean over all seeds of their recipe."""
    bundled = get_pretrained_cfg(f"{net}.{tag}").recipe
    if bundled is None:
        return None
    own = [run for run in runs if (run["net"], run["tag"]) == (net, tag)]
    errors = [error(run) for run in own if without_seed(run["recipe"]) == without_seed(bundled)]
    return statistics.mean(errors)


def without_seed(recipe: str) -> dict[str, Any]:
    return {key: value for key, value in json.loads(recipe).items() if key != "seed"}


def still_open(runs: list[dict[str, Any]]) -> str:
    done = {(run["net"], run["tag"]) for run in runs}
    both = ("cifar10", "cifar100")
    wanted = [(f"sparsenet_{size}", data) for size in ZOO for data in both]
    wanted += [("densenet_bc_40_k12", data) for data in both]
    wanted += [(net, "cifar10") for net in ("sparse_resnet_20", "resnet_20")]
    wanted += [(f"sparsenet_{size}", f"{data}_kd") for size in ZOO for data in both]
    wanted += [(f"densenet_{size}", data) for size in ZOO for data in both if size != "bc_40_k12"]
    return ", ".join(f"{net}.{tag}" for net, tag in wanted if (net, tag) not in done)


def published(runs: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    rows = []
    for result in PUBLISHED:
        arguments = "".join(f", {key}={value}" for key, value in result.arguments.items())
        model = create_model(result.model, device="meta", num_classes=100, **result.arguments)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        errors = []
        for tag, value in (("cifar10", result.cifar10), ("cifar100", result.cifar100)):
            ours = our_error(result.model, tag, runs)
            errors += ["" if value is None else f"{value}", "" if ours is None else f"{ours:.2f}"]
        rows.append((result.source, result.model + arguments, f"{parameters:,}", *errors))
    return rows


if __name__ == "__main__":
    main()
