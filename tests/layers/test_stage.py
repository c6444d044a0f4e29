"""A stage: which outputs reach which layer, and the merges that it refuses."""

from __future__ import annotations

import pickle
import weakref

import pytest
import torch
from support.nets import expected_sources
from torch import nn

from sparsenet_models.aggregation import StageGraph
from sparsenet_models.layers.blocks import PreActivationLayer
from sparsenet_models.layers.stage import Stage


def make_layer(number: int, channels: int) -> nn.Module:
    return PreActivationLayer(channels, 4, bottleneck=False)


@pytest.mark.parametrize("merge", ["concat", "sum"])
@pytest.mark.parametrize(("rule", "base"), [("sparse", 2), ("sparse", 3), ("dense", 2)])
def test_output_j_reaches_layer_i_directly_exactly_when_the_rule_says_so(rule, base, merge):
    num_layers = 10
    stage = Stage(
        StageGraph(num_layers, rule, base),
        merge,
        in_channels=4,
        width=4,
        make_layer=make_layer,
    )
    # Each layer's output is replaced by a tensor without history, so that gradients show direct links only.
    outputs = [
        torch.full((2, 4, 5, 5), float(number), requires_grad=True) for number in range(num_layers + 1)
    ]
    arrived = []
    for layer, output in zip(stage.layers, outputs[1:]):
        layer.register_forward_pre_hook(lambda module, inputs: arrived.append(inputs[0]))
        layer.register_forward_hook(lambda module, inputs, made, output=output: output)
    arrived.append(stage(outputs[0]))

    assert len(arrived) == num_layers + 1
    for number, tensor in enumerate(arrived, start=1):
        gradients = torch.autograd.grad(tensor.sum(), outputs, allow_unused=True, materialize_grads=True)
        reached = [source for source, gradient in enumerate(gradients) if gradient.any()]
        assert reached == sorted(expected_sources(rule, number, base))
        assert all(gradients[source].eq(1).all() for source in reached)


@pytest.mark.parametrize(
    ("rule", "skips"),
    [
        ("sparse", False),
        ("dense", False),
        (lambda layer: (layer - 1,), False),
        (lambda layer: (0,), True),
        (lambda layer: (max(0, layer - 2),), True),
    ],
    ids=["sparse", "dense", "chain", "input alone", "every other"],
)
def test_a_stage_knows_whether_its_output_depends_on_every_layer(rule, skips):
    stage = Stage(StageGraph(5, rule), "sum", in_channels=4, width=4, make_layer=make_layer)
    assert stage.skips_layers == skips
    x = torch.randn(2, 4, 5, 5, requires_grad=True)
    stage(x).square().sum().backward()
    assert skips == any(parameter.grad is None for parameter in stage.parameters())


def test_the_layers_are_made_in_order_with_their_numbers_and_input_channels():
    made = []

    def noted(number, channels):
        made.append((number, channels))
        return make_layer(number, channels)

    stage = Stage(StageGraph(4), "concat", in_channels=3, width=4, make_layer=noted)
    assert made == [(1, 3), (2, 7), (3, 8), (4, 11)]
    assert stage.out_channels == 12


def test_the_dense_rule_with_sum_is_a_running_sum():
    running = {
        (merge, rule): Stage(StageGraph(3, rule), merge, 4, 4, make_layer).running_sum
        for merge in ("concat", "sum")
        for rule in ("sparse", "dense")
    }
    assert [key for key, value in running.items() if value] == [("sum", "dense")]


def test_a_stage_of_a_users_rule_that_cannot_be_pickled_is_pickled():
    torch.manual_seed(0)
    stage = Stage(StageGraph(3, lambda layer: (0,)), "concat", 4, 4, make_layer).eval()
    copied = pickle.loads(pickle.dumps(stage))
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(copied(x), stage(x))


def test_a_stage_refuses_to_sum_outputs_of_different_widths():
    with pytest.raises(ValueError, match=r"merge='sum' .* in_channels=5, width=4"):
        Stage(StageGraph(2), "sum", in_channels=5, width=4, make_layer=make_layer)
    with pytest.raises(ValueError, match=r"merge must be one of .* got 'mean'"):
        Stage(StageGraph(2), "mean", in_channels=4, width=4, make_layer=make_layer)


@pytest.mark.parametrize("rule", [lambda layer: (0,), lambda layer: (layer - 1,)])
def test_an_output_is_freed_once_no_later_layer_reads_it(rule):
    stage = Stage(StageGraph(8, rule), "concat", in_channels=4, width=4, make_layer=make_layer)
    made, alive = [], []

    def note(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        made.append(weakref.ref(output))
        alive.append(sum(reference() is not None for reference in made))

    for layer in stage.layers:
        layer.register_forward_hook(note)
    with torch.inference_mode():
        stage(torch.zeros(1, 4, 5, 5))
    assert max(alive) <= 2  # an output and the one before it
