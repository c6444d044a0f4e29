"""A segmentation head on frozen feature maps, against the same head on a randomly initialised backbone.

    pip install ".[training,plots]"
    SPARSENET_DATA=~/cifar python examples/segmentation.py --picture mosaics.png

An image is a mosaic of CIFAR-10 images, and each pixel has the class of its tile. The head is that of a
feature pyramid network (Lin et al., CVPR 2017, arXiv 1612.03144, section 3) on the maps of ``features_only``:
1x1 convolutions to one width, then the coarse maps are scaled up and added to the finer ones. The head is
trained on mosaics of training images and scored on mosaics of test images. Both backbones are in eval mode;
the random one's batch norms keep their initial statistics.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsenet_models import create_model, resolve_data_config
from sparsenet_models.data import ImageSet, load_image_set, normalised

TILES = 3
BATCH_SIZE = 8
WIDTH = 32


data_option = click.option(
    "--data",
    envvar="SPARSENET_DATA",
    required=True,
    show_envvar=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the Parquet files of CIFAR-10 in cifar10/.",
)


class PyramidHead(nn.Module):
    """Feature maps, finest first, to class scores ``(N, num_classes, H, W)`` on the finest map's grid."""

    def __init__(self, channels: list[int], num_classes: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(count) for count in channels)
        self.laterals = nn.ModuleList(nn.Conv2d(count, WIDTH, kernel_size=1) for count in channels)
        self.smooth = nn.Conv2d(WIDTH, WIDTH, kernel_size=3, padding=1)
        self.classify = nn.Conv2d(WIDTH, num_classes, kernel_size=1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        levels = [
            lateral(norm(level).relu()) for lateral, norm, level in zip(self.laterals, self.norms, maps)
        ]
        total = levels[-1]
        for finer in reversed(levels[:-1]):
            total = finer + F.interpolate(total, finer.shape[2:], mode="bilinear")
        return self.classify(self.smooth(total).relu())


def mosaics(part: ImageSet, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return ``count`` mosaics ``(count, 3, H, W)`` uint8 of the set's images, and their pixels' classes."""
    chosen = torch.randint(len(part), (count, TILES, TILES), generator=torch.Generator().manual_seed(seed))
    images = part.images[chosen].permute(0, 3, 1, 4, 2, 5)
    side = part.size[1]
    classes = part.labels[chosen].repeat_interleave(side, dim=1).repeat_interleave(side, dim=2)
    return images.reshape(count, 3, TILES * side, TILES * side), classes


@click.command()
@data_option
@click.option("--model", default="sparsenet_bc_40_k12.cifar10", show_default=True)
@click.option("--steps", default=100, show_default=True, help="Training steps of each head.")
@click.option("--test-mosaics", default=100, show_default=True)
@click.option("--picture", help="File for a picture of some mosaics, their classes and both predictions.")
def main(data: Path, model: str, steps: int, test_mosaics: int, picture: str | None) -> None:
    """Train a head on frozen maps of MODEL, with its weights and with random ones; compare mean IoU."""
    config = resolve_data_config(create_model(model))
    folder = data / "cifar10"
    train, test = (load_image_set(folder, split, config) for split in ("train", "test"))
    test_images, truth = mosaics(test, test_mosaics, seed=0)

    scores, predictions = {}, {}
    for name, pretrained in (("random", False), ("pretrained", True)):
        torch.manual_seed(0)
        backbone = create_model(model, pretrained=pretrained, features_only=True, out_indices=(1, 2)).eval()
        head = PyramidHead(backbone.feature_info.channels(), len(train.class_names))
        fit(head, backbone, train, config, steps)
        predictions[name] = predict(head, backbone, test_images, config)
        scores[name] = mean_iou(predictions[name], truth, len(train.class_names))
        print(
            f"{name:10} backbone, frozen: mean IoU {scores[name]:.2f}% on {test_mosaics} mosaics", flush=True
        )
    if picture:
        draw(picture, test_images, truth, predictions, test.class_names)
    print(f"pretrained is {scores['pretrained'] - scores['random']:.2f} points above random")


def fit(head: nn.Module, backbone: nn.Module, train: ImageSet, config: dict, steps: int) -> None:
    """Train the head alone."""
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    for step in range(steps):
        images, classes = mosaics(train, BATCH_SIZE, seed=step + 1)
        with torch.no_grad():
            maps = backbone(normalised(images, config["mean"], config["std"]))
        scores = F.interpolate(head(maps), classes.shape[1:], mode="bilinear")
        loss = F.cross_entropy(scores, classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def predict(head: nn.Module, backbone: nn.Module, images: Tensor, config: dict) -> Tensor:
    """Return the predicted class of every pixel, ``(N, H, W)``."""
    head.eval()
    classes = []
    for batch in images.split(BATCH_SIZE):
        scores = head(backbone(normalised(batch, config["mean"], config["std"])))
        classes.append(F.interpolate(scores, batch.shape[2:], mode="bilinear").argmax(dim=1))
    return torch.cat(classes)


def mean_iou(predicted: Tensor, truth: Tensor, num_classes: int) -> float:
    """Return the mean of intersection over union, in percent, over the classes that occur."""
    pairs = torch.bincount((truth * num_classes + predicted).flatten(), minlength=num_classes**2)
    confusion = pairs.reshape(num_classes, num_classes).float()
    intersection = confusion.diagonal()
    return 100 * (intersection / (confusion.sum(0) + confusion.sum(1) - intersection)).nanmean().item()


def draw(
    path: str, images: Tensor, truth: Tensor, predictions: dict[str, Tensor], names: tuple[str, ...]
) -> None:
    """Draw three mosaics, each with its true classes and the predictions of both heads."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    columns = {"mosaic": images.permute(0, 2, 3, 1), "classes": truth}
    columns |= {f"{name} backbone": classes for name, classes in predictions.items()}
    figure, axes = pyplot.subplots(3, len(columns), figsize=(9, 7.6), layout="constrained")
    for row, line in enumerate(axes):
        for axis, (title, content) in zip(line, columns.items()):
            axis.imshow(content[row].numpy(), cmap="tab10", vmin=0, vmax=9, interpolation="nearest")
            axis.set_axis_off()
            if row == 0:
                axis.set_title(title)
    colours = pyplot.get_cmap("tab10")
    patches = [Patch(color=colours(index), label=name) for index, name in enumerate(names)]
    figure.legend(handles=patches, loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
