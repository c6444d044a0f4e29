"""Which earlier outputs feed which layer: the aggregation rules, in exact integer arithmetic.

The outputs of a stage are numbered. Output 0 is the stage's input, output ``l >= 1`` is what layer
``l`` made. A rule maps a layer to the outputs it receives; the stage's own output is what a layer
``N + 1`` would receive.

Sparse aggregation is from Zhu et al., "Sparsely Aggregated Convolutional Networks", ECCV 2018
(arXiv 1801.05895), section 3; dense aggregation from Huang et al., "Densely Connected Convolutional
Networks", CVPR 2017 (arXiv 1608.06993). This module needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from .arguments import integer, is_integer

AggregationRule = Callable[[int], Sequence[int]]
"""A pattern: called with a layer ``l >= 1``, returns distinct outputs in ``[0, l)``."""


def sparse_aggregation_indices(layer: int, base: int = 2) -> tuple[int, ...]:
    """Return the outputs that a layer receives under the sparse rule, nearest first.

    Layer ``l`` receives the outputs ``l - base**j >= 0`` for ``j = 0, 1, 2, ...``: exactly
    ``floor(log_base(l)) + 1`` of them (arXiv 1801.05895, section 3).

    >>> sparse_aggregation_indices(8)
    (7, 6, 4, 0)
    >>> sparse_aggregation_indices(9, base=3)
    (8, 6, 0)

    Args:
        layer: the layer's number, from 1; any size.
        base: the ratio between neighbouring offsets, from 2.

    Raises:
        TypeError: an argument is not an integer (a bool is not).
        ValueError: ``layer`` is below 1 or ``base`` below 2.
    """
    layer = integer("layer", layer, minimum=1)
    base = integer("base", base, minimum=2)
    indices = []
    offset = 1
    while offset <= layer:
        indices.append(layer - offset)
        offset *= base
    return tuple(indices)


def dense_aggregation_indices(layer: int) -> tuple[int, ...]:
    """Return the outputs that a layer receives under the dense rule: all of them, oldest first.

    >>> dense_aggregation_indices(3)
    (0, 1, 2)

    Raises:
        TypeError: ``layer`` is not an integer (a bool is not).
        ValueError: ``layer`` is below 1.
    """
    return tuple(range(integer("layer", layer, minimum=1)))


class StageGraph:
    """The links of one stage of ``num_layers`` layers.

    A link is a pair ``(source, layer)``: output ``source`` is read by layer ``layer``. Links into
    layers ``1 ... num_layers`` are counted; those into the stage's output (layer
    ``num_layers + 1``) are given by ``inputs(num_layers + 1)`` and count for ``last_use`` only.

    For the two built-in rules fan-in, link count, shortest path and last use are answered from a
    formula, so a stage may have 10**18 layers; for a user's own rule the links are enumerated.

    Args:
        num_layers: number of layers N, from 1.
        aggregation: "sparse", "dense", or a function from a layer (1 ... N + 1) to the distinct
            outputs in ``[0, layer)`` that it receives.
        base: the base of the sparse rule, from 2; only "sparse" uses it.

    Raises:
        TypeError: ``num_layers`` or ``base`` is not an integer.
        ValueError: ``num_layers`` is below 1, ``base`` below 2, ``aggregation`` is unknown, or the
            user's rule returned something other than distinct outputs in ``[0, layer)``.
    """

    def __init__(self, num_layers: int, aggregation: str | AggregationRule = "sparse", base: int = 2) -> None:
        self.num_layers = integer("num_layers", num_layers, minimum=1)
        self.base = integer("base", base, minimum=2)
        if not callable(aggregation) and (
            not isinstance(aggregation, str) or aggregation not in ("sparse", "dense")
        ):
            raise ValueError(
                f"aggregation must be 'sparse', 'dense' or a function of the layer, got {aggregation!r}"
            )
        self.aggregation = aggregation

    def inputs(self, layer: int) -> tuple[int, ...]:
        """Return the outputs that ``layer`` (1 ... N + 1) receives, in the order of the rule."""
        layer = self._within("layer", layer, minimum=1, maximum=self.num_layers + 1)
        if self.aggregation == "sparse":
            return sparse_aggregation_indices(layer, self.base)
        if self.aggregation == "dense":
            return dense_aggregation_indices(layer)
        assert callable(self.aggregation)
        return _checked_indices(layer, self.aggregation(layer))

    def links(self) -> Iterator[tuple[int, int]]:
        """Yield every link ``(source, layer)`` into the layers 1 ... N, layer by layer."""
        for layer in range(1, self.num_layers + 1):
            for source in self.inputs(layer):
                yield source, layer

    def fan_in(self, layer: int) -> int:
        """Return how many outputs ``layer`` (1 ... N + 1) receives."""
        layer = self._within("layer", layer, minimum=1, maximum=self.num_layers + 1)
        return layer if self.aggregation == "dense" else len(self.inputs(layer))

    def link_count(self) -> int:
        """Return the number of links into the layers 1 ... N.

        Sparse: the sum of ``floor(log_base(l)) + 1``, one term ``N - base**j + 1`` for each offset.
        Dense: ``N (N + 1) / 2``.
        """
        if self.aggregation == "dense":
            return self.num_layers * (self.num_layers + 1) // 2
        if self.aggregation == "sparse":
            # Offset base**j exists for the layers base**j ... N: those that layer N's inputs tell.
            return sum(source + 1 for source in self.inputs(self.num_layers))
        return sum(self.fan_in(layer) for layer in range(1, self.num_layers + 1))

    def shortest_path(self, output: int | None = None) -> int:
        """Return the fewest links that lead from ``output`` (default: N) back to output 0.

        Sparse: the sum of the digits of ``output`` in base ``base``. A way always leads back, as
        every layer reads something earlier.
        """
        target = self.num_layers if output is None else output
        target = self._within("output", target, minimum=0, maximum=self.num_layers)
        if self.aggregation == "dense":
            return min(target, 1)
        if self.aggregation == "sparse":
            return _digit_sum(target, self.base)
        distances = [0]
        for layer in range(1, target + 1):
            distances.append(1 + min(distances[source] for source in self.inputs(layer)))
        return distances[target]

    def last_use(self, output: int) -> int | None:
        """Return the last layer (1 ... N + 1) that reads ``output``; after it, it can be freed.

        ``N + 1`` is the stage's own output. None where nothing reads it, which only a user's rule
        can bring about.
        """
        output = self._within("output", output, minimum=0, maximum=self.num_layers)
        if self.aggregation == "dense":
            return self.num_layers + 1
        if self.aggregation == "sparse":
            return output + _largest_power(self.num_layers + 1 - output, self.base)
        readers = (layer for layer in range(self.num_layers + 1, output, -1) if output in self.inputs(layer))
        return next(readers, None)

    def _within(self, name: str, value: int, minimum: int, maximum: int) -> int:
        value = integer(name, value, minimum)
        if value > maximum:
            raise ValueError(
                f"{name} must be at most {maximum} in a stage of {self.num_layers} layers, got {value}"
            )
        return value


def _checked_indices(layer: int, indices: Sequence[int]) -> tuple[int, ...]:
    """Return a user's indices as a tuple of ints, or raise naming the layer and the value."""
    wanted = f"aggregation({layer}) must return distinct integers in [0, {layer})"
    try:
        values = tuple(indices)
    except TypeError:
        raise ValueError(f"{wanted}, got {indices!r}") from None
    if not values:
        raise ValueError(f"{wanted}, at least one, got {indices!r}")
    for value in values:
        if not is_integer(value) or not 0 <= value < layer:
            raise ValueError(f"{wanted}, got {value!r} in {values!r}")
    if len(set(values)) != len(values):
        raise ValueError(f"{wanted}, got a repeated one in {values!r}")
    return tuple(map(int, values))


def _digit_sum(number: int, base: int) -> int:
    total = 0
    while number:
        number, digit = divmod(number, base)
        total += digit
    return total


def _largest_power(limit: int, base: int) -> int:
    """Return the largest power of ``base`` that is at most ``limit >= 1``."""
    power = 1
    while power * base <= limit:
        power *= base
    return power
