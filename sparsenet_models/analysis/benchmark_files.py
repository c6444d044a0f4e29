"""What files by `sparsenet benchmark --csv` say: speed beside error, cost by depth."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from ..models.listing import list_pretrained
from ..models.registry import get_pretrained_cfg, is_model

FAMILIES = {
    "sparsenet": "SparseNet",
    "densenet": "DenseNet",
    "resnet": "ResNet",
    "sparse_resnet": "sparse ResNet",
    "fractalnet": "FractalNet",
}
"""By the start of a net's name."""


class TimedRow(NamedTuple):
    """What is read of a row, by column; a depth or memory that was not written is 0."""

    net: str
    engine: str
    batch: int
    depth: int
    side: int
    mode: str
    images_per_second: float
    ms_per_image: float
    first_call_seconds: float
    peak_mib: float
    base_mib: float


class SpeedPoint(NamedTuple):
    """A weight's speed, and its top-1 error in percent on the data of its tag."""

    name: str
    family: str
    batch: int
    images_per_second: float
    error: float


class DepthCurve(NamedTuple):
    """The costs of one family in one engine by ``depths``.

    ``memory_mib`` is the peak of the process above what it had before the net was built,
    ``seconds`` those of an image, ``first_seconds`` those of the first call.
    """

    family: str
    engine: str
    depths: tuple[int, ...]
    memory_mib: tuple[float, ...]
    seconds: tuple[float, ...]
    first_seconds: tuple[float, ...]


def speed_points(file: str | Path) -> list[SpeedPoint]:
    """Return a point for each measured weight whose error is known, at the largest batch size.

    Where a net was measured in several engines, the fastest counts.

    Args:
        file: a CSV file by `sparsenet benchmark NAME... --csv`; a name without a tag stands for its first.

    Raises:
        ValueError: it is no such file, has no such weight, or has weights for different data, or with images
            of another size than they were scored on, whose errors cannot be compared.
        OSError: it cannot be read.
    """
    weights = set(list_pretrained())
    rows = [
        (row, cfg)
        for row in _measured(file, "forward")
        if is_model(row.net) and (cfg := get_pretrained_cfg(row.net)).name in weights and cfg.top1 is not None
    ]
    if not rows:
        raise ValueError(f"{file} has no net with bundled weights; list_pretrained() names them")
    by_data = {cfg.data: cfg.name for _, cfg in rows}
    if len(by_data) > 1:
        raise ValueError(f"{file} has weights for different data: {' and '.join(by_data.values())}")
    for row, cfg in rows:
        assert cfg.input_size is not None  # its weights were scored at that size
        if row.side != cfg.input_size[1]:
            raise ValueError(
                f"{file} has {cfg.name} with images of {row.side} pixels, its error is that of "
                f"{cfg.input_size[1]}"
            )
    largest = max(row.batch for row, _ in rows)
    fastest: dict[str, SpeedPoint] = {}
    for row, cfg in rows:
        name, speed = cfg.name, row.images_per_second
        known = name in fastest and fastest[name].images_per_second >= speed
        if row.batch == largest and not known:
            assert cfg.top1 is not None  # see above
            fastest[name] = SpeedPoint(name, family_by_name(name), largest, speed, 100 - cfg.top1)
    return list(fastest.values())


def depth_curves(file: str | Path) -> list[DepthCurve]:
    """Return a curve for each family and engine, at the largest batch size.

    Args:
        file: a CSV file by `sparsenet benchmark NAME... --train --depths ... --csv`.

    Raises:
        ValueError: it is no such file, none of its rows has a depth, or two of its nets are of one family.
        OSError: it cannot be read.
    """
    rows = [row for row in _measured(file, "training step") if row.depth]
    if not rows:
        raise ValueError(f"{file} has no depths; `sparsenet benchmark --depths` measures them")
    if not all(row.peak_mib for row in rows):
        raise ValueError(f"{file} has rows without peak_mib, which cannot be measured on Windows")
    rows.sort(key=lambda row: row.depth)
    largest = max(row.batch for row in rows)
    names: dict[str, str] = {}
    groups: dict[tuple[str, str], list[TimedRow]] = defaultdict(list)
    for row in rows:
        name = row.net.partition(" ")[0]
        family = family_by_name(name)
        if names.setdefault(family, name) != name:
            raise ValueError(f"{file} has two nets of one family, {names[family]} and {name}: measure one")
        if row.batch == largest:
            groups[family, row.engine].append(row)
    return [
        DepthCurve(
            family,
            engine,
            tuple(row.depth for row in rows),
            # A GPU's peak is that of the net alone, without a base.
            tuple(row.peak_mib - row.base_mib for row in rows),
            tuple(row.ms_per_image / 1e3 for row in rows),
            tuple(row.first_call_seconds for row in rows),
        )
        for (family, engine), rows in groups.items()
    ]


def family_by_name(name: str) -> str:
    """Return the family of a net of this library by its name."""
    return next((family for start, family in FAMILIES.items() if name.startswith(start)), name)


def _measured(file: str | Path, mode: str) -> list[TimedRow]:
    """Return the rows that were timed, all of which are of that mode."""
    try:
        with Path(file).open(newline="", encoding="utf-8") as lines:
            reader = csv.DictReader(lines)
            missing = set(TimedRow._fields) - set(reader.fieldnames or ())
            if missing:
                raise ValueError(f"it has no {min(missing)}")
            rows = [_timed_row(row) for row in reader if row["images_per_second"]]
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{file} is no file by `sparsenet benchmark --csv`: {error}") from error
    for row in rows:
        if row.mode != mode:
            raise ValueError(f"{file} must have times of a {mode}, it has those of a {row.mode}")
    return rows


def _timed_row(row: dict[str, str]) -> TimedRow:
    if None in row.values():
        raise ValueError("a row is cut off")
    return TimedRow(
        net=row["net"],
        engine=row["engine"],
        batch=int(row["batch"]),
        depth=int(row["depth"] or 0),
        side=int(row["side"]),
        mode=row["mode"],
        images_per_second=float(row["images_per_second"]),
        ms_per_image=float(row["ms_per_image"]),
        first_call_seconds=float(row["first_call_seconds"]),
        peak_mib=float(row["peak_mib"] or 0),
        base_mib=float(row["base_mib"] or 0),
    )
