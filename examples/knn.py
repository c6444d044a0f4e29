"""k nearest neighbours on frozen features, against k nearest neighbours on raw pixels.

    pip install ".[training]" && SPARSENET_DATA=~/cifar python examples/knn.py

The net was trained on CIFAR-10; the images and the hundred classes are those of CIFAR-100, which it never
saw. Nothing is trained here. An image gets the class of most of its nearest neighbours by cosine similarity;
its features are the maps of all stages, averaged over the image.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsenet_models import create_model, resolve_data_config
from sparsenet_models.data import ImageSet, load_image_set, normalised


@click.command()
@click.option(
    "--data",
    envvar="SPARSENET_DATA",
    required=True,
    show_envvar=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the Parquet files of CIFAR-100 in cifar100/.",
)
@click.option("--model", default="sparsenet_bc_40_k12.cifar10", show_default=True)
@click.option(
    "--images", default=10_000, show_default=True, help="Labelled images, among which neighbours are found."
)
@click.option("--test-images", default=2_000, show_default=True)
@click.option("--neighbours", default=20, show_default=True)
def main(data: Path, model: str, images: int, test_images: int, neighbours: int) -> None:
    """Classify CIFAR-100 by nearest neighbours in the features of MODEL."""
    backbone = create_model(model, pretrained=True, features_only=True).eval()
    config = resolve_data_config(backbone)
    folder = data / "cifar100"
    labelled = load_image_set(folder, "train", config).part(torch.arange(images))
    test_set = load_image_set(folder, "test", config).part(torch.arange(test_images))

    accuracies = {}
    for name, features_of in (
        ("raw pixels", lambda batch: batch.flatten(1)),
        (model, lambda batch: pooled_features(backbone, batch)),
    ):
        vectors, queries = (unit_vectors(part, features_of, config) for part in (labelled, test_set))
        classes = nearest_classes(queries, vectors, labelled.labels, neighbours)
        accuracies[name] = 100 * (classes == test_set.labels).float().mean().item()
        print(f"{name:32} {vectors.shape[1]:5} numbers an image   top-1 {accuracies[name]:.2f}%")
    print(f"features beat pixels by {accuracies[model] - accuracies['raw pixels']:.2f} points")


def pooled_features(backbone: nn.Module, batch: Tensor) -> Tensor:
    """Return every stage's map averaged over the image and standardised, concatenated: ``(N, C)``."""
    return torch.cat([F.layer_norm(m.mean((2, 3)), m.shape[1:2]) for m in backbone(batch)], dim=1)


@torch.inference_mode()
def unit_vectors(image_set: ImageSet, features_of: Callable[[Tensor], Tensor], config: dict) -> Tensor:
    """Return the features of every image ``(N, C)``, each row scaled to length one."""
    batches = image_set.batches(torch.arange(len(image_set)).split(250))
    rows = [features_of(normalised(batch, config["mean"], config["std"])) for batch in batches]
    return F.normalize(torch.cat(rows), dim=1)


def nearest_classes(queries: Tensor, vectors: Tensor, labels: Tensor, neighbours: int) -> Tensor:
    """Return the class ``(N,)`` that most of the nearest vectors have, weighted by their cosine."""
    cosines, nearest = (queries @ vectors.T).topk(neighbours, dim=1)
    votes = torch.zeros(len(queries), int(labels.max()) + 1)
    return votes.scatter_add_(1, labels[nearest], (cosines / 0.1).exp()).argmax(dim=1)


if __name__ == "__main__":
    main()
