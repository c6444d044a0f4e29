r"""Soft labels of a training set by a net from timm, to train one of ours on them.

    python examples/soft_labels.py tiny-imagenet --out soft.safetensors
    sparsenet train sparsenet121 --recipe tiny-imagenet --data tiny-imagenet \
        --soft-labels soft.safetensors --out runs/taught

The teacher's features stay as they are; a linear head on them learns the classes of the set. Each image is
answered by a head that has not seen its label, so that the answers are unsure where the features are. The
heads see every training image, those too that a run with --validation holds out. This needs timm and rich:
pip install ".[timm,training]"
"""

from __future__ import annotations

from pathlib import Path

import click
import timm
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor, nn

from sparsenet_models.data import load_image_set, normalised
from sparsenet_models.data.image_set import AnyImageSet
from sparsenet_models.training.soft_labels import save_soft_labels

STEPS, BATCH, LR, WEIGHT_DECAY = 3000, 256, 1e-3, 0.1
"""Of a head: steps, images in each, first learning rate and weight decay of AdamW."""


@click.command()
@click.argument("data")
@click.option("--teacher", default="tf_efficientnet_lite2", show_default=True, help="Name in timm.")
@click.option(
    "--checkpoint", type=click.Path(exists=True), help="Weights in timm's names, instead of a download."
)
@click.option("--side", default=128, show_default=True, help="Of the teacher's images, in pixels.")
@click.option("--folds", default=4, show_default=True, type=click.IntRange(2), help="Heads to train.")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path))
def main(data: str, teacher: str, checkpoint: str | None, side: int, folds: int, out: Path) -> None:
    """Write soft labels of the training images of DATA, a folder or the name of a set."""
    if not out.absolute().parent.is_dir():
        raise click.ClickException(f"--out is in a folder that does not exist: {out.parent}")
    overlay = {"file": checkpoint} if checkpoint else None
    backbone = timm.create_model(teacher, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0)
    backbone.eval()
    config = timm.data.resolve_data_config(model=backbone) | {"input_size": (3, side, side), "crop_pct": 1.0}
    image_set = load_image_set(data, "train", config, loader="stream", workers=2)
    features = features_of(backbone, image_set, config)
    probabilities = torch.empty(len(image_set), len(image_set.class_names))
    parts = torch.randperm(len(image_set), generator=torch.Generator().manual_seed(0)).chunk(folds)
    for index, part in enumerate(parts):
        others = torch.cat([*parts[:index], *parts[index + 1 :]])
        head = trained_head(features[others], image_set.labels[others], len(image_set.class_names))
        with torch.inference_mode():
            probabilities[part] = head(features[part]).softmax(1)
    top1 = 100 * (probabilities.argmax(1) == image_set.labels).float().mean().item()
    print(
        f"{teacher} with new heads is right for {top1:.2f}% of the training images of {data}, each of which "
        "its head did not see"
    )
    save_soft_labels(out, image_set, probabilities)


@torch.inference_mode()
def features_of(backbone: nn.Module, image_set: AnyImageSet, config: dict) -> Tensor:
    """Return the standardised features of every image, ``(N, C)``."""
    backbone.to(memory_format=torch.channels_last)
    indices = torch.arange(len(image_set)).split(128)
    rows = []
    for batch in track(image_set.batches(indices), description="features", total=len(indices)):
        images = normalised(batch, config["mean"], config["std"]).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            rows.append(backbone(images).float())
    features = torch.cat(rows)
    return (features - features.mean(0)) / (features.std(0) + 1e-6)


def trained_head(features: Tensor, labels: Tensor, classes: int) -> nn.Linear:
    """Return a linear classifier of features ``(N, C)`` with labels ``(N,)``."""
    torch.manual_seed(0)
    head = nn.Linear(features.shape[1], classes)
    optimizer = torch.optim.AdamW(head.parameters(), LR, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        indices = torch.randint(len(labels), (BATCH,))
        loss = F.cross_entropy(head(features[indices]), labels[indices])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return head


if __name__ == "__main__":
    main()
