"""Training images held out to score on."""

from __future__ import annotations

import torch

from ..data.image_set import AnyImageSet


def hold_out(image_set: AnyImageSet, share: float, seed: int) -> tuple[AnyImageSet, AnyImageSet]:
    """Split a set class by class; return the images to train on and those held out.

    Of each class about ``share`` of the images are held out: at least one, and at least one stays.

    Args:
        image_set: the images.
        share: of the images to hold out, in (0, 1).
        seed: of the random choice.

    Raises:
        ValueError: a class has fewer than two images.
    """
    generator = torch.Generator().manual_seed(seed)
    held: list[torch.Tensor] = []
    for label, name in enumerate(image_set.class_names):
        members = (image_set.labels == label).nonzero()[:, 0]
        if len(members) < 2:
            raise ValueError(
                f"class {name!r} of {image_set.name} has too few images, {len(members)}: two are needed, one "
                "to learn from and one to hold out; with images in val/ and no --validation, none is held out"
            )
        count = min(max(1, round(share * len(members))), len(members) - 1)
        held.append(members[torch.randperm(len(members), generator=generator)[:count]])
    chosen = torch.cat(held).sort().values
    stays = torch.ones(len(image_set), dtype=torch.bool)
    stays[chosen] = False
    return image_set.part(stays.nonzero()[:, 0]), image_set.part(chosen)
