"""torchvision's FCOS on the feature maps of a net, trained to find shapes that are pasted on backgrounds.

    python examples/detection.py --model sparsenet121

The detector is FCOS (Tian et al., ICCV 2019, arXiv 1904.01355) on a feature pyramid of the maps with strides
4, 8 and 16. Scenes are made as they are needed: squares, discs and triangles of 12 to 40 pixels in one
colour, on blurred noise of 64x64 pixels. A name with a tag starts from that tag's weights.

120 steps take 27 to 54 s on 2 cores with AMX. From random weights the loss falls from 2.68 to 1.20; on new
scenes 99% of the objects are found, but only 10% of the detections are right: it is far from trained. From
the weights of sparsenet121.tiny_imagenet_kd the loss falls from 2.63 to 0.87, all objects are found, and 24%
of the detections are right.
"""

from __future__ import annotations

from typing import Any

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, box_iou

from sparsenet_models import create_model, resolve_data_config

SHAPES = ("square", "disc", "triangle")
SIDE, SMALLEST, LARGEST = 64, 12, 40
MAPS, WIDTH = (1, 2, 3), 64
BATCH_SIZE = 16


class Pyramid(nn.Module):
    """``(N, 3, H, W)`` to a dict of maps ``(N, WIDTH, H / r, W / r)``, one for each of ``strides``."""

    out_channels = WIDTH

    def __init__(self, model: str) -> None:
        super().__init__()
        self.body = create_model(model, pretrained="." in model, features_only=True, out_indices=MAPS)
        self.strides = self.body.feature_info.reduction()
        self.pyramid = FeaturePyramidNetwork(self.body.feature_info.channels(), WIDTH)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.pyramid({str(r): level for r, level in zip(self.strides, self.body(images))})


def scenes(count: int, seed: int) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Return images ``(3, SIDE, SIDE)`` in [0, 1] and, as torchvision takes them, their boxes and labels."""
    generator = torch.Generator().manual_seed(seed)
    axis = torch.arange(SIDE) + 0.5
    images, targets = [], []
    for _ in range(count):
        noise = torch.rand(1, 3, 8, 8, generator=generator)
        image = F.interpolate(noise, (SIDE, SIDE), mode="bilinear")[0]
        boxes, labels = [], []
        taken = torch.zeros(SIDE, SIDE, dtype=torch.bool)
        for _ in range(int(torch.randint(1, 4, (), generator=generator))):
            side = int(torch.randint(SMALLEST, LARGEST + 1, (), generator=generator))
            left, top = torch.randint(0, SIDE - side + 1, (2,), generator=generator).tolist()
            shape = int(torch.randint(len(SHAPES), (), generator=generator))
            x, y = (axis - left)[None] * 2 / side - 1, (axis - top)[:, None] * 2 / side - 1
            inside = (x.abs() <= 1) & (y.abs() <= 1)
            inside &= (True, x**2 + y**2 <= 1, y >= 2 * x.abs() - 1)[shape]
            if (inside & taken).any():
                continue  # it would cover another
            taken |= inside
            image = torch.where(inside, torch.rand(3, 1, 1, generator=generator), image)
            boxes.append([left, top, left + side, top + side])
            labels.append(shape + 1)  # 0 is the background
        images.append(image)
        targets.append({"boxes": torch.tensor(boxes).float(), "labels": torch.tensor(labels)})
    return images, targets


def detector(model: str) -> FCOS:
    """Return an FCOS for the shapes."""
    backbone = Pyramid(model)
    anchors = AnchorGenerator(tuple((r,) for r in backbone.strides), ((1.0,),) * len(backbone.strides))
    config = resolve_data_config(backbone.body)
    images: dict[str, Any] = dict(
        min_size=SIDE, max_size=SIDE, image_mean=config["mean"], image_std=config["std"]
    )
    return FCOS(backbone, len(SHAPES) + 1, anchor_generator=anchors, **images)


def fit(net: FCOS, steps: int) -> list[float]:
    """Train the detector; return the loss of each step."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=steps)
    losses = []
    for step in range(steps):
        loss = sum(net.train()(*scenes(BATCH_SIZE, seed=step + 1)).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def shares(net: FCOS, count: int) -> tuple[float, float]:
    """Return how many objects of ``count`` new scenes are found, and detections are right, in percent.

    An object and a detection belong together where their shape is the same and their IoU at least 0.5.
    """
    images, targets = scenes(count, seed=0)
    found, right = [], []
    for told, target in zip(net.eval()(images), targets):
        same = target["labels"][:, None] == told["labels"]
        together = same & (box_iou(target["boxes"], told["boxes"]) >= 0.5)
        found += together.any(dim=1).tolist()
        right += together.any(dim=0).tolist()
    return 100 * sum(found) / len(found), 100 * sum(right) / max(1, len(right))


@click.command()
@click.option("--model", default="sparsenet121", show_default=True, help="A net with the ImageNet stem.")
@click.option("--steps", default=120, show_default=True, help="Training steps, of 16 scenes each.")
def main(model: str, steps: int) -> None:
    """Train FCOS on MODEL; print the strides of its maps, the loss, and what it finds."""
    torch.manual_seed(0)
    net = detector(model)
    maps = net.backbone.eval()(torch.zeros(1, 3, SIDE, SIDE))
    print(f"strides {net.backbone.strides}, maps of {[level.shape[-1] for level in maps.values()]} pixels")
    losses = fit(net, steps)
    tenth = max(1, steps // 10)
    begun, ended = (sum(part) / tenth for part in (losses[:tenth], losses[-tenth:]))
    print(f"loss {begun:.3f} -> {ended:.3f}")
    found, right = shares(net, 50)
    print(f"50 new scenes: {found:.0f}% of the objects found, {right:.0f}% of the detections right")


if __name__ == "__main__":
    main()
