"""Augmentations of a batch of training images, on their own device.

Random numbers come from the generator or the seed that is passed in, so that the images of a step do not
depend on earlier steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

TRIVIAL_GROUP = 8
"""Images that share one operation of TrivialAugment; a call for each image would take too long."""


def padded_crop(images: Tensor, flipped: Tensor, shifts: Tensor) -> Tensor:
    """Mirror some images, pad all by reflection by an eighth of their side, crop to the original size.

    Args:
        images: ``(B, C, H, W)``.
        flipped: ``(B,)`` bool, the images to mirror left to right.
        shifts: ``(2, B)``, first row and column of each crop, in ``[0, 2 * padding_of(H, W)]``.
    """
    height, width = images.shape[2:]
    padding = padding_of(height, width)
    rows = shifts[0][:, None] + torch.arange(height)
    columns = torch.arange(width).expand(len(images), -1)
    columns = torch.where(flipped[:, None], columns.flip(1), columns) + shifts[1][:, None]
    # F.pad reflects no bytes on a GPU, so the pixels are looked up where they are mirrored to.
    rows, columns = _reflected(rows - padding, height), _reflected(columns - padding, width)
    rows, columns = rows.to(images.device), columns.to(images.device)
    index = torch.arange(len(images), device=images.device)
    # Channels last: one gather then gives the memory layout that convolutions use.
    pixels = images.permute(0, 2, 3, 1)
    return pixels[index[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _reflected(positions: Tensor, size: int) -> Tensor:
    """Mirror positions outside of ``[0, size)`` at the first and the last pixel."""
    last = size - 1
    return last - (last - positions.abs()).abs()


def padding_of(height: int, width: int) -> int:
    """Return the padding in pixels of images of this size: 4 for CIFAR's 32x32."""
    return min(height, width) // 8


def cut_out(images: Tensor, side: int, centres: Tensor) -> Tensor:
    """Set a square of ``side`` pixels to 0 (the mean of normalised images), DeVries & Taylor, 2017.

    The square is cut by the image's border, as in the paper (arXiv 1708.04552, section 3).

    Args:
        images: ``(B, C, H, W)``, normalised.
        side: of the square, in pixels.
        centres: ``(2, B)``, row and column of each square's centre.
    """
    height, width = images.shape[2:]
    first = (centres - side // 2).to(images.device)[:, :, None]
    rows, columns = (torch.arange(size, device=images.device) for size in (height, width))
    in_rows = (rows >= first[0]) & (rows < first[0] + side)
    in_columns = (columns >= first[1]) & (columns < first[1] + side)
    return images.masked_fill((in_rows[:, :, None] & in_columns[:, None, :])[:, None], 0)


def trivially_augmented(images: Tensor, share: float, seed: int) -> Tensor:
    """Apply torchvision's TrivialAugmentWide (Mueller & Hutter, arXiv 2103.10158) to a share of a batch.

    Args:
        images: ``(B, C, H, W)`` uint8, one or three channels.
        share: of the groups of ``TRIVIAL_GROUP`` images, in [0, 1].
        seed: of the random choices.
    """
    from torchvision.transforms import v2

    augment = v2.TrivialAugmentWide()
    with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's global generator
        torch.default_generator.manual_seed(seed)
        groups = [
            augment(group) if torch.rand(()) < share else group for group in images.split(TRIVIAL_GROUP)
        ]
    return torch.cat(groups)


def mixed(
    images: Tensor, labels: Tensor, classes: int, cutmix: float, mixup: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Apply torchvision's CutMix (arXiv 1905.04899) or MixUp (arXiv 1710.09412) to a batch, or neither.

    Args:
        images: ``(B, C, H, W)``.
        labels: ``(B,)`` int64, or ``(B, classes)``.
        classes: their number.
        cutmix: probability of CutMix.
        mixup: probability of MixUp; both together are at most 1.
        seed: of the random choices.

    Returns:
        The images, and the labels as they were, or ``(B, classes)`` where the batch is mixed.
    """
    from torchvision.transforms import v2

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        drawn = torch.rand(())
        if drawn >= cutmix + mixup:
            return images, labels
        mix = v2.CutMix if drawn < cutmix else v2.MixUp
        return mix(num_classes=classes)(images, labels)
