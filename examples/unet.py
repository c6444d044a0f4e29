"""A Unet of segmentation_models_pytorch on a pretrained encoder, against the same Unet on a random one.

    SPARSENET_DATA=~/cifar python examples/unet.py

The whole net is trained on the mosaics of segmentation.py: 96x96 pixels of 3x3 images of CIFAR-10, where each
pixel has the class of its tile. This needs segmentation_models_pytorch:
pip install ".[timm,training]" segmentation-models-pytorch

200 steps of each net take two minutes on 2 cores. Mean IoU on new mosaics: 15.7% from random weights, 29.9%
from those of sparsenet121.tiny_imagenet_kd.
"""

from __future__ import annotations

from pathlib import Path

import click
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from segmentation import BATCH_SIZE, data_option, mean_iou, mosaics, predict
from torch import nn

from sparsenet_models import create_model, resolve_data_config
from sparsenet_models.data import ImageSet, load_image_set, normalised
from sparsenet_models.integrations.timm import register

DECODER = (128, 96, 64, 32, 16)
"""Channels of the Unet's five steps, coarsest first."""


@click.command()
@data_option
@click.option(
    "--model", default="sparsenet121.tiny_imagenet_kd", show_default=True, help="NAME.TAG, of five maps."
)
@click.option("--steps", default=200, show_default=True, help="Training steps of each net.")
@click.option("--test-mosaics", default=100, show_default=True)
def main(data: Path, model: str, steps: int, test_mosaics: int) -> None:
    """Train a Unet on MODEL, with its weights and with random ones; compare loss and mean IoU."""
    register()
    config = resolve_data_config(create_model(model)) | {"input_size": (3, 32, 32)}
    train, test = (load_image_set(data / "cifar10", split, config) for split in ("train", "test"))
    classes = len(train.class_names)
    images, truth = mosaics(test, test_mosaics, seed=0)
    for start, weights in (("random", None), ("pretrained", True)):
        torch.manual_seed(0)
        unet = smp.Unet(f"tu-{model}", encoder_weights=weights, decoder_channels=DECODER, classes=classes)
        strides = unet.encoder.model.feature_info.reduction()
        losses = fit(unet, train, config, steps)
        tenth = max(1, steps // 10)
        begun, ended = (sum(part) / tenth for part in (losses[:tenth], losses[-tenth:]))
        score = mean_iou(predict(unet, nn.Identity(), images, config), truth, classes)
        print(
            f"{start:10} encoder, strides {strides}: loss {begun:.3f} -> {ended:.3f}, "
            f"mean IoU {score:.2f}% on {test_mosaics} mosaics",
            flush=True,
        )


def fit(unet: nn.Module, train: ImageSet, config: dict, steps: int) -> list[float]:
    """Train the whole net; return the loss of each step."""
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=steps)
    losses = []
    for step in range(steps):
        images, classes = mosaics(train, BATCH_SIZE, seed=step + 1)
        loss = F.cross_entropy(unet.train()(normalised(images, config["mean"], config["std"])), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


if __name__ == "__main__":
    main()
