r"""Soft labels of a training set by a net of this library that was trained on its classes.

    python examples/soft_labels_by_ours.py cifar100 --teacher sparsenet_bc_100_k24.cifar100 \
        --out soft.safetensors
    sparsenet train sparsenet_bc_40_k12 --recipe cifar-muon --data cifar100 \
        --soft-labels soft.safetensors --distill-weight 0.9 --out runs/taught

The teacher answers once for each image, without crops and mirror images. With `--distill` it answers every
step for the student's own view, which on a CPU takes longer than the step of a small student. This needs
rich: pip install ".[training]"
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
from rich.progress import track

from sparsenet_models import create_model, optimize, resolve_data_config
from sparsenet_models.data import load_image_set, normalised
from sparsenet_models.training.distill import Teacher
from sparsenet_models.training.soft_labels import save_soft_labels


@click.command()
@click.argument("data")
@click.option("--teacher", required=True, help="NAME.TAG, with weights for the classes of DATA.")
@click.option(
    "--temperature",
    default=1.5,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="By which its logits are divided before the softmax.",
)
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path))
@torch.inference_mode()
def main(data: str, teacher: str, temperature: float, out: Path) -> None:
    """Write soft labels of the training images of DATA, a folder or the name of a set."""
    if not out.absolute().parent.is_dir():
        raise click.ClickException(f"--out is in a folder that does not exist: {out.parent}")
    config = resolve_data_config(create_model(teacher, device="meta"))
    image_set = load_image_set(data, "train", config)
    net = Teacher(teacher, image_set.class_names, config["mean"], config["std"], torch.device("cpu"))
    optimize(net.model)
    indices = torch.arange(len(image_set)).split(50)
    batches = track(image_set.batches(indices), description="logits", total=len(indices))
    logits = torch.cat([net(normalised(batch, config["mean"], config["std"])) for batch in batches])
    probabilities = (logits / temperature).softmax(1)
    top1 = 100 * (logits.argmax(1) == image_set.labels).float().mean().item()
    print(
        f"{teacher} is right for {top1:.2f}% of the training images of {data}; the mean of its largest "
        f"probabilities is {probabilities.amax(1).mean():.3f}"
    )
    save_soft_labels(out, image_set, probabilities)


if __name__ == "__main__":
    main()
