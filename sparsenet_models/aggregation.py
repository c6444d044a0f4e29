"""Which earlier outputs feed which layer: the aggregation rules, in exact integer arithmetic.

The outputs of a stage are numbered. Output 0 is the stage's input, output ``l >= 1`` is what layer
``l`` made. A rule maps a layer to the outputs it receives; the stage's own output is what a layer
``N + 1`` would receive.

Sparse aggregation is from Zhu et al., "Sparsely Aggregated Convolutional Networks", ECCV 2018
(arXiv 1801.05895), section 3; dense aggregation from Huang et al., "Densely Connected Convolutional
Networks", CVPR 2017 (arXiv 1608.06993). This module needs no torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from .common.arguments import integer, is_integer

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

    For the two built-in rules every single number is answered from a formula, so a stage may have 10**18
    layers; for a user's own rule the links are enumerated.

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
        return [0, *self._path_lengths()][target]

    def total_path(self) -> int:
        """Return the sum of ``shortest_path(l)`` over l = 1 ... N."""
        if self.aggregation == "dense":
            return self.num_layers
        if self.aggregation == "sparse":
            return _digits_in_all(self.num_layers, self.base)
        return sum(self._path_lengths())

    def longest_path(self) -> int:
        """Return the largest ``shortest_path(l)`` over l = 1 ... N.

        Sparse: the largest sum of digits up to N is that of N, or of a number below it that ends in
        digits ``base - 1`` alone.
        """
        if self.aggregation == "dense":
            return 1
        if self.aggregation == "sparse":
            powers = _powers_up_to(self.num_layers, self.base)
            below = [self.num_layers // power * power - 1 for power in powers]
            return max(_digit_sum(number, self.base) for number in (self.num_layers, *below))
        return max(self._path_lengths())

    def _path_lengths(self) -> list[int]:
        """Return ``shortest_path(l)`` for l = 1 ... N, link by link."""
        lengths = [0]
        for layer in range(1, self.num_layers + 1):
            lengths.append(1 + min(lengths[source] for source in self.inputs(layer)))
        return lengths[1:]

    def last_use(self, output: int) -> int | None:
        """Return the last layer (1 ... N + 1) that reads ``output``; after it, it can be freed.

        ``N + 1`` is the stage's own output. None where nothing reads it, which only a user's rule
        can bring about.
        """
        output = self._within("output", output, minimum=0, maximum=self.num_layers)
        if self.aggregation == "dense":
            return self.num_layers + 1
        if self.aggregation == "sparse":
            return output + _powers_up_to(self.num_layers + 1 - output, self.base)[-1]
        readers = (layer for layer in range(self.num_layers + 1, output, -1) if output in self.inputs(layer))
        return next(readers, None)

    def last_uses(self) -> list[int | None]:
        """Return ``last_use(o)`` for o = 0 ... N, link by link where the rule is a user's own."""
        if self.aggregation in ("dense", "sparse"):
            return [self.last_use(output) for output in range(self.num_layers + 1)]
        last: list[int | None] = [None] * (self.num_layers + 1)
        for layer in range(1, self.num_layers + 2):
            for source in self.inputs(layer):
                last[source] = layer
        return last

    def most_waiting(self) -> int:
        """Return the most outputs that wait at once: made, and read by the layer at hand or a later one."""
        if self.aggregation == "dense":
            return self.num_layers + 1
        if self.aggregation == "sparse":
            return _most_waiting(self.num_layers, self.base)
        return max(self.waiting([1] * (self.num_layers + 1)))

    def waiting(self, sizes: Sequence[int]) -> list[int]:
        """Return the total size of the outputs that wait for layer l or a later one, for l = 1 ... N + 1.

        Args:
            sizes: the size of output 0 ... N.
        """
        changes = [0] * (self.num_layers + 3)
        for output, last in enumerate(self.last_uses()):
            if last is not None:
                changes[output + 1] += sizes[output]
                changes[last + 1] -= sizes[output]
        return list(itertools.accumulate(changes[1 : self.num_layers + 2]))

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


def _digits_in_all(number: int, base: int) -> int:
    """Return the sum of the digits in base ``base`` of 1 ... ``number``, one place after another."""
    total = 0
    for power in _powers_up_to(number, base):
        rounds, rest = divmod(number, power * base)  # the place runs through all its digits so often
        digit, beyond = divmod(rest, power)
        total += rounds * power * (base * (base - 1) // 2)
        total += power * (digit * (digit - 1) // 2) + digit * (beyond + 1)
    return total


def _powers_up_to(limit: int, base: int) -> list[int]:
    """Return the powers of ``base`` from 1 that are at most ``limit >= 1``."""
    powers = [1]
    while powers[-1] * base <= limit:
        powers.append(powers[-1] * base)
    return powers


def _most_waiting(num_layers: int, base: int) -> int:
    """Return the most outputs that wait at once under the sparse rule.

    An output ``d`` layers before the stage's own is last read by the layer ``d - p`` before it, where
    ``p`` is the largest power of ``base`` up to ``d``. So with ``r`` layers left after the one at hand, those
    wait for which ``d > r >= d - p``. Their number is linear in ``r`` between the points at which some
    power's first or last ``d`` changes from one bound to another, and largest at one of them.
    """
    powers = _powers_up_to(num_layers + 1, base)
    breaks = {0, num_layers}
    for power in powers:
        first, beyond = power, min(base * power, num_layers + 2)
        breaks |= {first - 1, beyond - 1 - first, beyond - 1, beyond - 2}

    def waiting(left: int) -> int:
        return sum(
            max(0, min(power + left, base * power - 1, num_layers + 1) - max(power, left + 1) + 1)
            for power in powers
        )

    return max(waiting(left) for left in breaks if 0 <= left <= num_layers)
