"""The aggregation rules: their indices, and every property of them that the package states.

Formulas are compared with integers that this file counts one by one, without the package's code.
"""

from __future__ import annotations

import doctest
import math
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.repository import REPOSITORY

from sparsenet_models import aggregation
from sparsenet_models.aggregation import StageGraph, dense_aggregation_indices, sparse_aggregation_indices

HUGE = 10**18

any_layer = st.one_of(
    st.integers(1, 5000),
    st.integers(1, HUGE),
    st.integers(HUGE, 10**60),
    st.builds(lambda exponent, step: max(1, 2**exponent + step), st.integers(0, 200), st.integers(-1, 1)),
)
any_base = st.one_of(st.integers(2, 12), st.integers(2, 10**6), st.integers(2, 10**30))
small_stage = st.integers(1, 70)
small_base = st.integers(2, 9)
built_in = st.sampled_from(["sparse", "dense"])


@st.composite
def users_rules(draw: st.DrawFn) -> dict[int, tuple[int, ...]]:
    """Draw any legal pattern for a stage: for each layer 1 ... N + 1 some distinct earlier outputs."""
    num_layers = draw(st.integers(1, 12))
    return {
        layer: tuple(draw(st.lists(st.integers(0, layer - 1), min_size=1, max_size=5, unique=True)))
        for layer in range(1, num_layers + 2)
    }


def largest_exponent(number: int, base: int) -> int:
    """Return the largest j with base**j <= number: floor(log_base(number)) without a logarithm."""
    exponent = 0
    while base ** (exponent + 1) <= number:
        exponent += 1
    return exponent


def digits(number: int, base: int) -> Iterator[int]:
    """Yield the digits of a number, from the most significant one."""
    for exponent in range(largest_exponent(max(number, 1), base), -1, -1):
        yield number // base**exponent % base


def distances_from_output_0(graph: StageGraph) -> list[int | None]:
    """Return each output's distance from output 0, by breadth-first search over the links."""
    readers: dict[int, list[int]] = {}
    for source, layer in graph.links():
        readers.setdefault(source, []).append(layer)
    distances: list[int | None] = [0] + [None] * graph.num_layers
    queue = deque([0])
    while queue:
        output = queue.popleft()
        for layer in readers.get(output, []):
            if distances[layer] is None:
                distances[layer] = distances[output] + 1
                queue.append(layer)
    return distances


def last_readers(graph: StageGraph) -> list[int | None]:
    """Return for each output the last layer, N + 1 included, whose inputs name it."""
    last: list[int | None] = [None] * (graph.num_layers + 1)
    for layer in range(1, graph.num_layers + 2):
        for source in graph.inputs(layer):
            last[source] = layer
    return last


# The sparse rule


@pytest.mark.parametrize(
    ("layer", "base", "indices"),
    [
        (1, 2, (0,)),
        (2, 2, (1, 0)),
        (5, 2, (4, 3, 1)),
        (8, 2, (7, 6, 4, 0)),
        (9, 3, (8, 6, 0)),
        (9, 10, (8,)),
        (10, 10, (9, 0)),
    ],
)
def test_the_sparse_rule_gives_the_published_examples(layer, base, indices):
    assert sparse_aggregation_indices(layer, base=base) == indices


def test_the_base_is_2_by_default():
    assert (
        sparse_aggregation_indices(100) == sparse_aggregation_indices(100, 2) == (99, 98, 96, 92, 84, 68, 36)
    )


def test_the_examples_in_the_docstrings_hold():
    failed, attempted = doctest.testmod(aggregation)
    assert attempted >= 3
    assert failed == 0


@given(any_layer, any_base)
@example(2**49 - 1, 2)
@example(2**62 - 1, 2)
@example(HUGE, 10)
@example(HUGE - 1, 10)
@example(3**35, 3)
def test_the_fan_in_is_the_floor_of_the_logarithm_plus_one(layer, base):
    assert len(sparse_aggregation_indices(layer, base)) == largest_exponent(layer, base) + 1


@given(any_layer, any_base)
def test_the_offsets_are_exactly_the_powers_of_the_base(layer, base):
    offsets = [layer - index for index in sparse_aggregation_indices(layer, base)]
    assert offsets == [base**exponent for exponent in range(largest_exponent(layer, base) + 1)]


@given(any_layer, any_base)
def test_the_indices_strictly_decrease_from_the_output_just_before(layer, base):
    indices = sparse_aggregation_indices(layer, base)
    assert indices[0] == layer - 1
    assert all(nearer > farther for nearer, farther in pairwise(indices))
    assert indices[-1] >= 0


@given(st.integers(0, HUGE), any_base)
def test_every_output_is_used_by_the_next_layer(output, base):
    assert output in sparse_aggregation_indices(output + 1, base)


def test_the_output_0_is_read_by_the_layers_at_the_powers_alone():
    readers = [layer for layer in range(1, 1000) if 0 in sparse_aggregation_indices(layer, 3)]
    assert readers == [1, 3, 9, 27, 81, 243, 729]


# The dense rule


def test_the_dense_rule_gives_every_output_oldest_first():
    assert dense_aggregation_indices(3) == (0, 1, 2)


@given(st.integers(1, 3000))
def test_a_dense_layer_reads_as_many_outputs_as_there_are(layer):
    indices = dense_aggregation_indices(layer)
    assert len(indices) == layer
    assert list(indices) == sorted(set(indices))
    assert (indices[0], indices[-1]) == (0, layer - 1)


# Bad and unusual arguments

NOT_INTEGERS = [True, False, 2.0, 2.5, math.nan, "2", None, (2,), np.float64(2.0), np.True_]


@pytest.mark.parametrize("value", NOT_INTEGERS, ids=repr)
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("layer", sparse_aggregation_indices),
        ("base", lambda value: sparse_aggregation_indices(5, base=value)),
        ("layer", dense_aggregation_indices),
        ("num_layers", StageGraph),
        ("base", lambda value: StageGraph(5, base=value)),
        ("layer", lambda value: StageGraph(5).inputs(value)),
        ("layer", lambda value: StageGraph(5, "dense").fan_in(value)),
        ("output", lambda value: StageGraph(5).last_use(value)),
    ],
)
def test_what_is_not_an_integer_is_a_type_error_with_the_argument_and_the_value(name, call, value):
    with pytest.raises(TypeError) as caught:
        call(value)
    assert str(caught.value).startswith(f"{name} must be an integer")
    assert repr(value) in str(caught.value)


@given(value=st.integers(max_value=0))
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("layer", sparse_aggregation_indices),
        ("layer", dense_aggregation_indices),
        ("num_layers", StageGraph),
        ("layer", StageGraph(5).inputs),
        ("layer", StageGraph(5, "dense").fan_in),
    ],
)
def test_a_number_below_1_is_a_value_error_with_the_argument_and_the_value(name, call, value):
    with pytest.raises(ValueError, match=f"^{name} must be at least 1, got {value}$"):
        call(value)


@given(st.integers(max_value=1))
def test_a_base_below_2_is_a_value_error_with_the_value(base):
    with pytest.raises(ValueError, match=f"^base must be at least 2, got {base}$"):
        sparse_aggregation_indices(5, base)
    with pytest.raises(ValueError, match=f"^base must be at least 2, got {base}$"):
        StageGraph(5, base=base)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint64])
def test_numpy_integers_are_taken_and_ints_come_out(kind):
    indices = sparse_aggregation_indices(kind(100), base=kind(3))
    assert indices == sparse_aggregation_indices(100, base=3)
    assert {type(index) for index in indices} == {int}
    assert {type(index) for index in dense_aggregation_indices(kind(3))} == {int}
    assert StageGraph(kind(100), base=kind(3)).link_count() == StageGraph(100, base=3).link_count()


def test_numpys_own_width_does_not_wrap_around():
    assert len(sparse_aggregation_indices(np.int64(2**63 - 1))) == 63
    assert len(sparse_aggregation_indices(np.uint8(255))) == 8


@pytest.mark.parametrize("pattern", ["sprase", "Sparse", "", None, 3, (0, 1)], ids=repr)
def test_an_unknown_aggregation_is_a_value_error_that_lists_the_built_in_ones(pattern):
    with pytest.raises(ValueError, match=r"^aggregation must be 'sparse', 'dense' or a function") as caught:
        StageGraph(3, pattern)
    assert repr(pattern) in str(caught.value)


def test_a_layer_beyond_the_stages_output_is_a_value_error_with_the_limit():
    graph = StageGraph(7)
    assert graph.inputs(8) == (7, 6, 4, 0)
    for question in (graph.inputs, graph.fan_in, lambda layer: graph.reads(layer, 0)):
        with pytest.raises(ValueError, match=r"^layer must be at most 8 in a stage of 7 layers, got 9$"):
            question(9)


@pytest.mark.parametrize("count", [0, 4, 6])
def test_sizes_of_another_number_of_outputs_are_a_value_error_with_the_right_number(count):
    with pytest.raises(ValueError, match=rf"sizes must be those of the 5 outputs 0 \.\.\. 4, got {count}"):
        StageGraph(4).waiting([1] * count)


def test_an_output_outside_the_stage_is_a_value_error_with_the_limit():
    graph = StageGraph(7)
    for question in (graph.shortest_path, graph.last_use, lambda output: graph.reads(3, output)):
        with pytest.raises(ValueError, match=r"^output must be at most 7 in a stage of 7 layers, got 8$"):
            question(8)
        with pytest.raises(ValueError, match=r"^output must be at least 0, got -1$"):
            question(-1)


# The graph of a stage


@given(small_stage, small_base)
def test_the_graph_asks_the_rules_for_every_layer_and_for_the_stages_output(num_layers, base):
    sparse, dense = StageGraph(num_layers, "sparse", base), StageGraph(num_layers, "dense")
    for layer in range(1, num_layers + 2):
        assert sparse.inputs(layer) == sparse_aggregation_indices(layer, base)
        assert dense.inputs(layer) == dense_aggregation_indices(layer)


@given(small_stage, built_in, small_base)
def test_the_links_are_the_inputs_of_the_layers_without_the_stages_output(num_layers, rule, base):
    graph = StageGraph(num_layers, rule, base)
    expected = [(source, layer) for layer in range(1, num_layers + 1) for source in graph.inputs(layer)]
    assert list(graph.links()) == expected


@given(small_stage, built_in, small_base)
def test_no_output_of_a_stage_is_dead(num_layers, rule, base):
    graph = StageGraph(num_layers, rule, base)
    assert all(output in graph.inputs(output + 1) for output in range(num_layers + 1))


@given(small_stage, built_in, small_base)
def test_the_fan_in_is_the_number_of_inputs(num_layers, rule, base):
    graph = StageGraph(num_layers, rule, base)
    for layer in range(1, num_layers + 2):
        assert graph.fan_in(layer) == len(graph.inputs(layer))


@given(st.integers(1, 400), built_in, small_base)
@example(1, "sparse", 2)
@example(64, "sparse", 2)
@example(63, "sparse", 2)
def test_the_link_count_is_what_enumeration_counts(num_layers, rule, base):
    graph = StageGraph(num_layers, rule, base)
    assert graph.link_count() == sum(1 for _ in graph.links())


@given(any_layer, any_base)
def test_the_sparse_link_count_is_the_sum_over_the_offsets(num_layers, base):
    exponents = range(largest_exponent(num_layers, base) + 1)
    expected = sum(num_layers - base**exponent + 1 for exponent in exponents)
    assert StageGraph(num_layers, base=base).link_count() == expected


@given(any_layer, any_base)
def test_sparse_links_grow_as_n_log_n(num_layers, base):
    logarithm = largest_exponent(num_layers, base)
    links = StageGraph(num_layers, base=base).link_count()
    assert num_layers * max(1, logarithm - 1) <= links <= num_layers * (logarithm + 1)


@given(any_layer)
def test_dense_links_are_the_triangular_numbers(num_layers):
    assert 2 * StageGraph(num_layers, "dense").link_count() == num_layers * (num_layers + 1)


@given(st.integers(1, 200), small_base)
def test_the_sparse_shortest_path_is_the_digit_sum_and_what_a_search_finds(num_layers, base):
    graph = StageGraph(num_layers, base=base)
    for output, distance in enumerate(distances_from_output_0(graph)):
        assert graph.shortest_path(output) == sum(digits(output, base)) == distance


@given(any_layer, any_base)
def test_the_sparse_shortest_path_is_bounded_by_the_number_of_digits(num_layers, base):
    length = StageGraph(num_layers, base=base).shortest_path()
    assert length == sum(digits(num_layers, base))
    assert 1 <= length <= (base - 1) * (largest_exponent(num_layers, base) + 1)


@given(st.integers(1, 20), small_base)
def test_the_bound_on_the_shortest_path_is_reached_by_the_number_before_a_power(exponent, base):
    assert StageGraph(base**exponent - 1, base=base).shortest_path() == (base - 1) * exponent


@given(small_stage)
def test_the_dense_shortest_path_is_one_link(num_layers):
    graph = StageGraph(num_layers, "dense")
    paths = [graph.shortest_path(output) for output in range(num_layers + 1)]
    assert paths == distances_from_output_0(graph) == [0] + [1] * num_layers
    assert graph.shortest_path() == 1


@given(small_stage, built_in, small_base)
def test_the_last_use_is_the_last_layer_whose_inputs_name_the_output(num_layers, rule, base):
    graph = StageGraph(num_layers, rule, base)
    assert [graph.last_use(output) for output in range(num_layers + 1)] == last_readers(graph)


@given(any_layer, any_base, st.data())
def test_the_last_use_in_a_sparse_stage_of_any_size_is_a_power_away(num_layers, base, data):
    output = data.draw(st.integers(0, num_layers))
    last = StageGraph(num_layers, base=base).last_use(output)
    assert last - output == base ** largest_exponent(num_layers + 1 - output, base)


def test_a_stage_of_10_to_the_18_layers_is_answered_at_once():
    started = time.process_time()
    sparse, dense = StageGraph(HUGE), StageGraph(HUGE, "dense")
    assert sparse.link_count() == 60 * (HUGE + 1) - (2**60 - 1)
    assert sparse.shortest_path() == HUGE.bit_count()
    assert sparse.last_use(0) == 2**59
    assert sparse.last_use(HUGE) == HUGE + 1
    assert sparse.fan_in(HUGE) == len(sparse.inputs(HUGE + 1)) == 60
    assert next(sparse.links()) == (0, 1)
    assert dense.link_count() == HUGE * (HUGE + 1) // 2
    assert dense.shortest_path() == 1
    assert dense.last_use(0) == HUGE + 1
    assert dense.fan_in(HUGE) == dense.max_fan_in() == HUGE
    assert sparse.max_fan_in() == 60
    assert sparse.reads(HUGE, HUGE - 2**59)
    assert dense.reads(HUGE, 5)
    assert not sparse.reads(HUGE, 5)
    assert dense.most_waiting() == HUGE + 1
    assert time.process_time() - started < 1


# A user's own rule


@given(users_rules())
def test_a_users_rule_keeps_its_order(rule):
    graph = StageGraph(len(rule) - 1, rule.__getitem__)
    assert {layer: graph.inputs(layer) for layer in rule} == rule


@given(users_rules())
def test_a_users_graph_answers_what_counting_and_searching_answer(rule):
    graph = StageGraph(len(rule) - 1, rule.__getitem__)
    outputs = range(graph.num_layers + 1)
    assert [graph.fan_in(layer) for layer in rule] == [len(sources) for sources in rule.values()]
    assert graph.link_count() == len(list(graph.links()))
    assert [graph.shortest_path(output) for output in outputs] == distances_from_output_0(graph)
    assert [graph.last_use(output) for output in outputs] == last_readers(graph)


@settings(deadline=None)
@given(small_stage, built_in, small_base)
@example(64, "sparse", 2)
@example(63, "sparse", 2)
@example(1, "dense", 2)
def test_the_formulas_of_a_built_in_rule_answer_what_enumeration_answers(num_layers, rule, base):
    formulas = StageGraph(num_layers, rule, base)
    enumerated = StageGraph(num_layers, formulas.inputs, base)
    layers, outputs = range(1, num_layers + 2), range(num_layers + 1)
    assert list(enumerated.links()) == list(formulas.links())
    assert [enumerated.fan_in(layer) for layer in layers] == [formulas.fan_in(layer) for layer in layers]
    for question in (
        "max_fan_in",
        "link_count",
        "shortest_path",
        "total_path",
        "longest_path",
        "last_uses",
        "most_waiting",
    ):
        assert getattr(enumerated, question)() == getattr(formulas, question)(), question
    last = formulas.last_uses()
    assert [formulas.last_use(output) for output in outputs] == last
    sizes = [output % 7 + 1 for output in outputs]
    assert enumerated.waiting(sizes) == formulas.waiting(sizes)


@given(st.integers(1, 16), built_in, small_base)
def test_a_layer_reads_exactly_its_inputs(num_layers, rule, base):
    formulas = StageGraph(num_layers, rule, base)
    for graph in (formulas, StageGraph(num_layers, formulas.inputs)):
        for layer in range(1, num_layers + 2):
            read = {output for output in range(num_layers + 1) if graph.reads(layer, output)}
            assert read == set(formulas.inputs(layer))


@given(users_rules())
def test_the_largest_fan_in_leaves_the_stages_output_out(rule):
    graph = StageGraph(len(rule) - 1, rule.__getitem__)
    assert graph.max_fan_in() == max(len(rule[layer]) for layer in range(1, len(rule)))


def test_the_dense_rule_alone_reads_everything():
    assert StageGraph(3, "dense").reads_everything
    assert not StageGraph(3, "sparse").reads_everything
    assert not StageGraph(3, dense_aggregation_indices).reads_everything


def test_an_output_that_no_layer_reads_has_no_last_use():
    from_the_input = StageGraph(4, lambda layer: (0,))
    assert [from_the_input.last_use(output) for output in range(5)] == [5, None, None, None, None]


def test_a_users_rule_is_called_with_the_layers_and_the_stages_output_alone():
    asked = set()

    def rule(layer):
        asked.add(layer)
        return (layer - 1,)

    graph = StageGraph(6, rule)
    answers = (list(graph.links()), graph.link_count(), graph.shortest_path(), graph.last_use(0))
    assert answers == ([(layer - 1, layer) for layer in range(1, 7)], 6, 6, 1)
    graph.inputs(7)
    assert asked == {1, 2, 3, 4, 5, 6, 7}
    assert {type(layer) for layer in asked} == {int}


@pytest.mark.parametrize("container", [list, tuple, iter, np.array, lambda values: dict.fromkeys(values)])
def test_a_users_rule_may_return_anything_that_can_be_gone_through(container):
    graph = StageGraph(3, lambda layer: container([2, 0, 1][-layer:] if layer == 3 else [0]))
    assert graph.inputs(3) == (2, 0, 1)
    assert {type(index) for index in graph.inputs(3)} == {int}


@pytest.mark.parametrize(
    ("returned", "value"),
    [
        ((0, 2, 0), "(0, 2, 0)"),
        ([1, 1], "(1, 1)"),
        ((-1,), "-1"),
        ((1, 3), "3"),
        ((4,), "4"),
        ((0, 1.0), "1.0"),
        ((0.5,), "0.5"),
        ((True,), "True"),
        ((1, False), "False"),
        (np.array([0.0]), "0.0"),
        (np.array([[0], [1]]), "array([0])"),
        ([int], "int"),
        (("0",), "'0'"),
        ("0", "'0'"),
        ((None,), "None"),
        ((), "()"),
        ([], "[]"),
        (0, "0"),
        (None, "None"),
    ],
    ids=repr,
)
def test_what_a_users_rule_may_not_return_is_a_value_error_with_the_layer_and_the_value(returned, value):
    graph = StageGraph(5, lambda layer: returned if layer == 3 else (layer - 1,))
    assert graph.inputs(2) == (1,)
    message = r"^aggregation\(3\) must return distinct integers in \[0, 3\)"
    for question in (lambda: graph.inputs(3), lambda: list(graph.links()), graph.link_count):
        with pytest.raises(ValueError, match=message) as caught:
            question()
        assert value in str(caught.value).removeprefix(
            "aggregation(3) must return distinct integers in [0, 3)"
        )


@given(st.integers(1, 12), st.data())
def test_an_index_outside_the_earlier_outputs_is_refused_whichever_it_is(layer, data):
    wrong = data.draw(st.one_of(st.integers(max_value=-1), st.integers(min_value=layer)))
    sources = data.draw(st.permutations([*range(layer), wrong]))
    with pytest.raises(ValueError, match=rf"^aggregation\({layer}\) must .* got {wrong} in "):
        StageGraph(layer, lambda _: sources).inputs(layer)


def test_an_error_inside_a_users_rule_comes_through():
    def broken(layer):
        raise ZeroDivisionError("the rule's own")

    with pytest.raises(ZeroDivisionError, match="the rule's own"):
        StageGraph(3, broken).inputs(1)


# What the module needs


@pytest.mark.parametrize(
    "statement",
    [
        "import sparsenet_models.aggregation",
        "from sparsenet_models.aggregation import StageGraph; StageGraph(9).link_count()",
        "from sparsenet_models import sparse_aggregation_indices; sparse_aggregation_indices(9)",
        "import sparsenet_models; sparsenet_models.dense_aggregation_indices(9)",
    ],
)
def test_the_rules_are_there_without_torch(statement):
    code = f"import sys\n{statement}\nprint(sorted({{'torch', 'torchvision'}} & set(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert (ran.returncode, ran.stdout.strip(), ran.stderr) == (0, "[]", "")
