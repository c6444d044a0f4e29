"""The nets of the course project behind this library: its settings and errors beside ours.

    python examples/course_comparison.py                # the table: counts, errors, settings
    python examples/course_comparison.py --quick        # and a few training steps of every net

Seven SparseNets and their seven dense twins, each on CIFAR-10 and CIFAR-100. Our errors are those of the
bundled weights; a dash means that there are none. ``--quick`` reads images from the folders cifar10/ and
cifar100/ in the folder that SPARSENET_DATA names, and takes random ones without it. A few steps on tiny
images show that everything runs and learns; they say nothing about accuracy.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsenet_models import create_model, get_pretrained_cfg, resolve_data_config
from sparsenet_models.analysis import PUBLISHED, analyze_model

SIZES = ("bc_40_k12", "bc_100_k24", "bc_100_k36", "bc_100_k64", "bc_100_k16_32_64", "100_k24", "100_k36")
# The project gave this net a stem of 24 channels, its dense twin one of 48.
PROJECTS_STEM = {"sparsenet_bc_100_k16_32_64": 24, "densenet_bc_100_k16_32_64": 48}
DATA = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
BATCH, SIDE, STEPS = 8, 8, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="train every net for a few steps")
    quick = parser.parse_args().quick
    names = [f"{family}_{size}" for family in ("sparsenet", "densenet") for size in SIZES]
    print_settings(names)
    print_table(names)
    if quick:
        train_a_little(names)


def print_settings(names: list[str]) -> None:
    print("The project: batch 32, learning rate 0.1 throughout, no augmentation, no weight decay;")
    print("7 to 70 epochs, a different number for each net.")
    print("Ours: Nesterov momentum 0.9, flips and crops, a learning rate that falls to 0, and")
    for name in names:
        for tag in DATA:
            recipe = get_pretrained_cfg(f"{name}.{tag}").recipe
            if recipe is not None:
                print(f"  {name}.{tag}: {settings(json.loads(recipe))}")
    print()


def settings(recipe: dict[str, Any]) -> str:
    sides = ", ".join(f"{epochs} at {side}x{side}" for side, epochs in recipe["resolution"])
    start = ", from earlier weights" if recipe.get("init_from") else ""
    return (
        f"batch {recipe['batch_size']}, rate up to {recipe['lr']:g}, decay {recipe['weight_decay']:g}, "
        f"{recipe['epochs']} epochs{f' ({sides})' if sides else ''}{start}"
    )


def print_table(names: list[str]) -> None:
    print("top-1 test error in %                             CIFAR-10         CIFAR-100")
    print("net                         parameters     MACs   project   ours   project   ours")
    for name in names:
        stem = {"stem_channels": PROJECTS_STEM[name]} if name in PROJECTS_STEM else {}
        costs = analyze_model(create_model(name, device="meta", **stem)).costs
        cells = []
        for tag in DATA:
            ours = "-" if stem else our_error(name, tag)  # our weights have the default stem
            cells += [f"{projects_error(name, tag):>9}", f"{ours:>6}"]
        print(f"{name:26} {costs.parameters:>11,} {costs.macs / 1e6:>7,.0f}M {' '.join(cells)}")
    print()


def projects_error(name: str, tag: str) -> str:
    for result in PUBLISHED:
        if result.model == name and result.source.startswith("course project"):
            error = result.cifar10 if tag == "cifar10" else result.cifar100
            return "-" if error is None else f"{error:g}"
    return "-"


def our_error(name: str, tag: str) -> str:
    top1 = get_pretrained_cfg(f"{name}.{tag}").top1
    return "-" if top1 is None else f"{100 - top1:.2f}"


def train_a_little(names: list[str]) -> None:
    torch.manual_seed(0)
    begun = time.perf_counter()
    for tag in DATA:
        images, labels, source = some_images(tag)
        print(f"{DATA[tag]}: {STEPS} steps of {BATCH} {source} images, {SIDE}x{SIDE} pixels")
        for name in names:
            losses, seconds = steps(f"{name}.{tag}", images, labels)
            print(
                f"  {name:26} loss {losses[0]:.3f} -> {losses[-1]:.3f}   {seconds / STEPS:6.2f} s a step",
                flush=True,
            )
    print(f"{2 * len(names)} nets in {time.perf_counter() - begun:.0f} s")


def some_images(tag: str) -> tuple[Tensor, Tensor, str]:
    """Return normalised images ``(BATCH, 3, SIDE, SIDE)``, their labels ``(BATCH,)``, and their origin."""
    config = resolve_data_config(create_model(f"sparsenet_bc_40_k12.{tag}", device="meta"))
    folder = os.environ.get("SPARSENET_DATA")
    if folder is None:
        classes = get_pretrained_cfg(f"sparsenet_bc_40_k12.{tag}").num_classes
        return torch.randn(BATCH, 3, SIDE, SIDE), torch.randint(classes, (BATCH,)), "random"
    from sparsenet_models.data import load_image_set, normalised

    train_set = load_image_set(Path(folder) / tag, "train", config, loader="stream")
    batch = train_set.part(torch.arange(BATCH)).in_memory()
    images = normalised(batch.images, config["mean"], config["std"])
    return F.interpolate(images, (SIDE, SIDE), mode="area"), batch.labels, batch.name


def steps(name: str, images: Tensor, labels: Tensor) -> tuple[list[float], float]:
    """Train a net on one batch at a small learning rate; return the loss of each step, and the seconds."""
    stem = PROJECTS_STEM.get(name.partition(".")[0])
    net = create_model(name, stem_channels=stem)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01)
    losses, begun = [], time.perf_counter()
    for _ in range(STEPS):
        loss = F.cross_entropy(net(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses, time.perf_counter() - begun


if __name__ == "__main__":
    main()
