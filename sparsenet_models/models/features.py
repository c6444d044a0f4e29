"""Intermediate feature maps: the argument that selects them, and their description."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, overload

from ..common.arguments import is_integer


def chosen_indices(indices: int | Sequence[int] | None, count: int, name: str = "out_indices") -> list[int]:
    """Return the positions of the selected feature maps among ``count``, in the caller's order.

    >>> chosen_indices((2, 0), 3), chosen_indices(-1, 3), chosen_indices(2, 3), chosen_indices(None, 3)
    ([2, 0], [2], [1, 2], [0, 1, 2])

    Args:
        indices: a sequence of positions, negative ones from the end; or an integer: n > 0 selects the last
            n maps, n < 0 the one map at that position; None selects all.
        count: number of feature maps.
        name: the argument's name in the error.

    Raises:
        TypeError: an index is not an integer.
        ValueError: an index is out of range, or the sequence is empty.
    """
    if indices is None:
        return list(range(count))
    if is_integer(indices):
        indices = int(indices)  # type: ignore[arg-type]
        if not -count <= indices <= count or indices == 0:
            raise ValueError(
                f"{name}={indices} is out of range: a net of {count} feature maps has the last "
                f"1 to {count}, or one at -{count} to -1"
            )
        return list(range(count - indices, count)) if indices > 0 else [count + indices]
    if not isinstance(indices, Sequence) or isinstance(indices, str) or not all(map(is_integer, indices)):
        raise TypeError(f"{name} must be an integer or a sequence of them, got {indices!r}")
    if not indices:
        raise ValueError(f"{name} must name at least one of the {count} feature maps, got {indices!r}")
    for index in indices:
        if not -count <= index < count:
            raise ValueError(
                f"{name} has {index}, out of range for a net of {count} feature maps "
                f"(0 to {count - 1}, or -{count} to -1)"
            )
    return [index % count for index in indices]


class FeatureInfo:
    """Describes a net's feature maps, with timm's methods; lists are in the order of ``out_indices``.

    Args:
        infos: one dict for each map of the net, with ``num_chs``, ``reduction`` and ``module``.
        out_indices: positions of the maps that the net returns.
    """

    def __init__(self, infos: Sequence[dict[str, Any]], out_indices: Sequence[int]) -> None:
        self.info = [{**info, "index": index} for index, info in enumerate(infos)]
        self.out_indices = list(out_indices)

    def __len__(self) -> int:
        return len(self.info)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.info[index]

    def get(self, key: str, idx: int | Sequence[int] | None = None) -> Any:
        """Return ``key`` of the map at ``idx``, of several maps, or (None) of those that the net returns."""
        indices = self.out_indices if idx is None else idx
        if isinstance(indices, Iterable):
            return [self.info[index][key] for index in indices]
        return self.info[indices][key]

    @overload
    def get_dicts(self, keys: Sequence[str] | None, idx: int) -> dict[str, Any]: ...
    @overload
    def get_dicts(self, keys: Sequence[str] | None = ..., *, idx: int) -> dict[str, Any]: ...
    @overload
    def get_dicts(
        self, keys: Sequence[str] | None = ..., idx: Sequence[int] | None = ...
    ) -> list[dict[str, Any]]: ...
    def get_dicts(
        self, keys: Sequence[str] | None = None, idx: int | Sequence[int] | None = None
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Return the description of the map at ``idx``, of several, or (None) of those that the net returns.

        Args:
            keys: of each description; None for all.
            idx: a map, or several.
        """
        indices = self.out_indices if idx is None else idx
        if isinstance(indices, Iterable):
            return [self.get_dicts(keys, index) for index in indices]
        info = self.info[indices]
        return {key: info[key] for key in (info if keys is None else keys)}

    def channels(self, idx: int | Sequence[int] | None = None) -> Any:
        """Return the channels of the maps."""
        return self.get("num_chs", idx)

    def reduction(self, idx: int | Sequence[int] | None = None) -> Any:
        """Return how many times smaller than the image the maps are, in height and in width."""
        return self.get("reduction", idx)

    def module_name(self, idx: int | Sequence[int] | None = None) -> Any:
        """Return the names of the modules whose outputs the maps are."""
        return self.get("module", idx)
