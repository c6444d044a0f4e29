"""``optimize``: the same outputs, state and methods, in less time."""

import copy
import io
import pickle

import pytest
import torch
from support.foreign_nets import lived_in
from support.nets import build, families, images
from torch import nn
from torch.nn.utils import prune

from sparsenet_models import SparseNet, create_model, optimize
from sparsenet_models.layers.blocks import PreActivationLayer
from sparsenet_models.models.feature_net import FeatureNet
from sparsenet_models.optimization import chains
from sparsenet_models.optimization.compiling import CompiledWherePays, time_step
from sparsenet_models.optimization.inference import FoldedModule, FoldedStage, folded


class NormAndActivation(nn.BatchNorm2d):
    """As timm's BatchNormAct2d."""

    def forward(self, x):
        return super().forward(x).relu()


class HalvedConvolution(nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, self.weight / 2, self.bias)


class HalvedWithin(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight / 2, bias)


class LeakyReLU(nn.ReLU):
    def forward(self, x):
        return torch.where(x > 0, x, x / 4)


def with_convolutions(kind: type[nn.Conv2d] = nn.Conv2d, **attributes) -> nn.Module:
    """Return a net all of whose convolutions are of a kind and have these attributes."""
    net = build("sparsenet")
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.__class__ = kind
            module.__dict__.update(attributes)
    return net


def with_circular_padding() -> nn.Module:
    net = build("sparsenet")
    for stage in net.stages:
        for layer in stage.layers:
            layer.conv2 = nn.Conv2d(16, 4, 3, padding=1, padding_mode="circular", bias=False)
    return net


def with_a_new_forward_pass() -> nn.Module:
    net = build("sparsenet")
    conv = net.stages[0].layers[0].conv2
    conv.forward = lambda x: 2 * nn.Conv2d.forward(conv, x)
    return net


OTHER_NETS = {
    "other norm": lambda: build("sparsenet", norm_layer="groupnorm"),
    "other activation": lambda: build("resnet", act_layer="silu"),
    "frozen norm": lambda: build("densenet", norm_layer="frozenbatchnorm2d"),
    "statistics of the batch": lambda: build(
        "sparsenet", norm_layer=lambda channels: nn.BatchNorm2d(channels, track_running_stats=False)
    ),
    "no scale": lambda: build(
        "sparsenet", norm_layer=lambda channels: nn.BatchNorm2d(channels, affine=False)
    ),
    "plain layers": lambda: SparseNet(depth=13, growth_rate=4),
    "own rule": lambda: SparseNet(depth=16, growth_rate=4, bottleneck=True, aggregation=lambda n: (n - 1,)),
    "dilated": lambda: build("sparsenet_imagenet", output_stride=8),
    "norms that activate": lambda: build("resnet", norm_layer=NormAndActivation, act_layer=nn.Identity),
    "activations of a subclass": lambda: build("densenet", act_layer=LeakyReLU),
    "convolutions of a subclass": lambda: with_convolutions(HalvedConvolution),
    "convolutions of another subclass": lambda: with_convolutions(HalvedWithin),
    "a convolution with a new forward pass": with_a_new_forward_pass,
    "circular padding": with_circular_padding,
    "padding by name": lambda: with_convolutions(padding="same"),
    "no classes": lambda: build("fractalnet", num_classes=0, global_pool="catavgmax"),
}


def net_and_optimized(family: str) -> tuple[nn.Module, nn.Module]:
    net = lived_in(build(family)).eval()
    return net, optimize(copy.deepcopy(net))


def runs_folded(net: nn.Module) -> bool:
    return any(
        isinstance(forward, (FoldedStage, FoldedModule))
        for module in net.modules()
        for forward in module.__dict__.values()
    )


def assert_close(answer: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    assert answer.shape == expected.shape
    assert answer.dtype == expected.dtype
    assert (answer - expected).abs().max() <= tolerance * expected.abs().max()


@families
@pytest.mark.parametrize(("size", "count"), [((32, 32), 1), ((40, 32), 3), ((64, 96), 2)])
def test_logits_are_the_same(family, size, count):
    net, optimized = net_and_optimized(family)
    with torch.inference_mode():
        batch = images(size, count=count)
        assert_close(optimized(batch), net(batch))


@pytest.mark.parametrize("kind", OTHER_NETS)
def test_logits_of_nets_with_other_parts_are_the_same(kind):
    net = OTHER_NETS[kind]()
    with torch.no_grad():
        net(5 * images())  # statistics unlike those of a new net
        expected = net.eval()(images())
        assert_close(optimize(net)(images()), expected)


@families
def test_feature_maps_are_the_same_by_every_method(family):
    net, optimized = net_and_optimized(family)
    batch = images()
    with torch.inference_mode():
        last, maps = optimized.forward_intermediates(batch)
        expected_last, expected_maps = net.forward_intermediates(batch)
        assert_close(last, expected_last)
        for answer, expected in zip(maps, expected_maps, strict=True):
            assert_close(answer, expected)
        assert_close(optimized.forward_features(batch), expected_last)
        assert_close(optimized.trunk()(batch), expected_last)
        for answer, expected in zip(optimize(FeatureNet(copy.deepcopy(net)))(batch), expected_maps):
            assert_close(answer, expected)


@families
def test_the_layers_compute_in_another_dtype_and_the_parameters_stay(family):
    net = lived_in(build(family)).eval()
    before = copy.deepcopy(net.state_dict())
    with torch.inference_mode():
        expected = net(images())
        answer = optimize(net, dtype=torch.bfloat16)(images())
        assert_close(answer, expected, tolerance=0.1)
        assert not torch.equal(answer, expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@families
def test_the_net_itself_is_returned_with_its_state_and_modules(family):
    net = lived_in(build(family)).eval()
    before, names = copy.deepcopy(net.state_dict()), [name for name, _ in net.named_modules()]
    assert optimize(net) is net
    with torch.inference_mode():
        net(images())
    assert [name for name, _ in net.named_modules()] == names
    assert list(net.state_dict()) == list(before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def change_in_place(net: nn.Module) -> None:
    net.stages[0].layers[0].conv1.weight.mul_(2)


def change_statistics(net: nn.Module) -> None:
    net.train()(images())
    net.eval()


def load_other_weights(net: nn.Module) -> None:
    net.load_state_dict(lived_in(build("sparsenet"), seed=5).state_dict())


def assign_other_weights(net: nn.Module) -> None:
    net.load_state_dict(lived_in(build("sparsenet"), seed=5).state_dict(), assign=True)


def replace_a_module(net: nn.Module) -> None:
    other = nn.Conv2d(16, 4, kernel_size=3, padding=1, bias=True)
    torch.manual_seed(3)
    nn.init.normal_(other.weight)
    net.stages[0].layers[0].conv2 = other


def change_dtype(net: nn.Module) -> None:
    net.double().float()
    net.stem.conv.weight.data = -net.stem.conv.weight.data


@pytest.mark.parametrize(
    "change",
    [
        change_in_place,
        change_statistics,
        load_other_weights,
        assign_other_weights,
        replace_a_module,
        change_dtype,
    ],
)
def test_changed_weights_are_folded_anew(change):
    net, optimized = net_and_optimized("sparsenet")
    with torch.no_grad():
        before = optimized(images())
        for each in (net, optimized):
            torch.manual_seed(0)
            change(each)
        assert_close(optimized(images()), net(images()))
        assert (optimized(images()) - before).abs().max() > 1e-3


@families
def test_an_optimized_net_moves_to_another_dtype(family):
    net, optimized = net_and_optimized(family)
    with torch.no_grad():
        optimized(images())
        batch = images().double()
        assert_close(optimized.double()(batch), net.double()(batch))


def gradients(net: nn.Module, batch: torch.Tensor) -> list[torch.Tensor]:
    net(batch).square().sum().backward()
    return [batch.grad, *(parameter.grad for parameter in net.parameters())]


@families
def test_in_train_mode_gradients_and_statistics_are_those_of_the_net(family):
    net, optimized = net_and_optimized(family)
    answers = gradients(optimized.train(), images().requires_grad_())
    for answer, expected in zip(answers, gradients(net.train(), images().requires_grad_()), strict=True):
        assert torch.equal(answer, expected)
    for answer, expected in zip(optimized.buffers(), net.buffers(), strict=True):
        assert torch.equal(answer, expected)


@families
def test_gradients_in_eval_mode_are_right_and_a_warning_says_that_they_are_slow(family):
    net, optimized = net_and_optimized(family)
    with pytest.warns(UserWarning, match=r"inside torch\.inference_mode\(\)"):
        answers = gradients(optimized, images().requires_grad_())
    for answer, expected in zip(answers, gradients(net, images().requires_grad_()), strict=True):
        assert torch.equal(answer, expected)


def test_without_parameters_that_need_gradients_nothing_warns():
    net = lived_in(build("sparsenet")).eval()
    with torch.no_grad():
        expected = net(images())
    assert_close(optimize(net.requires_grad_(False))(images()), expected)


@families
def test_copies_and_pickles_are_optimized_and_independent(family):
    optimized = optimize(lived_in(build(family)).eval())
    with torch.no_grad():
        expected = optimized(images())
        file = io.BytesIO()
        torch.save(optimized, file)
        file.seek(0)
        copies = copy.deepcopy(optimized), pickle.loads(pickle.dumps(optimized))
        for other in (*copies, torch.load(file, weights_only=False)):
            assert runs_folded(other)
            assert torch.equal(other(images()), expected)
            for parameter in other.parameters():
                parameter.zero_()
            assert other(images()).abs().max() == 0
        assert torch.equal(optimized(images()), expected)


def test_a_net_made_in_inference_mode_is_optimized_too():
    with torch.inference_mode():
        net = lived_in(build("sparsenet")).eval()
        expected = net(images())
        assert_close(optimize(net)(images()), expected)


def test_inside_autocast_the_net_runs_as_before():
    net, optimized = net_and_optimized("sparsenet")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(optimized(images()), net(images()))


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_tracers_record_the_net_as_it_was():
    net, optimized = net_and_optimized("sparsenet")
    with torch.no_grad():
        for trace in (torch.fx.symbolic_trace, lambda net: torch.jit.trace(net, images())):
            assert torch.equal(trace(optimized)(images()), net(images()))


@pytest.mark.slow
def test_inside_compilers_the_net_runs_as_before():
    net, optimized = net_and_optimized("sparsenet")
    with torch.no_grad():
        compiled = torch.compile(optimized, backend="eager", fullgraph=True)
        assert torch.equal(compiled(images()), net(images()))


def test_a_pruned_weight_and_a_new_bias_are_folded_anew():
    net, optimized = net_and_optimized("sparsenet")
    with torch.no_grad():
        before = optimized(images())
        for changed in (net, optimized):
            changed.stem.conv.bias = nn.Parameter(torch.ones(changed.stem.conv.out_channels))
        with_bias = net(images())
        assert (with_bias - before).abs().max() > 1e-3
        assert_close(optimized(images()), with_bias)
        for changed in (net, optimized):
            prune.l1_unstructured(changed.stem.conv, "weight", 0.5)
        assert_close(optimized(images()), net(images()))
        for changed in (net, optimized):
            changed.stem.conv.weight_orig.mul_(2)  # the masked weight is made anew in the next pass
        assert_close(optimized(images()), net(images()))


def test_a_layer_with_a_forward_pass_of_its_own_keeps_it():
    class Halved(PreActivationLayer):
        def forward(self, x):
            return super().forward(x) / 2

    net = lived_in(build("sparsenet")).eval()
    for stage in net.stages:
        stage.layers[0].__class__ = Halved
    with torch.no_grad():
        expected = net(images())
        assert_close(optimize(net)(images()), expected)
    assert runs_folded(net)


def test_a_layer_whose_forward_pass_was_replaced_keeps_it():
    net = lived_in(build("sparsenet")).eval()
    transition, layer = net.transitions[0], net.stages[0].layers[1]
    for module in (transition, layer):
        module.forward = lambda x, module=module: 2 * type(module).forward(module, x)
    with torch.no_grad():
        expected = net(images())
        with folded(net):
            assert runs_folded(net)
            assert_close(net(images()), expected)
        assert torch.equal(net(images()), expected)
    with pytest.raises(
        ValueError, match=r"dtype=torch.bfloat16 does not go with a .* computes in its own way"
    ):
        optimize(net, dtype=torch.bfloat16)


def test_a_net_in_double_precision_keeps_its_digits():
    net = lived_in(build("sparsenet")).double().eval()
    optimized = optimize(copy.deepcopy(net))
    with torch.no_grad():
        assert_close(optimized(images().double()), net(images().double()), tolerance=1e-12)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_derivatives_in_forward_mode_are_those_of_the_net():
    net, optimized = net_and_optimized("sparsenet")
    batch = images(count=64)
    for each in (net, optimized):
        each.requires_grad_(False)
    _, expected = torch.func.jvp(net, (batch,), (torch.ones_like(batch),))
    _, slope = torch.func.jvp(optimized, (batch,), (torch.ones_like(batch),))
    assert_close(slope, expected)


def test_the_norms_are_folded_within_a_block_alone():
    net = lived_in(build("sparsenet")).eval()
    with torch.no_grad():
        expected = net(images())
        with folded(net):
            assert runs_folded(net)
            assert_close(net(images()), expected)
        assert not runs_folded(net)
        assert torch.equal(net(images()), expected)


def test_a_net_that_is_folded_already_stays_so_after_the_block():
    net = optimize(build("sparsenet").eval())
    with folded(net):
        assert runs_folded(net)
    assert runs_folded(net)


@families
def test_large_batches_are_computed_in_parts_with_the_same_logits(family, monkeypatch):
    net, optimized = net_and_optimized(family)
    monkeypatch.setattr(chains, "NUMBERS_AT_ONCE", 2 * 8 * 32 * 32)
    with torch.inference_mode():
        batch = images((32, 32), count=7)
        assert_close(optimized(batch), net(batch))


@pytest.mark.parametrize(
    ("kind", "in_parts"), [("statistics of the batch", False), ("other activation", True)]
)
def test_a_large_batch_stays_whole_only_where_a_norm_uses_its_statistics(kind, in_parts, monkeypatch):
    net = OTHER_NETS[kind]().eval()
    monkeypatch.setattr(chains, "NUMBERS_AT_ONCE", 2 * 8 * 32 * 32)
    counts = set()
    net.stages[0].layers[0].norm1.register_forward_hook(
        lambda module, inputs, output: counts.add(len(output))
    )
    with torch.inference_mode():
        batch = images((32, 32), count=7)
        expected = net(batch)
        assert_close(optimize(net)(batch), expected)
    assert (min(counts) < 7) == in_parts


def test_an_optimized_net_has_shapes_on_the_meta_device():
    net = optimize(build("sparsenet").eval()).to("meta")
    assert net(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 10)


def test_an_empty_batch_has_no_logits():
    with torch.inference_mode():
        assert optimize(build("resnet").eval())(torch.zeros(0, 3, 32, 32)).shape == (0, 10)


def test_in_train_mode_weights_are_in_channels_last_layout_and_steps_are_the_same():
    net = build("sparsenet")
    optimized = optimize(copy.deepcopy(net), compile=False)
    assert optimized.stem.conv.weight.is_contiguous(memory_format=torch.channels_last)
    answers = gradients(optimized, images().requires_grad_())
    for answer, expected in zip(answers, gradients(net, images().requires_grad_()), strict=True):
        assert torch.allclose(answer, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


@pytest.mark.slow
def test_in_train_mode_a_step_is_timed_both_ways_and_is_that_of_the_net():
    net = build("sparsenet")
    optimized = optimize(copy.deepcopy(net))
    assert list(optimized.state_dict()) == list(net.state_dict())
    answers = gradients(optimized, images().requires_grad_())
    for answer, expected in zip(answers, gradients(net, images().requires_grad_()), strict=True):
        assert torch.allclose(answer, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())
    for buffer, expected in zip(optimized.buffers(), net.buffers(), strict=True):
        assert torch.allclose(buffer.float(), expected.float(), rtol=1e-4, atol=1e-6)
    ((shape, *_),) = optimized._compiled_call_impl.is_faster
    assert shape == images().shape


def test_timing_a_step_leaves_net_gradients_and_random_numbers_as_they_are():
    net = create_model("sparsenet_bc_40_k12", proj_drop_rate=0.2)
    net(images(count=2)).sum().backward()
    before = copy.deepcopy(net.state_dict())
    gradients = [parameter.grad.clone() for parameter in net.parameters()]
    drawn = torch.get_rng_state()
    assert time_step(net, images(count=2)) > 0
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    for parameter, gradient in zip(net.parameters(), gradients, strict=True):
        assert torch.equal(parameter.grad, gradient)


def test_timing_a_step_spares_a_backward_pass_that_is_still_to_come():
    net = build("sparsenet")
    logits = net(images())
    time_step(net, images((16, 16)))
    logits.sum().backward()


def test_timing_a_step_runs_no_optimizer_in_the_backward_pass():
    net = build("sparsenet")
    weight = net.stem.conv.weight
    before = weight.detach().clone()
    weight.register_post_accumulate_grad_hook(lambda parameter: parameter.data.add_(1))
    time_step(net, images())
    assert torch.equal(weight, before)


class OfDict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = build("sparsenet")

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.net(batch["image"])


def test_what_cannot_be_compiled_and_timed_runs_as_it_is():
    net = optimize(build("sparsenet"))
    assert net(x=images()).shape == (len(images()), 10)
    with torch.no_grad():
        net(images())
    torch.export.export(net, (images(),), strict=False)
    net.eval()(images())
    net.train().requires_grad_(False)(images().requires_grad_())
    assert net._compiled_call_impl.is_faster == {}
    assert optimize(OfDict())({"image": images()}).shape == (len(images()), 10)


@pytest.mark.slow
def test_in_train_mode_every_shape_is_compiled():
    from torch._dynamo.testing import CompileCounter

    optimized, counter = optimize(build("sparsenet")), CompileCounter()
    optimized.compile(backend=counter, dynamic=False)  # inductor takes 20 s a shape
    for count in range(2, 14):
        optimized(images((16, 16), count=count))
    assert counter.frame_count == 12


def test_without_a_compiler_a_warning_says_that_nothing_is_compiled(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.warns(UserWarning, match="no C\\+\\+ compiler found: the net trains without"):
        optimize(build("sparsenet"))


@pytest.mark.parametrize(
    ("dtype", "error", "message"),
    [
        ("bfloat16", TypeError, "dtype must be a torch.dtype such as torch.bfloat16, got 'bfloat16'"),
        (torch.int8, ValueError, "dtype must be one of .*, got torch.int8"),
    ],
)
def test_a_wrong_dtype_is_refused(dtype, error, message):
    with pytest.raises(error, match=message):
        optimize(build("sparsenet").eval(), dtype=dtype)


def test_a_dtype_for_a_net_whose_activations_have_weights_is_refused():
    net = build("sparsenet", act_layer=nn.PReLU).eval()
    with pytest.raises(ValueError, match=r"PReLU layers of the net, such as 'stages\.0\.layers\.0\.act1',"):
        optimize(net, dtype=torch.bfloat16)
    assert not runs_folded(net)


def test_a_dtype_for_a_net_with_layers_that_cannot_be_folded_is_refused():
    pruned, own = build("sparsenet").eval(), build("sparsenet").eval()
    prune.l1_unstructured(pruned.stages[0].layers[0].conv1, "weight", 0.5)
    own.stages[1].layers[0].__class__ = type("Own", (PreActivationLayer,), {"forward": lambda self, x: x})
    for net, reason in (
        (pruned, "a PreActivationLayer .* has hooks"),
        (own, "a Own .* computes in its own way"),
        (with_convolutions(HalvedConvolution).eval(), "the HalvedConvolution layers"),
    ):
        with pytest.raises(ValueError, match=rf"dtype=torch.bfloat16 does not go with {reason}"):
            optimize(net, dtype=torch.bfloat16)
        assert not runs_folded(net)


def test_a_dtype_for_training_is_refused():
    with pytest.raises(ValueError, match=r"in train mode call the net inside torch\.autocast"):
        optimize(build("sparsenet"), dtype=torch.bfloat16)


def test_a_refused_call_leaves_the_net_optimized():
    net = optimize(build("sparsenet").eval())
    with pytest.raises(ValueError, match="in train mode"):
        optimize(net.train(), dtype=torch.bfloat16)
    assert runs_folded(net)


def test_another_call_in_train_mode_replaces_the_one_before():
    net = build("sparsenet")
    net._compiled_call_impl = CompiledWherePays(net, 1)
    assert optimize(net, compile=False)._compiled_call_impl is None


def test_a_net_of_another_library_is_refused():
    with pytest.raises(ValueError, match=r"optimize takes a net of this library, .* got a Sequential"):
        optimize(nn.Sequential(nn.Conv2d(3, 4, 1)).eval())


def test_a_pretrained_net_answers_the_same_from_a_wrapper():
    net = create_model("sparsenet_bc_40_k12", pretrained=True).eval()
    wrapper = optimize(nn.Sequential(copy.deepcopy(net), nn.Softmax(dim=1)).eval())
    with torch.inference_mode():
        assert_close(wrapper(images()), net(images()).softmax(dim=1))
