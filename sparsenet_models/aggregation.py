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
"""A user's rule: called with a layer ``l >= 1``, returns distinct outputs in ``[0, l)``."""


def sparse_aggregation_indices(layer: int, base: int = 2) -> tuple[int, ...]:
    """Return the outputs that a layer receives under the sparse rule, nearest first.

    Layer ``l`` receives the outputs ``l - base**j >= 0`` for ``j = 0, 1, 2, ...``: exactly
    ``floor(log_base(l)) + 1`` of them (arXiv 1801.05895, section 3).

    Examples:
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
    return SparseRule(base).inputs(layer)


def dense_aggregation_indices(layer: int) -> tuple[int, ...]:
    """Return the outputs that a layer receives under the dense rule: all of them, oldest first.

    Examples:
        >>> dense_aggregation_indices(3)
        (0, 1, 2)

    Raises:
        TypeError: ``layer`` is not an integer (a bool is not).
        ValueError: ``layer`` is below 1.
    """
    return DenseRule().inputs(integer("layer", layer, minimum=1))


class StageGraph:
    """The links of one stage of ``num_layers`` layers.

    A link is a pair ``(source, layer)``: layer ``layer`` reads output ``source``. Counts of links and
    paths cover the layers ``1 ... num_layers``. The layer ``num_layers + 1`` stands for the stage's own
    output: ``inputs`` and ``fan_in`` answer for it, and it counts as a reader in ``last_use``.

    The two built-in rules answer every question of one number by a formula, so a stage may have 10**18
    layers. For a user's rule the links are enumerated.

    Args:
        num_layers: number of layers N, from 1.
        aggregation: "sparse", "dense", or a function from a layer (1 ... N + 1) to the distinct
            outputs in ``[0, layer)`` that it receives.
        base: the base of the sparse rule, from 2; only "sparse" uses it.

    Raises:
        TypeError: ``num_layers`` or ``base`` is not an integer.
        ValueError: ``num_layers`` is below 1, ``base`` below 2, or ``aggregation`` is unknown. Every method
            raises it where the user's rule returns something other than distinct outputs in ``[0, layer)``.
    """

    def __init__(self, num_layers: int, aggregation: str | AggregationRule = "sparse", base: int = 2) -> None:
        self.num_layers = integer("num_layers", num_layers, minimum=1)
        self.base = integer("base", base, minimum=2)
        self.aggregation = aggregation
        self._rule = _rule(aggregation, self.base)

    @property
    def reads_everything(self) -> bool:
        """Whether the rule is the dense one: every layer reads every earlier output, oldest first."""
        return self._rule.reads_everything

    def inputs(self, layer: int) -> tuple[int, ...]:
        """Return the outputs that ``layer`` (1 ... N + 1) receives, in the order of the rule."""
        return self._rule.inputs(self._checked_layer(layer))

    def reads(self, layer: int, output: int) -> bool:
        """Return whether ``layer`` (1 ... N + 1) receives ``output`` (0 ... N)."""
        return self._rule.reads(self._checked_layer(layer), self._checked_output(output))

    def links(self) -> Iterator[tuple[int, int]]:
        """Yield every link ``(source, layer)`` into the layers 1 ... N, layer by layer."""
        for layer in range(1, self.num_layers + 1):
            for source in self.inputs(layer):
                yield source, layer

    def fan_in(self, layer: int) -> int:
        """Return how many outputs ``layer`` (1 ... N + 1) receives."""
        return self._rule.fan_in(self._checked_layer(layer))

    def max_fan_in(self) -> int:
        """Return the largest fan-in of the layers 1 ... N."""
        return self._rule.max_fan_in(self.num_layers)

    def link_count(self) -> int:
        """Return the number of links into the layers 1 ... N."""
        return self._rule.link_count(self.num_layers)

    def shortest_path(self, output: int | None = None) -> int:
        """Return the fewest links that lead from ``output`` (default: N) back to output 0.

        There is always a path, as every layer reads an earlier output.
        """
        return self._rule.shortest_path(self.num_layers if output is None else self._checked_output(output))

    def total_path(self) -> int:
        """Return the sum of ``shortest_path(l)`` over l = 1 ... N."""
        return self._rule.total_path(self.num_layers)

    def longest_path(self) -> int:
        """Return the largest ``shortest_path(l)`` over l = 1 ... N."""
        return self._rule.longest_path(self.num_layers)

    def last_use(self, output: int) -> int | None:
        """Return the last layer (1 ... N + 1) that reads ``output``, after which its memory is free.

        None where no layer reads it, which only a user's rule allows.
        """
        return self._rule.last_use(self._checked_output(output), self.num_layers)

    def last_uses(self) -> list[int | None]:
        """Return ``last_use(o)`` for o = 0 ... N."""
        return self._rule.last_uses(self.num_layers)

    def most_waiting(self) -> int:
        """Return the most outputs that wait at once: made, and read by the current layer or a later one."""
        return self._rule.most_waiting(self.num_layers)

    def waiting(self, sizes: Sequence[int]) -> list[int]:
        """Return the total size of the outputs that wait for layer l or a later one, for l = 1 ... N + 1.

        Args:
            sizes: the size of output 0 ... N.

        Raises:
            ValueError: these are not N + 1 sizes.
        """
        if len(sizes) != self.num_layers + 1:
            raise ValueError(
                f"sizes must be those of the {self.num_layers + 1} outputs 0 ... {self.num_layers}, got "
                f"{len(sizes)}"
            )
        return self._rule.waiting(sizes)

    def _checked_layer(self, layer: int) -> int:
        return self._at_most("layer", integer("layer", layer, minimum=1), self.num_layers + 1)

    def _checked_output(self, output: int) -> int:
        return self._at_most("output", integer("output", output, minimum=0), self.num_layers)

    def _at_most(self, name: str, value: int, maximum: int) -> int:
        if value > maximum:
            raise ValueError(
                f"{name} must be at most {maximum} in a stage of {self.num_layers} layers, got {value}"
            )
        return value


class Rule:
    """An aggregation rule that answers every question of ``StageGraph`` by enumerating its links.

    A subclass defines ``inputs``, and overrides whatever it has a formula for. ``StageGraph`` checks the
    arguments and documents the questions.
    """

    reads_everything = False

    def inputs(self, layer: int) -> tuple[int, ...]:
        raise NotImplementedError

    def reads(self, layer: int, output: int) -> bool:
        return output in self.inputs(layer)

    def fan_in(self, layer: int) -> int:
        return len(self.inputs(layer))

    def max_fan_in(self, num_layers: int) -> int:
        return max(self.fan_in(layer) for layer in range(1, num_layers + 1))

    def link_count(self, num_layers: int) -> int:
        return sum(self.fan_in(layer) for layer in range(1, num_layers + 1))

    def path_lengths(self, num_layers: int) -> list[int]:
        """Return the shortest path of output 0 ... N."""
        lengths = [0]
        for layer in range(1, num_layers + 1):
            lengths.append(1 + min(lengths[source] for source in self.inputs(layer)))
        return lengths

    def shortest_path(self, output: int) -> int:
        return self.path_lengths(output)[-1]

    def total_path(self, num_layers: int) -> int:
        return sum(self.path_lengths(num_layers))

    def longest_path(self, num_layers: int) -> int:
        return max(self.path_lengths(num_layers))

    def last_use(self, output: int, num_layers: int) -> int | None:
        later = range(num_layers + 1, output, -1)
        return next((layer for layer in later if self.reads(layer, output)), None)

    def last_uses(self, num_layers: int) -> list[int | None]:
        last: list[int | None] = [None] * (num_layers + 1)
        for layer in range(1, num_layers + 2):
            for source in self.inputs(layer):
                last[source] = layer
        return last

    def most_waiting(self, num_layers: int) -> int:
        return max(self.waiting([1] * (num_layers + 1)))

    def waiting(self, sizes: Sequence[int]) -> list[int]:
        num_layers = len(sizes) - 1
        changes = [0] * (num_layers + 3)  # changes[l]: what layer l waits for more than layer l - 1
        for output, last in enumerate(self.last_uses(num_layers)):
            if last is not None:
                changes[output + 1] += sizes[output]
                changes[last + 1] -= sizes[output]
        return list(itertools.accumulate(changes[1 : num_layers + 2]))


class SparseRule(Rule):
    """Layer ``l`` reads the outputs ``l - base**j``, nearest first (arXiv 1801.05895, section 3)."""

    def __init__(self, base: int) -> None:
        self.base = base

    def inputs(self, layer: int) -> tuple[int, ...]:
        return tuple([layer - offset for offset in _powers_up_to(layer, self.base)])

    def fan_in(self, layer: int) -> int:
        return len(_powers_up_to(layer, self.base))

    def max_fan_in(self, num_layers: int) -> int:
        return self.fan_in(num_layers)  # the fan-in never decreases

    def link_count(self, num_layers: int) -> int:
        """Sum over the offsets: the layers ``base**j ... N`` have a link of offset ``base**j``."""
        return sum(num_layers - offset + 1 for offset in _powers_up_to(num_layers, self.base))

    def shortest_path(self, output: int) -> int:
        """Sum the digits of ``output`` in base ``base``."""
        return _digit_sum(output, self.base)

    def total_path(self, num_layers: int) -> int:
        """Sum the digits in base ``base`` of 1 ... N, one place of the numbers after another."""
        total = 0
        for power in _powers_up_to(num_layers, self.base):
            # 0 ... N run through all digits of this place ``cycles`` times, then end within a digit.
            cycles, rest = divmod(num_layers, power * self.base)
            digit, beyond = divmod(rest, power)
            total += cycles * power * (self.base * (self.base - 1) // 2)
            total += power * (digit * (digit - 1) // 2) + digit * (beyond + 1)
        return total

    def longest_path(self, num_layers: int) -> int:
        """Return the largest digit sum up to N: of N, or of a number below it that ends in ``base - 1``s."""
        powers = _powers_up_to(num_layers, self.base)
        below = [num_layers // power * power - 1 for power in powers]
        return max(_digit_sum(number, self.base) for number in (num_layers, *below))

    def last_use(self, output: int, num_layers: int) -> int:
        return output + _powers_up_to(num_layers + 1 - output, self.base)[-1]

    def most_waiting(self, num_layers: int) -> int:
        """Evaluate the number of waiting outputs at the few layers where it can be largest.

        An output ``d`` layers before the stage's own is last read by the layer ``d - p`` before it, where
        ``p`` is the largest power of ``base`` up to ``d``. So with ``r`` layers left after the current one,
        the outputs with ``d > r >= d - p`` wait. Their number is linear in ``r`` between the points at which
        some power's first or last ``d`` changes from one bound to another, and largest at one of them.
        """
        powers = _powers_up_to(num_layers + 1, self.base)
        breaks = {0, num_layers}
        for power in powers:
            first, beyond = power, min(self.base * power, num_layers + 2)
            breaks |= {first - 1, beyond - 1 - first, beyond - 1, beyond - 2}

        def waiting(left: int) -> int:
            return sum(
                max(0, min(power + left, self.base * power - 1, num_layers + 1) - max(power, left + 1) + 1)
                for power in powers
            )

        return max(waiting(left) for left in breaks if 0 <= left <= num_layers)


class DenseRule(Rule):
    """Every layer reads every earlier output, oldest first (arXiv 1608.06993)."""

    reads_everything = True

    def inputs(self, layer: int) -> tuple[int, ...]:
        return tuple(range(layer))

    def reads(self, layer: int, output: int) -> bool:
        return output < layer

    def fan_in(self, layer: int) -> int:
        return layer

    def max_fan_in(self, num_layers: int) -> int:
        return num_layers

    def link_count(self, num_layers: int) -> int:
        return num_layers * (num_layers + 1) // 2

    def shortest_path(self, output: int) -> int:
        return min(output, 1)

    def total_path(self, num_layers: int) -> int:
        return num_layers

    def longest_path(self, num_layers: int) -> int:
        return 1

    def last_use(self, output: int, num_layers: int) -> int:
        return num_layers + 1

    def last_uses(self, num_layers: int) -> list[int | None]:
        return [num_layers + 1] * (num_layers + 1)

    def most_waiting(self, num_layers: int) -> int:
        return num_layers + 1


class UserRule(Rule):
    """A user's function, each of whose answers is checked."""

    def __init__(self, function: AggregationRule) -> None:
        self.function = function

    def inputs(self, layer: int) -> tuple[int, ...]:
        indices = self.function(layer)
        expected = f"aggregation({layer}) must return distinct integers in [0, {layer})"
        try:
            values = tuple(indices)
        except TypeError:
            raise ValueError(f"{expected}, got {indices!r}") from None
        if not values:
            raise ValueError(f"{expected}, at least one, got {indices!r}")
        for value in values:
            if not is_integer(value) or not 0 <= value < layer:
                raise ValueError(f"{expected}, got {value!r} in {values!r}")
        if len(set(values)) != len(values):
            raise ValueError(f"{expected}, got a repeated one in {values!r}")
        return tuple(map(int, values))


def _rule(aggregation: str | AggregationRule, base: int) -> Rule:
    """Return the rule that the user's spelling names."""
    if callable(aggregation):
        return UserRule(aggregation)
    if isinstance(aggregation, str) and aggregation == "sparse":
        return SparseRule(base)
    if isinstance(aggregation, str) and aggregation == "dense":
        return DenseRule()
    raise ValueError(f"aggregation must be 'sparse', 'dense' or a function of the layer, got {aggregation!r}")


def _powers_up_to(limit: int, base: int) -> list[int]:
    """Return the powers of ``base`` from 1 that are at most ``limit >= 1``."""
    powers = [1]
    while powers[-1] * base <= limit:
        powers.append(powers[-1] * base)
    return powers


def _digit_sum(number: int, base: int) -> int:
    total = 0
    while number:
        number, digit = divmod(number, base)
        total += digit
    return total
