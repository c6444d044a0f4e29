"""ResNet and sparse ResNet: sizes, what each branch reads, the running sum, depth 1001, errors.

The reference computation is written out here, without the package's code.
"""

from __future__ import annotations

import copy
import inspect
import io
import sys
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from support.nets import expected_sources
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sparsenet_models import ResNet, StageGraph, create_model, get_pretrained_cfg
from sparsenet_models.models.resnet import ProjectedStage

COUNTS = {
    "resnet_20": 272_282,
    "resnet_56": 855_578,
    "resnet_110": 1_730_522,
    "resnet_164": 1_703_258,
    "resnet_1001": 10_327_706,
}
NAMES = [f"resnet_{depth}" for depth in (20, 32, 44, 56, 110, 164, 1001)]
KINDS = {
    "basic": dict(depth=20),
    "sparse": dict(depth=32, aggregation="sparse"),
    "sparse base 3": dict(depth=38, aggregation="sparse", base=3, widths=(4, 6, 8)),
    "bottleneck": dict(depth=29, bottleneck=True, widths=(4, 6, 8)),
    "sparse bottleneck": dict(depth=47, bottleneck=True, aggregation="sparse", widths=(4, 6, 8)),
    "bottleneck of the stem's width": dict(depth=20, bottleneck=True, widths=(4, 4, 8)),
    "two stages": dict(depth=18, widths=(16, 5)),
}


def build(kind: str, **changes) -> ResNet:
    torch.manual_seed(0)
    return ResNet(**{**KINDS[kind], **changes})


def images(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def parameter_count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_a_resnet_and_its_sparse_twin_have_exactly_the_parameters_of_the_design(name, count):
    assert parameter_count(create_model(name, device="meta")) == count
    assert parameter_count(create_model(f"sparse_{name}", device="meta")) == count


@pytest.mark.parametrize("name", NAMES[:-1])
def test_the_sparse_twin_takes_the_weights_of_its_resnet(name):
    dense, sparse = (create_model(f"{family}{name}.cifar100", device="meta") for family in ("", "sparse_"))
    shapes = [{key: tensor.shape for key, tensor in net.state_dict().items()} for net in (dense, sparse)]
    assert shapes[0] == shapes[1]
    assert dense.head.fc.out_features == 100
    for net in (name, f"sparse_{name}"):
        assert get_pretrained_cfg(net).tag == "cifar10"
        assert get_pretrained_cfg(net).min_input_size == (3, 8, 8)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 12), st.booleans())
def test_a_depth_counts_the_convolutions_on_the_way_and_the_classifier(layers, bottleneck):
    depth = 3 * (3 if bottleneck else 2) * layers + 2
    with torch.device("meta"):
        model = ResNet(depth=depth, bottleneck=bottleneck)
    assert [len(stage.layers) for stage in model.stages] == [layers] * 3
    weighted = [name for name, module in model.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    assert len([name for name in weighted if "projection" not in name]) == depth
    projected = {name for name in weighted if "projection" in name}
    assert projected == {f"stages.{i}.layers.0.projection" for i in range(0 if bottleneck else 1, 3)}


def reference(model: ResNet, x: Tensor, kind: str, training: bool) -> Tensor:
    """Compute a net from its weights: every sum from all its terms, no running sum."""
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    rule, base = KINDS[kind].get("aggregation", "dense"), KINDS[kind].get("base", 2)

    def normed(name: str, x: Tensor) -> Tensor:
        mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return F.relu(F.batch_norm(x, mean, variance, scale, shift, training=training))

    def branch(name: str, x: Tensor, stride: int) -> Tensor:
        three = f"{name}.conv3.weight" in weights
        strides = (1, stride, 1) if three else (stride, 1)
        for number, step in enumerate(strides, start=1):
            kernel = weights[f"{name}.conv{number}.weight"]
            x = normed(f"{name}.norm{number}", x)
            x = F.conv2d(x, kernel, stride=step, padding=kernel.shape[-1] // 2)
        return x

    x = F.conv2d(x, weights["stem.conv.weight"], padding=1)
    for index, stage in enumerate(model.stages):
        stride = 1 if index == 0 else 2
        outputs = [x]
        for number in range(1, len(stage.layers) + 1):
            name = f"stages.{index}.layers.{number - 1}"
            if number == 1:
                made = branch(name, x, stride)  # reads the unprojected input
                projection = weights.get(f"{name}.projection.weight")
                if projection is not None:
                    activated = normed(f"{name}.norm1", x)
                    outputs = [F.conv2d(activated, projection, stride=stride)]
            else:
                made = branch(
                    name, sum(outputs[source] for source in expected_sources(rule, number, base)), 1
                )
            outputs.append(made)
        x = sum(outputs[source] for source in expected_sources(rule, len(outputs), base))
    x = normed("norm", x).mean((2, 3))
    return F.linear(x, weights["head.fc.weight"], weights["head.fc.bias"])


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_net_computes_what_a_plain_reference_computes(kind, training):
    model = build(kind).double().train(training)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.running_var):
                    tensor.uniform_(0.5, 1.5, generator=generator)
                for tensor in (module.bias, module.running_mean):
                    tensor.normal_(0, 0.5, generator=generator)
    x = images(3, 3, 10, 14, dtype=torch.float64)
    torch.testing.assert_close(
        model(x), reference(model, x, kind, training).detach(), rtol=1e-9, atol=1e-9, check_stride=False
    )


class Additions(TorchDispatchMode):
    """Counts the additions of tensors that run under it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        two_maps = all(isinstance(value, Tensor) and value.ndim == 4 for value in arguments[:2])
        self.count += function is torch.ops.aten.add.Tensor and two_maps
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize("arguments", [dict(depth=44), dict(depth=47, bottleneck=True)], ids=str)
def test_the_running_sum_gives_the_same_bits_for_one_addition_a_layer(arguments):
    running = build("basic", **arguments).train()
    # The same rule as a function: the stage does not recognise it as dense and adds up every sum in full.
    in_full = build("basic", **arguments, aggregation=lambda layer: range(layer)).train()
    in_full.load_state_dict(running.state_dict())
    x = images(2, 3, 16, 16)
    outputs, additions = [], []
    for net in (running, in_full):
        with Additions() as counted:
            outputs.append(net(x))
        additions.append(counted.count)
    assert torch.equal(outputs[0], outputs[1])
    assert all(torch.equal(*pair) for pair in zip(running.buffers(), in_full.buffers()))
    layers = len(running.stages[0].layers)
    assert additions == [3 * layers, 3 * layers * (layers + 1) // 2]

    for output in outputs:
        output.sum().backward()
    for mine, other in zip(running.parameters(), in_full.parameters()):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-4)


@settings(deadline=None, max_examples=25)
@given(layers=st.integers(1, 12), rule=st.sampled_from(["dense", "sparse"]), base=st.integers(2, 4))
def test_a_projected_stage_sums_what_the_rule_names_from_output_0_of_its_first_layer(layers, rule, base):
    class Pair(nn.Module):
        def forward(self, x):
            return x[:, :1] * 10, x[:, :1] * 100

    class Double(nn.Module):
        def forward(self, x):
            return 2 * x

    stage = ProjectedStage(
        StageGraph(layers, rule, base), "sum", 1, 1, lambda layer, _: Pair() if layer == 1 else Double()
    )
    x = torch.ones(1, 3, 1, 1, dtype=torch.float64)
    outputs = [10, 100]
    for layer in range(2, layers + 1):
        outputs.append(2 * sum(outputs[source] for source in expected_sources(rule, layer, base)))
    assert stage(x).item() == sum(outputs[source] for source in expected_sources(rule, layers + 1, base))


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_gets_a_finite_gradient_that_is_not_all_zero(kind):
    model = build(kind)
    F.cross_entropy(model(images(2, 3, 16, 16)), torch.tensor([3, 7])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize(("base", "unread"), [(2, False), (4, False), (5, True)])
def test_a_resnet_knows_whether_a_projection_is_read(base, unread):
    model = ResNet(depth=20, aggregation="sparse", base=base)
    assert model.skips_layers == unread
    model(images(2, 3, 8, 8)).sum().backward()
    assert (model.stages[1].layers[0].projection.weight.grad is None) == unread


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 17), (32, 32), (40, 33)])
def test_a_resnet_runs_at_any_size_from_8_up(height, width):
    for kind in ("sparse", "sparse bottleneck"):
        model = build(kind)
        maps = model.forward_features(images(2, 3, height, width))
        assert maps.shape == (2, model.num_features, -(-height // 4), -(-width // 4))
        assert model(images(2, 3, height, width)).shape == (2, 10)


def test_a_resnet_has_timms_methods():
    model = create_model("sparse_resnet_20", num_classes=5, in_chans=1, drop_rate=0.1)
    x = images(2, 1, 16, 16)
    assert model(x).shape == (2, 5)
    assert [info["num_chs"] for info in model.feature_info] == [16, 32, 64]
    assert [info["reduction"] for info in model.feature_info] == [1, 2, 4]
    assert model.forward_head(model.forward_features(x), pre_logits=True).shape == (2, 64)
    model.reset_classifier(0, "")
    assert model(x).shape == (2, 64, 4, 4)
    assert model.get_classifier().__class__ is nn.Identity


@pytest.mark.parametrize("name", ["sparse_resnet_1001", pytest.param("resnet_1001", marks=pytest.mark.slow)])
def test_1001_layers_build_train_copy_and_save_within_few_stack_frames(name):
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 200)  # a frame for each layer would not fit
    try:
        model = create_model(name)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
        loss = F.cross_entropy(model(images(2, 3, 8, 8)), torch.tensor([3, 7]))
        loss.backward()
        optimiser.step()
        del loss
        copied = copy.deepcopy(model)
        torch.save(copied, io.BytesIO())
    finally:
        sys.setrecursionlimit(limit)
    assert Counter(len(stage.layers) for stage in model.stages) == {111: 3}
    assert all(parameter.isfinite().all() for parameter in copied.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(depth=21), "depth must be 2 more than a multiple of 6, got 21; the nearest: 20 or 26"),
        (dict(depth=2), "depth must be 2 more than a multiple of 6, got 2; the nearest: 8"),
        (dict(depth=111, bottleneck=True), "a multiple of 9, got 111; the nearest: 110 or 119"),
        (dict(depth=20, widths=()), "widths must be a sequence of at least one number, got ()"),
        (dict(depth=20, widths=(16, 0, 8)), "each of widths must be at least 1, got 0"),
        (dict(depth=20, aggregation="spars"), "aggregation must be 'sparse', 'dense' or a function"),
        (dict(depth=20, num_classes=-1), "num_classes must be at least 0, got -1"),
        (dict(depth=20, drop_rate=1.0), "drop_rate must be in [0, 1), got 1.0"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_named_with_its_value(arguments, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        ResNet(**arguments)
    assert message in str(caught.value)
