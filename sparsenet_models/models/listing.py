"""Listings of the registry: all names, those with weights, and the metrics of those."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from typing import Any, Literal, overload

from .registry import architectures, get_pretrained_cfg, module_of, tagged_cfgs

TABLE_COLUMNS = (
    "name",
    "num_params",
    "macs",
    "data",
    "top1",
    "top5",
    "epochs",
    "epochs_before",
    "seed",
    "train_seconds",
    "machine",
)


def list_models(
    filter: str | Sequence[str] | None = "",
    module: str | Sequence[str] | None = "",
    pretrained: bool = False,
    exclude_filters: str | Sequence[str] | None = "",
    *,
    include_tags: bool | None = None,
) -> list[str]:
    """Return the names of models, in natural order (``_k12`` before ``_k100``).

    Args:
        filter: a pattern with ``*`` and ``?``, or several, any of which may match; a pattern
            without a tag also matches ``name.*``.
        module: only models of this module, such as "resnet", or of several.
        pretrained: only names that ``pretrained=True`` takes: every ``architecture.tag`` with weights or,
            without tags, every architecture whose first tag has some.
        exclude_filters: patterns of names to leave out.
        include_tags: list tags too; None follows ``pretrained``.
    """
    include_tags = pretrained if include_tags is None else include_tags
    names, modules = [], _patterns(module)
    for architecture in architectures():
        if modules and module_of(architecture).rpartition(".")[2] not in modules:
            continue
        cfgs = [cfg for cfg in tagged_cfgs(architecture) if cfg.has_weights or not pretrained]
        if include_tags and cfgs:
            names += [cfg.name for cfg in cfgs]
        elif not pretrained or get_pretrained_cfg(architecture).has_weights:
            names.append(architecture)
    patterns, excluded = _patterns(filter), _patterns(exclude_filters)
    return sorted(
        (
            name
            for name in names
            if (not patterns or _matches(name, patterns)) and not _matches(name, excluded)
        ),
        key=_natural_key,
    )


@overload
def list_pretrained(
    filter: str | Sequence[str] = ...,
    exclude_filters: str | Sequence[str] = ...,
    as_table: Literal[False] = ...,
) -> list[str]: ...
@overload
def list_pretrained(
    filter: str | Sequence[str] = ...,
    exclude_filters: str | Sequence[str] = ...,
    *,
    as_table: Literal[True],
) -> list[dict[str, Any]]: ...
def list_pretrained(
    filter: str | Sequence[str] = "", exclude_filters: str | Sequence[str] = "", as_table: bool = False
) -> list[str] | list[dict[str, Any]]:
    """Return every ``architecture.tag`` that has weights; filters as in ``list_models``.

    Args:
        filter: patterns of names.
        exclude_filters: patterns of names to leave out.
        as_table: return a dict for each instead, with the fields ``TABLE_COLUMNS`` of its configuration, for
            ``pandas.DataFrame(list_pretrained(as_table=True))``.
    """
    names = list_models(filter, pretrained=True, exclude_filters=exclude_filters)
    if not as_table:
        return names
    cfgs = [get_pretrained_cfg(name) for name in names]
    return [{column: getattr(cfg, column) for column in TABLE_COLUMNS} for cfg in cfgs]


def _patterns(filters: str | Sequence[str] | None) -> list[str]:
    listed = [filters] if isinstance(filters, str) else list(filters or ())
    return [pattern for pattern in listed if pattern]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(
        fnmatch.fnmatchcase(name, pattern)
        or ("." not in pattern and fnmatch.fnmatchcase(name, f"{pattern}.*"))
        for pattern in patterns
    )


def _natural_key(name: str) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]
