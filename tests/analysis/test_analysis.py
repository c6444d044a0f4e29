"""The analysis against brute force: searches in graphs, real nets, torch's flop counter and autograd."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections import deque

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from sparsenet_models import (
    DenseNet,
    FractalNet,
    ResNet,
    SparseNet,
    StageGraph,
    create_model,
    list_models,
    optimize,
)
from sparsenet_models.analysis import analyze, analyze_model, analyze_rule
from sparsenet_models.analysis.costs import Costs, stage_costs
from sparsenet_models.analysis.fractal import fractal_costs, fractal_figures, fractal_graph
from sparsenet_models.analysis.graphs import graph_figures
from sparsenet_models.analysis.growth import GROWTH_DEPTHS, fit_growth, growth_curves
from sparsenet_models.layers.blocks import PreActivationLayer
from sparsenet_models.layers.stage import Stage
from sparsenet_models.models.fractalnet import FractalBlock
from sparsenet_models.models.resnet import ResidualBranch


def sources(rule: str, layer: int, base: int = 2) -> list[int]:
    if rule in ("dense", "resnet"):
        return list(range(layer))
    return [layer - base**exponent for exponent in range(layer) if base**exponent <= layer]


@st.composite
def own_rules(draw) -> tuple[int, dict[int, tuple[int, ...]]]:
    """Draw a number of layers and a user's rule, as the indices of each layer 1 ... N + 1."""
    layers = draw(st.integers(1, 14))
    indices = {
        layer: tuple(draw(st.lists(st.integers(0, layer - 1), min_size=1, max_size=4, unique=True)))
        for layer in range(1, layers + 2)
    }
    return layers, indices


def searched_path(inputs: dict[int, list[int]], start: int) -> int:
    """Return the fewest links from output ``start`` back to output 0, by breadth-first search."""
    distance, queue = {start: 0}, deque([start])
    while queue:
        here = queue.popleft()
        if here == 0:
            return distance[0]
        for source in inputs[here]:
            if source not in distance:
                distance[source] = distance[here] + 1
                queue.append(source)
    raise AssertionError("no way leads back")


def listed(graph: StageGraph) -> dict[int, list[int]]:
    return {layer: list(graph.inputs(layer)) for layer in range(1, graph.num_layers + 2)}


def check_figures(figures, inputs: dict[int, list[int]], links: int | None = None) -> None:
    layers = len(inputs) - 1
    fan_in = [len(inputs[layer]) for layer in range(1, layers + 1)]
    paths = [searched_path(inputs, layer) for layer in range(1, layers + 1)]
    assert figures.layers == layers
    assert figures.links_unrolled == sum(fan_in)
    assert figures.links == (sum(fan_in) if links is None else links)
    assert figures.fan_in_max == max(fan_in)
    assert math.isclose(figures.fan_in_mean, sum(fan_in) / layers)
    assert figures.shortest_path == paths[-1]
    assert figures.path_max == max(paths)
    assert math.isclose(figures.path_mean, sum(paths) / layers)


# Graphs


@settings(deadline=None)
@given(st.sampled_from(["sparse", "dense", "resnet"]), st.integers(1, 70), st.integers(2, 6))
def test_a_rules_figures_are_those_of_a_search_in_its_graph(rule, depth, base):
    inputs = {layer: sources(rule, layer, base) for layer in range(1, depth + 2)}
    analysis = analyze_rule(rule, depth, base)
    check_figures(analysis.graph, inputs, links=depth if rule == "resnet" else None)
    assert (analysis.name, analysis.depth, analysis.costs) == (rule, depth, None)


@settings(deadline=None)
@given(own_rules())
def test_a_users_rule_has_the_figures_of_a_search_in_its_graph(drawn):
    layers, indices = drawn
    graph = StageGraph(layers, indices.__getitem__)
    check_figures(graph_figures(graph), {layer: list(sources) for layer, sources in indices.items()})
    paths = [graph.shortest_path(layer) for layer in range(1, layers + 1)]
    assert (graph.total_path(), graph.longest_path()) == (sum(paths), max(paths))
    assert graph.last_uses() == [graph.last_use(output) for output in range(layers + 1)]


@settings(deadline=None)
@given(own_rules(), st.data())
def test_what_waits_for_a_layer_is_what_it_or_a_later_one_reads(drawn, data):
    layers, indices = drawn
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=layers + 1, max_size=layers + 1))
    expected = [
        sum(
            size
            for output, size in enumerate(sizes)
            if output < layer and any(output in indices[later] for later in range(layer, layers + 2))
        )
        for layer in range(1, layers + 2)
    ]
    graph = StageGraph(layers, indices.__getitem__)
    assert graph.waiting(sizes) == expected
    assert graph.most_waiting() == max(graph.waiting([1] * (layers + 1)))


@settings(deadline=None)
@given(st.sampled_from(["sparse", "dense"]), st.integers(1, 260), st.integers(2, 9))
def test_the_formulas_of_the_two_rules_are_what_counting_gives(rule, depth, base):
    graph = StageGraph(depth, rule, base)
    paths = [graph.shortest_path(layer) for layer in range(1, depth + 1)]
    assert graph.total_path() == sum(paths)
    assert graph.longest_path() == max(paths)
    assert graph.most_waiting() == max(graph.waiting([1] * (depth + 1)))
    assert graph.last_uses() == StageGraph(depth, lambda layer: sources(rule, layer, base)).last_uses()


@pytest.mark.parametrize("rule", ["sparse", "dense", "resnet"])
def test_a_rule_of_10_to_the_18_layers_is_analysed(rule):
    figures = analyze_rule(rule, 10**18).graph
    assert (
        figures.links
        == {
            "sparse": sum(10**18 - 2**j + 1 for j in range(60)),
            "dense": 10**18 * (10**18 + 1) // 2,
            "resnet": 10**18,
        }[rule]
    )
    assert figures.path_max == (59 if rule == "sparse" else 1)


@pytest.mark.parametrize("rule", ["sparse", "dense"])
@pytest.mark.parametrize("depth", [1, 2, 7, 16, 33])
def test_the_formulas_of_the_built_in_rules_agree_with_their_enumeration(rule, depth):
    by_formula = StageGraph(depth, rule)
    by_links = StageGraph(depth, lambda layer: sources(rule, layer))
    assert graph_figures(by_formula) == graph_figures(by_links)
    assert stage_costs(by_formula, "concat", 5, 7) == stage_costs(by_links, "concat", 5, 7)


@pytest.mark.parametrize(
    ("depth", "mean", "largest", "links"),
    [(16, 2.0625, 4, 54), (128, 3.5078125, 7, 777), (1024, 5.0009765625, 10, 9228)],
)
def test_the_sparse_rule_has_the_paths_of_the_table(depth, mean, largest, links):
    figures = analyze_rule("sparse", depth).graph
    assert (figures.path_mean, figures.path_max, figures.links) == (mean, largest, links)
    resnet = analyze_rule("resnet", depth).graph
    assert (resnet.links, resnet.links_unrolled) == (depth, depth * (depth + 1) // 2)
    assert analyze_rule("dense", depth).graph.path_max == 1


def test_ten_thousand_layers_take_less_than_a_second_and_no_torch():
    code = """
import sys, time
from sparsenet_models.aggregation import StageGraph
from sparsenet_models.analysis import RULES, analyze_rule, stage_costs
for rule in RULES:
    start = time.process_time()
    figures = analyze_rule(rule, 10_000).graph
    stage_costs(StageGraph(10_000, "dense" if rule == "resnet" else rule), "concat", 12, layer="bottleneck")
    assert time.process_time() - start < 1, (rule, time.process_time() - start)
    assert figures.layers == 10_000
assert "torch" not in sys.modules and "numpy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def fractal_edges(columns: int) -> dict[int, list[int]]:
    """Expand f_(C+1) = join(f_C after f_C, convolution) and number the convolutions as they end."""
    made: list[tuple[float, int, list]] = []

    def expand(deep: int, entering: list, start: float, rows: float, column: int) -> list:
        convolution = (start + rows, column, entering)
        made.append(convolution)
        if deep == 1:
            return [convolution]
        first = expand(deep - 1, entering, start, rows / 2, column + 1)
        return [convolution, *expand(deep - 1, first, start + rows / 2, rows / 2, column + 1)]

    leaving = expand(columns, [None], 0, 2 ** (columns - 1), 0)
    order = sorted(made, key=lambda convolution: convolution[:2])
    number = {id(convolution): index for index, convolution in enumerate(order, start=1)}

    def numbers(convolutions: list) -> list[int]:
        return sorted(0 if c is None else number[id(c)] for c in convolutions)

    edges = {number[id(convolution)]: numbers(convolution[2]) for convolution in order}
    return {**edges, len(order) + 1: numbers(leaving)}


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 6])
def test_a_fractal_blocks_graph_is_the_papers_expansion(columns):
    expected = fractal_edges(columns)
    graph = fractal_graph(columns)
    assert graph.num_layers == 2**columns - 1
    assert {layer: sorted(sources) for layer, sources in listed(graph).items()} == expected
    check_figures(fractal_figures(columns), expected, links=2**columns - 1)
    longest = [0]
    for layer in range(1, graph.num_layers + 2):
        longest.append(1 + max(longest[source] for source in expected[layer]))
    assert longest[-1] - 1 == 2 ** (columns - 1)


# What a stage costs


def measured(module: nn.Module, *shape: int) -> dict[str, int]:
    """Run a module; return its parameters, and per image flops / 2, traffic and what autograd kept."""
    x = torch.randn(2, *shape)
    traffic = []
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(
                lambda _, inputs, made: traffic.append(inputs[0].numel() + made.numel())
            )
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}
    kept = {}

    def pack(tensor):
        if tensor.ndim > 1:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with FlopCounterMode(display=False) as flops, saved_tensors_hooks(pack, lambda tensor: tensor):
        module(x)
    return {
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "macs": flops.get_total_flops() // 4,
        "traffic": sum(traffic) // 2,
        "kept": sum(tensor.numel() for storage, tensor in kept.items() if storage not in weights) // 2,
    }


def all_but_live(costs: Costs) -> dict[str, int]:
    return {key: value for key, value in costs._asdict().items() if key != "live"}


def simulated_live(
    inputs: dict[int, list[int]], outputs: list[int], merged: list[int], convolutions, merge: str
) -> int:
    """Walk through a stage, holding every output from its layer to its last reader."""
    layers, held, most = len(inputs) - 1, {0}, 0
    for layer in range(1, layers + 2):
        needed_later = {source for later in range(layer + 1, layers + 2) for source in inputs[later]}
        held = {output for output in held if output in needed_later or output in inputs[layer]}
        made = 2 if merge == "sum" and len(inputs[layer]) > 2 else 1  # the sum of some and the next sum
        most = max(most, sum(outputs[output] for output in held) + made * merged[layer - 1])
        held &= needed_later
        if layer <= layers:
            for entering, leaving in convolutions[layer - 1]:
                most = max(most, sum(outputs[output] for output in held) + entering + leaving)
            held.add(layer)
    return most


@settings(deadline=None, max_examples=40)
@given(
    drawn=own_rules(),
    rule=st.sampled_from(["sparse", "dense", "own"]),
    base=st.integers(2, 4),
    merge=st.sampled_from(["concat", "sum"]),
    layer=st.sampled_from(["plain", "bottleneck", "residual"]),
    widths=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    size=st.tuples(st.integers(2, 4), st.integers(2, 4)),
)
def test_a_stages_formulas_agree_exactly_with_a_real_stage(drawn, rule, base, merge, layer, widths, size):
    depth, indices = drawn
    width, in_channels = widths[0], widths[0] if merge == "sum" else widths[1]
    graph = StageGraph(depth, indices.__getitem__ if rule == "own" else rule, base)

    def make(_: int, channels: int) -> nn.Module:
        if layer == "residual":
            return ResidualBranch(channels, width, bottleneck=False)
        return PreActivationLayer(channels, width, layer == "bottleneck")

    stage = Stage(graph, merge, in_channels, width, make)
    costs = stage_costs(graph, merge, width, in_channels, layer, size)
    assert all_but_live(costs) == measured(stage, in_channels, *size)

    if not (merge == "sum" and rule == "dense"):
        inputs = listed(graph)
        outputs = [in_channels] + [width] * depth
        merged = [
            width if merge == "sum" else sum(outputs[source] for source in inputs[number])
            for number in inputs
        ]
        convolutions = [
            [(m.in_channels, m.out_channels) for m in made.modules() if isinstance(m, nn.Conv2d)]
            for made in stage.layers
        ]
        assert costs.live == simulated_live(inputs, outputs, merged, convolutions, merge) * math.prod(size)


@pytest.mark.parametrize("depth", [1, 5, 100])
def test_a_running_sum_holds_three_maps_at_any_depth(depth):
    # The sum, the activated copy that a convolution reads, and what that makes.
    assert (
        stage_costs(StageGraph(depth, "dense"), "sum", 16, layer="residual", size=(4, 4)).live == 3 * 16 * 16
    )


def test_a_running_sum_of_narrow_branches_holds_three_maps_too():
    # The old sum, the branch's output and the new sum, each of 64 channels; the convolutions need less.
    assert analyze_model(ResNet(depth=11, widths=(16, 4, 4), bottleneck=True)).costs.live == 3 * 64 * 32 * 32


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
def test_a_fractal_blocks_formulas_agree_exactly_with_a_real_block(columns):
    costs = fractal_costs(columns, 5, (3, 4))
    assert all_but_live(costs) == measured(FractalBlock(5, 5, columns, 0.0), 5, 3, 4)


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5])
def test_a_fractal_block_holds_one_map_more_than_it_has_columns(columns):
    # Before the last row each column waits with a map of its own; a column's new map takes its place after
    # one was made beside them, and the mean is made beside the maps that it joins.
    assert fractal_costs(columns, 3, (2, 4)).live == (columns + 1) * 3 * 8


# Whole nets

SMALL = {
    "sparse": (lambda: SparseNet(depth=16, growth_rate=4), 3),
    "sparse bc": (lambda: SparseNet(depth=40, growth_rate=(3, 4, 5), bottleneck=True, proj_drop_rate=0.2), 3),
    "sparse sum": (lambda: SparseNet(depth=22, growth_rate=(3, 4, 5), merge="sum", base=3), 3),
    "dense": (lambda: DenseNet(depth=16, growth_rate=4, in_chans=1), 1),
    "dense sum": (lambda: DenseNet(depth=16, growth_rate=4, merge="sum"), 3),
    "imagenet stem": (lambda: SparseNet(layers=(2, 3, 1, 2), growth_rate=4, stem="imagenet"), 3),
    "own rule": (
        lambda: SparseNet(depth=16, growth_rate=4, aggregation=lambda n: range(max(0, n - 2), n)),
        3,
    ),
    "resnet": (lambda: ResNet(depth=20, widths=(4, 6, 8)), 3),
    "resnet bottleneck": (lambda: ResNet(depth=29, bottleneck=True, widths=(4, 6, 8)), 3),
    "sparse resnet": (lambda: ResNet(depth=32, aggregation="sparse"), 3),
    "fractal": (lambda: FractalNet(3, widths=(4, 6, 8), drop_path_rate=0.5, global_drop_path=1.0), 3),
    "fractal of one column": (lambda: FractalNet(1, widths=(4, 6)), 3),
}


@pytest.mark.parametrize("kind", SMALL)
def test_a_nets_counts_agree_exactly_with_torchs_flop_counter_and_autograd(kind):
    make, channels = SMALL[kind]
    net = make()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    analysis = analyze_model(net, (channels, 32, 40))
    assert net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    # In eval mode nothing is left out; autograd keeps the same tensors.
    assert all_but_live(analysis.costs) == measured(net.eval(), channels, 32, 40)


@pytest.mark.parametrize(
    "kind", ["sparse", "dense", "sparse sum", "resnet", "sparse resnet", "fractal of one column"]
)
def test_in_train_mode_autograd_keeps_as_much(kind):
    make, channels = SMALL[kind]
    net = make().train()
    assert all_but_live(analyze_model(net, (channels, 16, 16)).costs) == measured(net, channels, 16, 16)


NAMED = [
    "sparsenet_bc_40_k12",
    "densenet_bc_40_k12.cifar100",
    "sparsenet121",
    "resnet_20",
    "sparse_resnet_56",
]


@pytest.mark.parametrize("name", [*NAMED, "resnet_164", "fractalnet_c3"])
def test_a_named_nets_multiply_adds_are_half_of_torchs_flops(name):
    check_flops(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_every_nets_multiply_adds_are_half_of_torchs_flops(name):
    check_flops(name)


def check_flops(name: str) -> None:
    net = create_model(name, device="meta").eval()
    with FlopCounterMode(display=False) as flops:
        net(torch.empty(1, *net.pretrained_cfg["input_size"], device="meta"))
    row = analyze(name, [5])[0].row()
    assert row["macs"] * 2 == flops.get_total_flops()
    assert row["parameters"] == sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(
    ("name", "depth", "layers", "links", "unrolled"),
    [
        ("sparsenet_bc_100_k24", 100, 48, 3 * 54, 3 * 54),
        ("densenet_bc_100_k24", 100, 48, 3 * 136, 3 * 136),
        ("resnet_110", 110, 54, 54, 3 * 171),
        ("sparse_resnet_110", 110, 54, 3 * 64, 3 * 64),
        ("sparsenet121", 121, 58, 14 + 37 + 94 + 54, 14 + 37 + 94 + 54),
        ("fractalnet_c3", 21, 35, 35, 45),
    ],
)
def test_a_nets_links_are_those_of_its_stages(name, depth, layers, links, unrolled):
    (analysis,) = analyze(name, [16, 128])
    figures = analysis.graph
    assert (analysis.name, analysis.depth, figures.layers) == (name, depth, layers)
    assert (figures.links, figures.links_unrolled) == (links, unrolled)
    assert figures.fan_in_mean == unrolled / layers


def test_a_net_never_holds_less_than_its_largest_convolution_needs():
    largest: list[int] = []

    def note(_, inputs, made):
        largest.append(inputs[0].numel() + made.numel())

    for make, channels in SMALL.values():
        largest.clear()
        net = make().eval()
        for part in net.modules():
            if isinstance(part, nn.Conv2d):
                part.register_forward_hook(note)
        net(torch.randn(1, channels, 32, 32))
        assert analyze_model(make(), (channels, 32, 32)).costs.live >= max(largest)


def test_a_projected_stage_holds_its_two_first_outputs_at_once():
    # Stage 1 makes output 0 of 64 channels from the stem's 16, stage 0 has no projection. The sum, the
    # activated copy and what is made of it: 3 maps of 64 channels and 16x16 pixels. Sparse, the stage's
    # output is the sum of three outputs, with the sum of two of them beside.
    assert analyze_model(ResNet(depth=14, widths=(4, 64))).costs.live == 3 * 64 * 16 * 16
    assert (
        analyze_model(ResNet(depth=14, widths=(4, 64), aggregation="sparse")).costs.live == 5 * 64 * 16 * 16
    )
    assert analyze_model(ResNet(depth=14, widths=(64, 64))).costs.live == 3 * 64 * 32 * 32
    assert (
        analyze_model(ResNet(depth=14, widths=(64, 64), aggregation="sparse")).costs.live == 5 * 64 * 32 * 32
    )


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, lambda net: torch.compile(net, backend="eager")], ids=["parallel", "compiled"]
)
def test_a_wrapped_net_is_analysed_as_the_net_in_it(wrap):
    net = SparseNet(depth=16, growth_rate=4)
    assert analyze_model(wrap(net)).row() == analyze_model(net).row()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_a_nets_counts_depend_neither_on_its_dtype_nor_on_optimize(dtype, recwarn):
    net = create_model("sparsenet_bc_40_k12")
    expected = analyze_model(net)
    assert analyze_model(optimize(create_model("sparsenet_bc_40_k12", dtype=dtype).eval())) == expected
    frozen = analyze_model(optimize(net.eval().requires_grad_(False))).costs
    assert (frozen.macs, frozen.live, frozen.kept) == (expected.costs.macs, expected.costs.live, 0)
    assert len(recwarn) == 0


def test_a_feature_net_costs_what_is_left_of_its_net():
    whole = analyze_model(create_model("sparsenet_bc_40_k12"))
    features = create_model("sparsenet_bc_40_k12", features_only=True)
    part = analyze_model(features)
    assert part.costs.macs == whole.costs.macs - 10 * features.net.num_features
    first = analyze_model(create_model("sparsenet_bc_40_k12", features_only=True, out_indices=[0]))
    assert first.graph.layers * 3 == whole.graph.layers
    assert first.costs.macs < part.costs.macs


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_column_of_a_fractalnet_is_a_chain(index):
    column = FractalNet(3, widths=(4, 6, 8)).column(index)
    analysis = analyze_model(column, (3, 32, 40))
    assert all_but_live(analysis.costs) == measured(column.eval(), 3, 32, 40)
    assert analysis.depth == 3 * 2**index + 1
    assert analysis.graph.links == analysis.graph.layers == 3 * 2**index
    assert analysis.graph.path_max == 2**index


# Growth


@given(
    st.floats(0.1, 100),
    st.floats(-1, 3),
    st.integers(0, 1),
    st.lists(st.integers(2, 9999), min_size=2, unique=True),
)
def test_a_fit_finds_the_law_that_made_the_values(factor, exponent, log_power, depths):
    values = [factor * depth**exponent * math.log2(depth) ** log_power for depth in depths]
    fit = fit_growth(depths, values, log_power)
    assert math.isclose(fit.factor, factor, rel_tol=1e-3)
    assert abs(fit.exponent - exponent) < 1e-4
    assert fit.residual < 1e-6


def test_a_residual_is_the_relative_error_that_is_left():
    fit = fit_growth([2, 4, 8], [2 * 1.1, 4 / 1.21, 8 * 1.1], 0)
    assert abs(fit.exponent - 1) < 1e-9
    assert 0.09 < fit.residual < 0.13


def test_the_families_grow_as_the_laws_say():
    curves = {(curve.family, curve.quantity): curve for curve in growth_curves()}
    expected = {
        ("SparseNet", "links"): ("N log N", 1),
        ("DenseNet", "links"): ("N^2", 2),
        ("ResNet", "links"): ("N", 1),
        ("FractalNet", "links"): ("N", 1),
        ("SparseNet [concat]", "parameters"): ("N log N", 1),
        ("SparseNet [sum]", "parameters"): ("N", 1),
        ("DenseNet", "parameters"): ("N^2", 2),
        ("ResNet", "parameters"): ("N", 1),
        ("FractalNet", "parameters"): ("N", 1),
        ("SparseNet", "path, mean"): ("log N", 0),
        ("SparseNet", "path, largest"): ("log N", 0),
        ("DenseNet, ResNet", "path, largest"): ("1", 0),
        ("ResNet's running sum", "path, largest"): ("N", 1),
        ("FractalNet", "path, largest"): ("log N", 0),
    }
    assert {key: curve.law for key, curve in curves.items()} == {
        key: law for key, (law, _) in expected.items()
    }
    for key, (law, exponent) in expected.items():
        curve = curves[key]
        assert abs(curve.fit.exponent - exponent) < 0.02, key
        assert curve.fit.residual < 0.012, key
        if "log" in law:  # a power alone fits worse, so the logarithm is really there
            assert fit_growth(curve.depths, curve.values, 0).residual > 5 * curve.fit.residual
    assert (
        curves["SparseNet", "links"].depths == GROWTH_DEPTHS == (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
    )


def test_the_growth_of_parameters_is_that_of_real_stages():
    curves = {
        (c.family, c.quantity): c for c in growth_curves([16, 32], width=3) if c.quantity == "parameters"
    }
    for family, rule, merge in (
        ("SparseNet [concat]", "sparse", "concat"),
        ("SparseNet [sum]", "sparse", "sum"),
        ("DenseNet", "dense", "concat"),
    ):
        stage = Stage(
            StageGraph(16, rule), merge, 3, 3, lambda _, channels: PreActivationLayer(channels, 3, False)
        )
        assert curves[family, "parameters"].values[0] == sum(p.numel() for p in stage.parameters())
    block = FractalBlock(3, 3, 5, 0.0)
    assert curves["FractalNet", "parameters"].values[0] == sum(p.numel() for p in block.parameters())


# Errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: analyze_rule("sparce", 4),
            "rule must be one of ('sparse', 'dense', 'resnet'), got 'sparce'",
        ),
        (lambda: analyze("sparce", [4]), "unknown rule or model 'sparce'; did you mean 'sparse'"),
        (
            lambda: analyze("resnet_21", [4]),
            "unknown rule or model 'resnet_21'; did you mean 'resnet_32', 'resnet_20'",
        ),
        (lambda: analyze_rule("sparse", 0), "num_layers must be at least 1, got 0"),
        (lambda: stage_costs(StageGraph(4), "mean", 4), "merge must be one of ('concat', 'sum'), got 'mean'"),
        (
            lambda: stage_costs(StageGraph(4), "sum", 4, 5),
            "merge='sum' needs in_channels equal to width, 4, got 5",
        ),
        (lambda: stage_costs(StageGraph(4), "sum", 4, layer="deep"), "layer must be one of"),
        (lambda: stage_costs(StageGraph(4), "sum", 0), "width must be at least 1, got 0"),
        (
            lambda: stage_costs(StageGraph(4), "sum", 4, size=(32,)),
            "size must be height and width, got (32,)",
        ),
        (lambda: fractal_costs(2, 4, (32, 0)), "each of size must be at least 1, got 0"),
        (
            lambda: analyze_model("resnet_20", (1, 32, 32)),
            "input_size must have the 3 channels that resnet_20 takes, got (1, 32, 32)",
        ),
        (
            lambda: analyze_model("fractalnet_c2", (3, 8, 8)),
            "fractalnet_c2 does not take images of input_size (3, 8, 8): Given input size: (512x1x1)",
        ),
        (lambda: fractal_graph(0), "columns must be at least 1, got 0"),
        (
            lambda: fit_growth([16], [3], 0),
            "a fit needs two depths from 2 and positive values, got [16] and [3]",
        ),
        (lambda: analyze_model(nn.Conv2d(3, 4, 1)), "Conv2d has neither stages nor fractal blocks"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call()
    assert message in str(caught.value)


def test_memory_that_does_not_suffice_is_no_fault_of_the_image():
    with pytest.raises(RuntimeError, match="Storage size calculation overflowed"):
        analyze_model("resnet_20", (3, 10**10, 10**10))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: analyze_model(None), "model must be a name or a net, got None"),
        (lambda: analyze_model("resnet_20", 32), "input_size must be channels, height and width, got 32"),
        (lambda: analyze_model("resnet_20", (3, 32, 1.5)), "each of input_size must be an integer, got 1.5"),
    ],
)
def test_input_of_a_wrong_type_is_named(call, message):
    with pytest.raises(TypeError) as caught:
        call()
    assert message in str(caught.value)


def test_an_analysis_of_a_thousand_layers_is_quick_enough_to_type():
    start = time.process_time()
    for rule in ("sparse", "dense", "resnet"):
        for depth in (16, 128, 1024):
            analyze(rule, [depth])
    assert time.process_time() - start < 1


def test_a_net_with_gradient_checkpointing_is_analysed_as_without():
    net = SparseNet(depth=16, growth_rate=4)
    expected = analyze_model(net).costs
    net.set_grad_checkpointing()
    assert analyze_model(net).costs == expected
    assert all(stage.grad_checkpointing for stage in net.stages)
