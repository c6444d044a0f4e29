"""SparseNet and DenseNet: their sizes, which outputs a running net reads, timm's methods, the errors.

The counts and the reference computation are written out here, without the package's code.
"""

from __future__ import annotations

import copy
import io
import math
import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.nets import expected_sources
from torch import Tensor, nn

from sparsenet_models import DenseNet, SparseNet, create_model
from sparsenet_models.models import families

# name: (sparse at 10 classes, at 100, dense twin at 10, at 100), counted by running the original code;
# bc_100_k16 from the quadratic in k through its counts for 12, 24 and 36, on which that for 64 lies too
COUNTS = {
    "40_k12": (183_910, 188_320, 1_059_298, 1_100_428),
    "40_k24": (726_946, 735_676, 4_189_306, 4_271_476),
    "100_k12": (625_654, 632_224, 7_083_538, 7_189_468),
    "100_k24": (2_477_314, 2_490_364, 28_071_706, 28_283_476),
    "100_k36": (5_554_990, 5_574_520, 62_964_514, 63_282_124),
    "bc_40_k12": (124_246, 127_576, 176_122, 188_092),
    "bc_100_k12": (364_534, 370_024, 769_162, 800_032),
    "bc_100_k16": (643_546, 650_836, 1_354_922, 1_396_052),
    "bc_100_k24": (1_437_826, 1_448_716, 3_020_506, 3_082_156),
    "bc_100_k36": (3_219_886, 3_236_176, 6_754_042, 6_846_472),
    "bc_100_k64": (10_134_346, 10_163_236, 21_229_706, 21_393_956),
    "bc_100_k16_32_64": (4_330_826, 4_359_716, 7_681_194, 7_802_964),
    "bc_100_k32_64_128": (17_260_426, 17_318_116, 30_572_106, 30_815_556),
}

IMAGENET_COUNTS = {
    "sparsenet121": 3_250_824,
    "sparsenet161": 9_853_288,
    "sparsenet169": 4_709_864,
    "sparsenet201": 5_703_144,
    "sparsenet264": 7_717_224,
    "sparsenet201_k48": 12_638_824,
}

# Small nets of every kind that run in milliseconds: class and arguments.
SMALL = {
    "sparse": (SparseNet, dict(depth=16, growth_rate=4)),
    "sparse bc": (SparseNet, dict(depth=22, growth_rate=4, bottleneck=True)),
    "sparse growing": (SparseNet, dict(depth=16, growth_rate=(3, 4, 6), base=3)),
    "sparse sum": (SparseNet, dict(depth=19, growth_rate=(4, 6, 8), merge="sum")),
    "sparse bc sum": (SparseNet, dict(depth=22, growth_rate=4, bottleneck=True, merge="sum")),
    "dense": (DenseNet, dict(depth=16, growth_rate=4)),
    "dense bc": (DenseNet, dict(depth=22, growth_rate=4, bottleneck=True)),
    "dense sum": (DenseNet, dict(depth=16, growth_rate=4, merge="sum")),
    "imagenet stem": (
        SparseNet,
        dict(layers=(2, 3, 1, 2), growth_rate=4, bottleneck=True, stem="imagenet"),
    ),
}
every_small_net = pytest.mark.parametrize("kind", SMALL)


def build(kind: str, **changes) -> SparseNet | DenseNet:
    torch.manual_seed(0)
    net, arguments = SMALL[kind]
    return net(**{**arguments, **changes})


def images(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def image_batch(kind: str) -> Tensor:
    return images(2, 3, 64, 64) if kind == "imagenet stem" else images(2, 3, 16, 16)


def with_trained_statistics(model: nn.Module) -> nn.Module:
    """Give every batch norm statistics and an affine map as if trained: defaults could hide an error."""
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            with torch.no_grad():
                for tensor in (module.weight, module.running_var):
                    tensor.uniform_(0.5, 1.5, generator=generator)
                for tensor in (module.bias, module.running_mean):
                    tensor.normal_(0, 0.5, generator=generator)
    return model


def parameter_count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# Sizes


@pytest.mark.parametrize("name", COUNTS)
def test_cifar_nets_have_exactly_the_parameters_of_the_original_code(name):
    nets = [
        create_model(f"{family}_{name}.{tag}", device="meta")
        for family in ("sparsenet", "densenet")
        for tag in ("cifar10", "cifar100")
    ]
    assert tuple(parameter_count(net) for net in nets) == COUNTS[name]


def test_every_cifar_sparsenet_has_a_dense_twin_with_the_same_arguments():
    dense = families.DENSENET_CIFAR.items()
    twins = {name.replace("densenet", "sparsenet"): arguments for name, arguments in dense}
    assert twins == families.SPARSENET_CIFAR


@pytest.mark.parametrize("name", IMAGENET_COUNTS)
def test_imagenet_nets_have_exactly_the_parameters_of_the_table(name):
    model = create_model(name, device="meta")
    assert parameter_count(model) == IMAGENET_COUNTS[name]
    assert model.num_classes == 1000


@pytest.mark.parametrize(
    ("name", "stem_channels", "count"),
    [("sparsenet_bc_100_k16_32_64", 24, 4_333_682), ("densenet_bc_100_k16_32_64", 48, 7_741_786)],
)
def test_the_course_projects_stem_gives_its_counts(name, stem_channels, count):
    assert parameter_count(create_model(name, device="meta", stem_channels=stem_channels)) == count


@pytest.mark.parametrize(
    ("net", "arguments", "channels"),
    [
        (SparseNet, dict(), 12),
        (DenseNet, dict(), 24),
        (SparseNet, dict(aggregation="dense"), 24),
        (DenseNet, dict(aggregation="sparse"), 12),
        (SparseNet, dict(growth_rate=(5, 6, 7)), 5),
        (DenseNet, dict(growth_rate=(5, 6, 7)), 10),
        (SparseNet, dict(stem_channels=7), 7),
        (SparseNet, dict(stem="imagenet"), 24),
        (DenseNet, dict(merge="sum"), 12),
        (SparseNet, dict(merge="sum", stem="imagenet"), 12),
    ],
    ids=str,
)
def test_the_stem_has_k_channels_or_2k_by_default(net, arguments, channels):
    with torch.device("meta"):
        assert net(depth=16, **arguments).stem.conv.out_channels == channels


@pytest.mark.parametrize(
    ("arguments", "quarters"),
    [
        (dict(), 4),
        (dict(bottleneck=True), 2),
        (dict(compression=0.25), 1),
        (dict(compression=0.75, bottleneck=True), 3),
        (dict(compression=1, bottleneck=True), 4),
    ],
    ids=str,
)
def test_a_transition_keeps_the_floor_of_its_share_of_the_channels(arguments, quarters):
    with torch.device("meta"):
        model = SparseNet(depth=19, growth_rate=7, **arguments)
    assert any(stage.out_channels % 4 for stage in model.stages)  # there is something to round
    for stage, transition in zip(model.stages, model.transitions):
        assert transition.conv.in_channels == stage.out_channels
        assert transition.conv.out_channels == stage.out_channels * quarters // 4


@settings(deadline=None, max_examples=60)
@given(
    layers=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    data=st.data(),
    bottleneck=st.booleans(),
    rule=st.sampled_from(["sparse", "dense"]),
    base=st.integers(2, 5),
    merge=st.sampled_from(["concat", "sum"]),
)
def test_every_input_is_as_wide_as_what_it_aggregates(layers, data, bottleneck, rule, base, merge):
    rates = data.draw(st.lists(st.integers(2, 40), min_size=len(layers), max_size=len(layers)))
    with torch.device("meta"):
        model = SparseNet(
            layers=layers,
            growth_rate=rates,
            bottleneck=bottleneck,
            aggregation=rule,
            base=base,
            merge=merge,
        )
    channels = model.stem.conv.out_channels
    for index, (stage, rate) in enumerate(zip(model.stages, rates)):
        if index > 0:
            transition = model.transitions[index - 1]
            assert transition.norm.num_features == transition.conv.in_channels == channels
            channels = transition.conv.out_channels
        widths = [channels] + [rate] * len(stage.layers)
        for number, layer in enumerate(stage.layers, start=1):
            read = [widths[source] for source in expected_sources(rule, number, base)]
            width = sum(read) if merge == "concat" else rate
            assert layer.norm1.num_features == layer.conv1.in_channels == width
            last = layer.conv2 if bottleneck else layer.conv1
            assert last.out_channels == rate
            assert last.kernel_size == (3, 3)
            if bottleneck:
                assert layer.conv1.kernel_size == (1, 1)
                assert layer.conv1.out_channels == layer.norm2.num_features == last.in_channels == 4 * rate
            if merge == "sum":
                assert set(read) == {rate}
        out = [widths[source] for source in expected_sources(rule, len(widths), base)]
        channels = sum(out) if merge == "concat" else rate
        assert stage.out_channels == channels
    assert model.norm.num_features == model.head.fc.in_features == model.num_features == channels


@given(st.integers(2, 34), st.booleans())
@settings(deadline=None, max_examples=20)
def test_a_depth_makes_three_stages_of_its_third(third, bottleneck):
    with torch.device("meta"):
        model = SparseNet(depth=3 * third + 4, growth_rate=2, bottleneck=bottleneck)
    expected = third // 2 if bottleneck else third
    assert [len(stage.layers) for stage in model.stages] == [expected] * 3
    weighted = [module for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    lost_to_rounding = 3 * (third % 2) if bottleneck else 0
    assert len(weighted) == 3 * third + 4 - lost_to_rounding


# Which outputs a running net reads


def traffic(kind: str) -> list[tuple[list[int], list[Tensor], Tensor]]:
    """Run a net; return, per layer and for each stage's output, sources, all outputs and merged input."""
    net, arguments = SMALL[kind]
    model = build(kind)
    made: dict[nn.Module, Tensor] = {}
    received: dict[nn.Module, Tensor] = {}
    for stage in model.stages:
        for module in (stage, *stage.layers):
            module.register_forward_pre_hook(lambda module, inputs: received.update({module: inputs[0]}))
            module.register_forward_hook(lambda module, inputs, output: made.update({module: output}))
    model(image_batch(kind))

    rule, base = net.family_aggregation, arguments.get("base", 2)
    reads = []
    for stage in model.stages:
        outputs = [received[stage], *(made[layer] for layer in stage.layers)]
        inputs = [*(received[layer] for layer in stage.layers), made[stage]]
        for number, merged in enumerate(inputs, start=1):
            reads.append((expected_sources(rule, number, base), outputs, merged))
    return reads


@pytest.mark.parametrize("kind", [kind for kind in SMALL if "sum" not in kind])
def test_a_layers_input_is_the_outputs_it_reads_side_by_side_in_the_rules_order(kind):
    for sources, outputs, merged in traffic(kind):
        width = 0
        for source in sources:
            channels = outputs[source].shape[1]
            assert torch.equal(merged[:, width : width + channels], outputs[source])
            width += channels
        assert merged.shape[1] == width


@pytest.mark.parametrize("kind", [kind for kind in SMALL if "sum" in kind])
def test_a_layers_input_is_the_sum_of_the_outputs_it_reads(kind):
    for sources, outputs, merged in traffic(kind):
        torch.testing.assert_close(merged, torch.stack([outputs[source] for source in sources]).sum(0))


def test_a_users_rule_decides_what_a_net_reads_and_in_which_order():
    asked = []

    def rule(layer):
        asked.append(layer)
        return [0, layer - 1] if layer > 1 else [0]

    model = SparseNet(layers=(3, 2), growth_rate=4, aggregation=rule, stem_channels=5, compression=1)
    assert asked == [1, 2, 3, 4, 1, 2, 3]
    assert [layer.conv1.in_channels for layer in model.stages[0].layers] == [5, 9, 9]
    assert model.stages[0].out_channels == model.transitions[0].conv.out_channels == 9
    assert [layer.conv1.in_channels for layer in model.stages[1].layers] == [9, 13]
    seen = []
    model.stages[0].register_forward_hook(lambda stage, inputs, output: seen.append((inputs[0], output)))
    model(images(2, 3, 8, 8))
    entered, left = seen[0]
    assert torch.equal(left[:, :5], entered)


@every_small_net
def test_a_users_copy_of_the_rule_makes_the_same_net(kind):
    net, arguments = SMALL[kind]
    rule, base = net.family_aggregation, arguments.get("base", 2)
    stem_channels = build(kind).stem.conv.out_channels
    built_in = build(kind).eval()
    users = build(
        kind, aggregation=lambda layer: expected_sources(rule, layer, base), stem_channels=stem_channels
    ).eval()
    assert torch.equal(built_in(image_batch(kind)), users(image_batch(kind)))


def test_a_users_rule_that_does_not_fit_is_refused_with_the_layer_and_the_value():
    for wrong, value in (((0, 0), "(0, 0)"), ((5,), "5"), ((-1,), "-1"), ((0.0,), "0.0"), (None, "None")):
        with pytest.raises(ValueError, match=re.escape("aggregation(3) must return distinct")) as caught:
            SparseNet(depth=16, aggregation=lambda layer, wrong=wrong: wrong if layer == 3 else (0,))
        assert value in str(caught.value).partition("), got ")[2]


def reference(model: nn.Module, x: Tensor, rule: str, merge: str, training: bool) -> Tensor:
    """Compute a CIFAR net of SparseNet's layers from its weights with torch's functions alone."""
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def normed(name: str, x: Tensor) -> Tensor:
        mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return F.relu(F.batch_norm(x, mean, variance, scale, shift, training=training))

    def combined(outputs: list[Tensor]) -> Tensor:
        tensors = [outputs[source] for source in expected_sources(rule, len(outputs))]
        return sum(tensors) if merge == "sum" else torch.cat(tensors, 1)

    x = F.conv2d(x, weights["stem.conv.weight"], padding=1)
    for index, stage in enumerate(model.stages):
        if index > 0:
            transition = f"transitions.{index - 1}"
            x = F.conv2d(normed(f"{transition}.norm", x), weights[f"{transition}.conv.weight"])
            x = F.avg_pool2d(x, 2)
        outputs = [x]
        for number in range(len(stage.layers)):
            name = f"stages.{index}.layers.{number}"
            x = normed(f"{name}.norm1", combined(outputs))
            if f"{name}.conv2.weight" in weights:
                x = F.conv2d(x, weights[f"{name}.conv1.weight"])
                x = F.conv2d(normed(f"{name}.norm2", x), weights[f"{name}.conv2.weight"], padding=1)
            else:
                x = F.conv2d(x, weights[f"{name}.conv1.weight"], padding=1)
            outputs.append(x)
        x = combined(outputs)
    x = normed("norm", x).mean((2, 3))
    return F.linear(x, weights["head.fc.weight"], weights["head.fc.bias"])


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("kind", [kind for kind in SMALL if kind not in ("imagenet stem", "sparse growing")])
def test_a_net_computes_what_a_plain_reference_computes(kind, training):
    model = with_trained_statistics(build(kind).double()).train(training)
    rule, merge = model.family_aggregation, SMALL[kind][1].get("merge", "concat")
    x = images(3, 3, 12, 16, dtype=torch.float64)
    expected = reference(model, x, rule, merge, training)
    torch.testing.assert_close(model(x), expected, rtol=1e-10, atol=1e-10)


# Training and initialisation


@every_small_net
def test_every_parameter_gets_a_finite_gradient_that_is_not_all_zero(kind):
    model = build(kind)
    F.cross_entropy(model(image_batch(kind)), torch.tensor([3, 7])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("arguments", [dict(), dict(stem="imagenet")], ids=str)
def test_convolutions_start_with_hes_deviation_on_fan_out(arguments):
    torch.manual_seed(0)
    model = SparseNet(layers=(2, 2), growth_rate=32, bottleneck=True, **arguments)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 1 + 2 * 4 + 1
    for convolution in convolutions:
        weight = convolution.weight
        deviation = math.sqrt(2 / (weight.shape[0] * weight.shape[2] * weight.shape[3]))
        assert abs(weight.std().item() / deviation - 1) < 4 / math.sqrt(2 * weight.numel())
        assert abs(weight.mean().item() / deviation) < 4 / math.sqrt(weight.numel())
        assert convolution.bias is None


def change_of_the_features(name, change):
    """Return how much the final features of an untrained net change, relative to their deviation."""
    torch.manual_seed(0)
    model = create_model(name).train()
    x, noise = images(2, 8, 3, 64, 64)
    with torch.no_grad():
        before, after = model.forward_features(x), model.forward_features(x + change * noise)
    return ((after - before).norm() / (before - before.mean((0, 2, 3), keepdim=True)).norm()).item()


@pytest.mark.parametrize("name", ["sparsenet121", "sparsenet264", "sparsenet_bc_100_k12", "sparsenet_40_k24"])
def test_a_new_sparse_net_answers_similar_images_with_similar_features(name):
    assert change_of_the_features(name, change=0.01) < 0.1


def test_norm_biases_start_at_one_where_links_are_left_out_and_at_zero_in_a_dense_net():
    for kind, expected in (("sparse", 1.0), ("dense", 0.0)):
        biases = [module.bias for module in build(kind).modules() if isinstance(module, nn.BatchNorm2d)]
        assert biases
        assert all((bias == expected).all() for bias in biases)


def test_drop_rate_drops_pooled_features_in_training_alone():
    model = build("sparse", drop_rate=0.5, growth_rate=24)
    x = images(16, 3, 8, 8)
    features = model.forward_features(x)
    assert torch.equal(features, model.forward_features(x))

    pooled = features.mean((2, 3))
    dropped = model.forward_head(features, pre_logits=True)
    gone = dropped == 0
    assert 0.4 < gone.float().mean() < 0.6
    torch.testing.assert_close(dropped[~gone], 2 * pooled[~gone])
    assert not torch.equal(model.forward_head(features), model.forward_head(features))

    model.eval()
    plain = build("sparse", growth_rate=24).eval()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model(x), plain(x))


@pytest.mark.parametrize("kind", ["sparse", "sparse bc", "sparse sum"])
def test_proj_drop_rate_drops_every_layers_new_features_in_training_alone(kind):
    model = build(kind, proj_drop_rate=0.25)
    x = images(8, 3, 16, 16)
    made = []
    for stage in model.stages:
        for layer in stage.layers:
            layer.register_forward_hook(lambda module, inputs, output: made.append(output))
    model(x)
    assert len(made) == sum(len(stage.layers) for stage in model.stages)
    for output in made:
        assert 0.1 < (output == 0).float().mean() < 0.4

    made.clear()
    model.eval()
    plain = build(kind).eval()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model(x), plain(x))
    assert all((output == 0).float().mean() < 0.05 for output in made)


# Any size, any place


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 17), (32, 32), (64, 40)])
@pytest.mark.parametrize("kind", [kind for kind in SMALL if kind != "imagenet stem"])
def test_a_cifar_net_runs_at_any_size_from_8_up(kind, height, width):
    model = build(kind)
    x = images(2, 3, height, width)
    assert model.forward_features(x).shape == (2, model.num_features, height // 2 // 2, width // 2 // 2)
    assert model(x).shape == (2, 10)
    assert model(x).isfinite().all()


@pytest.mark.parametrize(
    ("height", "width", "left"), [(32, 32, (1, 1)), (64, 40, (2, 1)), (33, 97, (1, 3)), (224, 224, (7, 7))]
)
def test_an_imagenet_net_runs_at_any_size_from_32_up(height, width, left):
    model = build("imagenet stem")
    x = images(2, 3, height, width)
    assert model.forward_features(x).shape == (2, model.num_features, *left)
    assert model(x).shape == (2, 10)


@every_small_net
def test_one_image_runs_in_eval_mode(kind):
    model = with_trained_statistics(build(kind)).eval()
    both = image_batch(kind)
    torch.testing.assert_close(model(both[:1]), model(both)[:1])


def test_in_chans_is_what_the_net_takes():
    model = build("sparse", in_chans=1)
    assert model.in_chans == model.stem.conv.in_channels == 1
    assert model(images(2, 1, 8, 8)).shape == (2, 10)
    with pytest.raises(RuntimeError, match=r"channels"):
        model(images(2, 3, 8, 8))


@every_small_net
def test_a_net_builds_on_meta_and_computes_once_it_has_weights(kind):
    real = with_trained_statistics(build(kind)).eval()
    with torch.device("meta"):
        model = build(kind).eval()
        assert model(torch.empty(2, 3, 64, 64)).shape == (2, 10)
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"meta"}
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in real.state_dict().items()}

    model.to_empty(device="cpu").load_state_dict(real.state_dict())
    assert torch.equal(model(image_batch(kind)), real(image_batch(kind)))


@every_small_net
def test_a_net_built_on_meta_is_initialised_as_a_new_net_is(kind):
    expected = build(kind).state_dict()
    with torch.device("meta"):
        model = build(kind)
    model.to_empty(device="cpu")
    for tensor in model.state_dict().values():
        tensor.fill_(7)
    model.init_weights()
    for name, tensor in model.state_dict().items():
        if expected[name].ndim < 2:
            assert torch.equal(tensor, expected[name]), name
        else:
            torch.testing.assert_close(tensor.std(), expected[name].std(), rtol=0.35, atol=0)
            assert abs(tensor.mean()) < 0.35 * tensor.std() + 1e-6, name


@every_small_net
def test_a_deep_copy_computes_the_same_and_is_independent(kind):
    model = with_trained_statistics(build(kind)).eval()
    before = model(image_batch(kind))
    twin = copy.deepcopy(model)
    assert torch.equal(twin(image_batch(kind)), before)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    assert torch.equal(model(image_batch(kind)), before)
    assert not torch.equal(twin(image_batch(kind)), before)


@every_small_net
def test_a_state_dict_goes_through_a_file_into_another_net(kind):
    model = with_trained_statistics(build(kind)).eval()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = build(kind)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.eval()(image_batch(kind)), model(image_batch(kind)))


@every_small_net
def test_channels_last_computes_the_same(kind):
    model = with_trained_statistics(build(kind)).eval()
    x = image_batch(kind)
    expected = model(x)
    model = model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(model(x.to(memory_format=torch.channels_last)), expected, rtol=1e-4, atol=1e-5)


# Module names are public


def norm_keys(name: str) -> list[str]:
    return [
        f"{name}.{key}" for key in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    ]


@pytest.mark.parametrize("kind", [kind for kind in SMALL if kind != "imagenet stem"])
def test_the_weights_of_a_cifar_net_have_the_public_names(kind):
    model = build(kind)
    expected = ["stem.conv.weight"]
    for index, stage in enumerate(model.stages):
        for number in range(len(stage.layers)):
            for part in ("1", "2") if "bc" in kind else ("1",):
                name = f"stages.{index}.layers.{number}"
                expected += [*norm_keys(f"{name}.norm{part}"), f"{name}.conv{part}.weight"]
    for index in range(2):
        expected += [*norm_keys(f"transitions.{index}.norm"), f"transitions.{index}.conv.weight"]
    expected += [*norm_keys("norm"), "head.fc.weight", "head.fc.bias"]
    assert sorted(model.state_dict()) == sorted(expected)


@pytest.mark.parametrize("name", ["sparsenet_bc_40_k12", "densenet_bc_40_k12", "sparsenet121"])
def test_the_configuration_names_the_first_convolution_and_the_classifier(name):
    model = create_model(name, device="meta")
    first = model.get_submodule(model.pretrained_cfg["first_conv"])
    assert first is next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    assert model.get_submodule(model.pretrained_cfg["classifier"]) is model.get_classifier()
    assert model.default_cfg == model.pretrained_cfg


# timm's protocol


@every_small_net
def test_forward_is_the_head_of_the_features(kind):
    model = with_trained_statistics(build(kind)).eval()
    x = image_batch(kind)
    features = model.forward_features(x)
    assert features.ndim == 4
    assert features.shape[:2] == (2, model.num_features)
    assert (features >= 0).all()
    assert torch.equal(model(x), model.forward_head(features))
    pooled = model.forward_head(features, pre_logits=True)
    assert pooled.shape == (2, model.head_hidden_size)
    assert torch.equal(model.get_classifier()(pooled), model(x))


POOLED = {
    "avg": lambda x: x.flatten(2).mean(2),
    "max": lambda x: x.flatten(2).max(2).values,
    "avgmax": lambda x: (x.flatten(2).mean(2) + x.flatten(2).max(2).values) / 2,
    "catavgmax": lambda x: torch.cat((x.flatten(2).mean(2), x.flatten(2).max(2).values), 1),
}


@pytest.mark.parametrize("pool", POOLED)
def test_global_pool_pools_as_timms_word_says(pool):
    model = build("sparse", global_pool=pool, num_classes=6).eval()
    features = model.forward_features(images(3, 3, 24, 16))
    pooled = model.forward_head(features, pre_logits=True)
    torch.testing.assert_close(pooled, POOLED[pool](features))
    assert model.global_pool == pool
    assert pooled.shape[1] == model.head_hidden_size == model.get_classifier().in_features
    assert model.head_hidden_size == model.num_features * (2 if pool == "catavgmax" else 1)
    assert model.forward_head(features).shape == (3, 6)


def test_no_pooling_and_no_classes_leave_the_feature_map():
    model = build("sparse", global_pool="", num_classes=0).eval()
    x = images(2, 3, 8, 16)
    assert torch.equal(model(x), model.forward_features(x))
    assert model(x).shape == (2, model.num_features, 2, 4)
    assert model.head_hidden_size == model.num_features
    assert torch.equal(model.forward_head(model(x), pre_logits=True), model(x))


@pytest.mark.parametrize("pool", POOLED)
def test_no_classes_leave_the_pooled_features(pool):
    model = build("sparse", global_pool=pool, num_classes=0).eval()
    x = images(2, 3, 8, 8)
    assert model.num_classes == 0
    assert isinstance(model.get_classifier(), nn.Identity)
    torch.testing.assert_close(model(x), POOLED[pool](model.forward_features(x)))


def test_reset_classifier_without_classes_leaves_the_pooled_features():
    model = build("sparse").eval()
    x = images(2, 3, 8, 8)
    pooled = model.forward_head(model.forward_features(x), pre_logits=True)
    model.reset_classifier(0)
    assert (model.num_classes, model.global_pool) == (0, "avg")
    assert isinstance(model.get_classifier(), nn.Identity)
    assert torch.equal(model(x), pooled)
    assert not [name for name in model.state_dict() if name.startswith("head")]


def test_reset_classifier_without_pooling_leaves_the_feature_map():
    model = build("sparse").eval()
    x = images(2, 3, 8, 8)
    model.reset_classifier(0, "")
    assert (model.num_classes, model.global_pool) == (0, "")
    assert torch.equal(model(x), model.forward_features(x))


@pytest.mark.parametrize(
    ("arguments", "classes", "pool"),
    [((7,), 7, "avg"), ((5, "max"), 5, "max"), ((4, "catavgmax"), 4, "catavgmax"), ((10,), 10, "avg")],
)
def test_reset_classifier_puts_a_new_head_on_the_same_features(arguments, classes, pool):
    model = build("sparse").eval()
    x = images(2, 3, 8, 8)
    features, old = model.forward_features(x), model.get_classifier()
    model.reset_classifier(*arguments)
    new = model.get_classifier()
    assert new is not old
    assert (new.in_features, new.out_features) == (model.head_hidden_size, classes)
    assert (model.num_classes, model.global_pool) == (classes, pool)
    assert all(parameter.requires_grad for parameter in new.parameters())
    assert torch.equal(model.forward_features(x), features)
    torch.testing.assert_close(model(x), F.linear(POOLED[pool](features), new.weight, new.bias))


@pytest.mark.parametrize("classes", [0, 7, 10])
def test_a_new_head_has_neither_the_class_names_nor_the_metrics_of_the_old_one(classes):
    model = create_model("sparsenet_bc_40_k12.cifar10", pretrained=True)
    assert model.pretrained_cfg["top1"] is not None
    model.reset_classifier(classes)
    cleared = ("label_names", "top1", "top5", "loss", "num_params", "macs")
    assert {model.pretrained_cfg[key] for key in cleared} == {None}
    assert model.pretrained_cfg["num_classes"] == classes
    plain = build("sparse")
    plain.reset_classifier(classes)
    assert plain.pretrained_cfg == {}


def test_the_number_of_classes_is_that_of_the_classifier_in_place():
    model = build("sparse")
    width = model.head_hidden_size
    model.head.fc = nn.Sequential(nn.Linear(width, 10))
    assert model.num_classes == 10
    model.head.fc = nn.Linear(width, 5)
    assert model.num_classes == 5
    model.head.fc = nn.Identity()
    assert model.num_classes == 0


def test_classes_come_back_in_the_nets_own_type_and_place():
    model = SparseNet(depth=10, growth_rate=4).to(dtype=torch.float64)
    model.reset_classifier(0)
    model.reset_classifier(7)
    assert model(torch.randn(2, 3, 8, 8, dtype=torch.float64)).shape == (2, 7)
    on_meta = SparseNet(depth=10, growth_rate=4, num_classes=0).to("meta")
    on_meta.reset_classifier(7)
    assert on_meta.head.fc.weight.is_meta


@pytest.mark.parametrize("classes", [2.5, True, "7", None])
def test_a_number_of_classes_that_is_no_integer_is_refused_and_the_head_stays(classes):
    model = SparseNet(depth=10, growth_rate=4)
    before = model.head.fc
    with pytest.raises(TypeError, match="num_classes must be an integer"):
        model.reset_classifier(classes)
    assert model.head.fc is before
    assert model.num_classes == 10


def test_classes_come_back_after_a_net_had_none():
    model = build("sparse", num_classes=0, global_pool="")
    model.reset_classifier(7, "avg")
    assert model(images(2, 3, 8, 8)).shape == (2, 7)
    model.reset_classifier(0)
    model.reset_classifier(3)
    assert model(images(2, 3, 8, 8)).shape == (2, 3)


@pytest.mark.parametrize("where", [dict(dtype=torch.float64), dict(device="meta")], ids=str)
def test_a_new_head_has_the_device_and_the_type_of_the_old_one(where):
    model = build("sparse").to(**where)
    old = model.get_classifier().weight
    model.reset_classifier(7)
    new = model.get_classifier().weight
    assert (new.device, new.dtype) == (old.device, old.dtype)
    assert model(torch.zeros(2, 3, 8, 8, **where)).shape == (2, 7)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((-1,), "num_classes must be at least 0, got -1"),
        ((5, "mean"), "global_pool must be one of ('avg', 'max', 'avgmax', 'catavgmax', ''), got 'mean'"),
        ((5, ""), "global_pool='' needs num_classes=0, got num_classes=5"),
    ],
)
def test_a_refused_reset_leaves_the_head_unchanged(arguments, words):
    model = build("sparse").eval()
    before = model(images(2, 3, 8, 8))
    with pytest.raises(ValueError, match=re.escape(words)):
        model.reset_classifier(*arguments)
    assert (model.num_classes, model.global_pool) == (10, "avg")
    assert torch.equal(model(images(2, 3, 8, 8)), before)


@every_small_net
def test_the_feature_info_is_true_of_what_the_named_modules_make(kind):
    model = build(kind)
    size = 64
    made = {}
    for info in model.feature_info:
        model.get_submodule(info["module"]).register_forward_hook(
            lambda module, inputs, output, name=info["module"]: made.update({name: output.shape})
        )
    model(images(2, 3, size, 2 * size))
    assert len(made) == len(model.feature_info) == len(model.stages) + (kind == "imagenet stem")
    for info in model.feature_info:
        reduced = size // info["reduction"]
        assert made[info["module"]] == (2, info["num_chs"], reduced, 2 * reduced)
    reductions = [info["reduction"] for info in model.feature_info]
    assert reductions == ([2, 4, 8, 16, 32] if kind == "imagenet stem" else [1, 2, 4])


# Errors


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (dict(depth=41), "41; the nearest: 40 or 43"),
        (dict(depth=42), "42; the nearest: 40 or 43"),
        (dict(depth=99, bottleneck=True), "99; the nearest: 97 or 100"),
        (dict(depth=5), "5; the nearest: 7"),
        (dict(depth=7, bottleneck=True), "7; the nearest: 10"),
    ],
    ids=str,
)
def test_a_depth_that_does_not_divide_is_refused_with_the_nearest_ones(arguments, nearest):
    with pytest.raises(ValueError, match=rf"^depth must be .*, got {nearest}$"):
        SparseNet(**arguments)


@given(st.integers(1, 130), st.booleans())
@settings(deadline=None, max_examples=15)
def test_the_depths_that_a_message_names_are_the_nearest_that_make_a_net(depth, bottleneck):
    possible = range(10 if bottleneck else 7, 140, 3)
    assume(depth not in possible)
    with pytest.raises(ValueError, match=r"^depth must be") as caught:
        SparseNet(depth=depth, growth_rate=2, bottleneck=bottleneck)
    named = [int(number) for number in re.findall(r"\d+", str(caught.value).partition("the nearest:")[2])]
    assert named == [near for near in possible if abs(near - depth) < 3 or depth < near == possible[0]]
    with torch.device("meta"):
        nets = [SparseNet(depth=near, growth_rate=2, bottleneck=bottleneck) for near in named]
    assert [len(net.stages) for net in nets] == [3] * len(named)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(depth=0), "depth must be at least 1, got 0"),
        (dict(depth=None), "give one of depth and layers, got depth=None, layers=None"),
        (dict(layers=(2, 2)), "give one of depth and layers, got depth=16, layers=(2, 2)"),
        (dict(depth=None, layers=()), "layers must be a sequence of at least one number"),
        (dict(depth=None, layers=(2, 0)), "layers must be at least 1, got 0"),
        (dict(growth_rate=0), "growth_rate must be at least 1, got 0"),
        (dict(growth_rate=(4, 4)), "growth_rate must be one number or one per stage (3), got (4, 4)"),
        (dict(growth_rate=(1, 2, 3, 4)), "one per stage (3), got (1, 2, 3, 4)"),
        (dict(growth_rate=(4, -1, 4)), "growth_rate must be at least 1, got -1"),
        (dict(aggregation="sprase"), "aggregation must be 'sparse', 'dense' or a function"),
        (dict(base=1), "base must be at least 2, got 1"),
        (dict(merge="add"), "merge must be one of ('concat', 'sum'), got 'add'"),
        (dict(stem="torchvision"), "stem must be one of ('cifar', 'imagenet'), got 'torchvision'"),
        (dict(stem=["cifar"]), "stem must be one of ('cifar', 'imagenet'), got ['cifar']"),
        (dict(stem="imagnet"), "got 'imagnet'; did you mean 'imagenet'?"),
        (dict(stem_channels=0), "stem_channels must be at least 1, got 0"),
        (dict(in_chans=0), "in_chans must be at least 1, got 0"),
        (dict(num_classes=-1), "num_classes must be at least 0, got -1"),
        (dict(global_pool="mean"), "global_pool must be one of ('avg', 'max', 'avgmax', 'catavgmax', '')"),
        (dict(global_pool=""), "global_pool='' needs num_classes=0, got num_classes=10"),
        (dict(compression=0.0), "compression must be in (0, 1], got 0.0"),
        (dict(compression=1.5), "compression must be in (0, 1], got 1.5"),
        (dict(compression=1e-6), "compression=1e-06 leaves no channel"),
        (dict(drop_rate=-0.1), "drop_rate must be in [0, 1), got -0.1"),
        (dict(drop_rate=1.0), "drop_rate must be in [0, 1), got 1.0"),
        (dict(drop_rate=math.nan), "drop_rate must be in [0, 1), got nan"),
        (dict(proj_drop_rate=1.0), "proj_drop_rate must be in [0, 1), got 1.0"),
        (dict(merge="sum", compression=0.5), "compression does not go with merge='sum'"),
        (dict(merge="sum", compression=1.0), "got compression=1.0"),
        (
            dict(merge="sum", stem_channels=13),
            "merge='sum' needs stem_channels equal to the first growth_rate, 12, got 13",
        ),
    ],
    ids=str,
)
def test_an_argument_out_of_range_is_a_value_error_that_names_it_and_the_value(arguments, words):
    with torch.device("meta"), pytest.raises(ValueError, match=re.escape(words)):
        SparseNet(**{"depth": 16, **arguments})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(depth=16.0), "depth must be an integer, got 16.0 (float)"),
        (dict(depth="16"), "depth must be an integer, got '16' (str)"),
        (dict(depth=True), "depth must be an integer, got True (bool)"),
        (dict(growth_rate=(4, 4.5, 4)), "growth_rate must be an integer, got 4.5 (float)"),
        (dict(growth_rate=True), "growth_rate must be an integer, got True (bool)"),
        (dict(base=2.0), "base must be an integer, got 2.0 (float)"),
        (dict(stem_channels=4.0), "stem_channels must be an integer, got 4.0 (float)"),
        (dict(in_chans=3.0), "in_chans must be an integer, got 3.0 (float)"),
        (dict(depth=None, layers=(2, 2.0)), "layers must be an integer, got 2.0 (float)"),
    ],
    ids=str,
)
def test_what_is_not_an_integer_is_a_type_error_that_names_it_and_the_value(arguments, words):
    with torch.device("meta"), pytest.raises(TypeError, match=re.escape(words)):
        SparseNet(**{"depth": 16, **arguments})
