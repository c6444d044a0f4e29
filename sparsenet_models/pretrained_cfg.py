"""What is known of a set of weights: where they are, how images reach them, and the evidence."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .suggest import did_you_mean


@dataclass(frozen=True)
class PretrainedCfg:
    """The configuration of one ``architecture.tag``. Field names are timm's where timm has one.

    ``file`` is a local weight file; without it there are no weights under this tag. Sizes are
    ``(channels, height, width)`` or ``(height, width)`` in pixels, ``mean`` and ``std`` are per
    channel with pixels in [0, 1], ``top1`` is accuracy in percent on the set's test images.
    """

    architecture: str = ""
    tag: str = ""
    file: str | None = None
    sha256: str | None = None
    file_size: int | None = None
    input_size: tuple[int, int, int] = (3, 224, 224)
    min_input_size: tuple[int, int, int] | None = None
    fixed_input_size: bool = False
    pool_size: tuple[int, int] | None = None
    interpolation: str = "bicubic"
    crop_pct: float = 0.875
    crop_mode: str = "center"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    num_classes: int | None = None
    label_names: tuple[str, ...] | None = None
    first_conv: str | None = None
    classifier: str | None = None
    num_params: int | None = None
    data: str | None = None
    top1: float | None = None
    recipe: str | None = None
    epochs: int | None = None
    seed: int | None = None
    library_version: str | None = None
    git_commit: str | None = None
    license: str | None = None
    paper_name: str | None = None
    paper_ids: str | None = None

    @property
    def name(self) -> str:
        """``architecture.tag``, or the architecture alone where there is no tag."""
        return f"{self.architecture}.{self.tag}" if self.tag else self.architecture

    @property
    def has_weights(self) -> bool:
        """Whether there is a file to load."""
        return self.file is not None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a new dict."""
        return dataclasses.asdict(self)

    def overlaid(self, overlay: Mapping[str, Any]) -> PretrainedCfg:
        """Return a copy with the keys of ``overlay`` in place of its own.

        A new ``file`` without a ``sha256`` is not checked against the old one's.

        Raises:
            ValueError: a key is not a field.
        """
        names = [field.name for field in dataclasses.fields(self)]
        for key in overlay:
            if key not in names:
                hint = did_you_mean(key, names)
                raise ValueError(f"unknown key {key!r} in pretrained_cfg_overlay{hint}")
        changes = dict(overlay)
        if "file" in changes:
            changes["file"] = None if changes["file"] is None else str(changes["file"])
            changes.setdefault("sha256", None)
            changes.setdefault("file_size", None)
        return dataclasses.replace(self, **changes)
