"""FractalNet: sizes, the joins, local and global drop-path, the columns as plain nets.

The reference follows the paper's recursion f_(C+1) = join(f_C after f_C, convolution), written out here.
"""

from __future__ import annotations

import copy
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from sparsenet_models import FractalNet, create_model
from sparsenet_models.models.fractalnet import ConvolutionLayer, FractalBlock


def build(columns: int = 3, **arguments) -> FractalNet:
    torch.manual_seed(0)
    return FractalNet(columns, **{"widths": (4, 6, 6), **arguments})


def images(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def run_layers(net: nn.Module, x: Tensor) -> list[str]:
    """Return the names of the convolution layers that one forward pass runs."""
    run: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: run.append(name))
        for name, module in net.named_modules()
        if isinstance(module, ConvolutionLayer)
    ]
    net(x)
    for handle in handles:
        handle.remove()
    return run


@pytest.mark.parametrize(("columns", "classes", "count"), [(3, 10, 33_724_618), (3, 100, 33_770_788)])
def test_fractalnet_c3_has_exactly_the_parameters_of_the_design(columns, classes, count):
    net = create_model(f"fractalnet_c{columns}", device="meta", num_classes=classes)
    assert sum(parameter.numel() for parameter in net.parameters()) == count


@pytest.mark.parametrize("columns", [2, 3, 4])
def test_the_parameters_are_those_of_c_entering_and_the_other_convolutions(columns):
    net = create_model(f"fractalnet_c{columns}.cifar100", device="meta")
    expected, before = 512 * 100 + 100, 3
    for width in (64, 128, 256, 512, 512):
        others = 2**columns - 1 - columns
        expected += 9 * before * width * columns + 9 * width * width * others + 2 * width * (others + columns)
        before = width
    assert sum(parameter.numel() for parameter in net.parameters()) == expected


@given(st.integers(1, 6))
@settings(deadline=None, max_examples=6)
def test_column_i_has_2_to_the_i_convolutions_in_every_block(columns):
    with torch.device("meta"):
        net = FractalNet(columns, widths=(2, 3))
    for block in net.blocks:
        assert [len(column) for column in block.columns] == [2**i for i in range(columns)]
        assert sum(map(len, block.columns)) == 2**columns - 1


def reference(block: FractalBlock, x: Tensor, columns: list[int], start: int, length: int) -> list[Tensor]:
    """Return what reaches the join at the end of f_C over rows start ... start + length, by recursion."""
    widest = len(block.columns[-1])
    shallow = columns[0]
    shallowest = block.columns[shallow][start * len(block.columns[shallow]) // widest](x)
    if len(columns) == 1:
        return [shallowest]
    half = length // 2
    first = torch.stack(reference(block, x, columns[1:], start, half)).mean(0)
    return [shallowest, *reference(block, first, columns[1:], start + half, half)]


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
def test_a_block_is_the_papers_recursion_with_its_meeting_joins_as_one_mean(columns):
    torch.manual_seed(0)
    block = FractalBlock(3, 5, columns, 0.0).double().eval()
    x = images(2, 3, 6, 7, dtype=torch.float64)
    arrived = reference(block, x, list(range(columns)), 0, 2 ** (columns - 1))
    assert len(arrived) == columns
    torch.testing.assert_close(block(x), torch.stack(arrived).mean(0))


def test_the_net_is_its_blocks_each_with_a_pool_and_then_the_head():
    net = build().eval()
    x = images(2, 3, 16, 24)
    y = x
    for block in net.blocks:
        y = F.max_pool2d(block(y), 2)
    assert torch.equal(net.forward_features(x), y)
    assert y.shape == (2, 6, 2, 3)
    assert torch.equal(net(x), F.linear(y.mean((2, 3)), net.head.fc.weight, net.head.fc.bias))
    full = create_model("fractalnet_c2").eval()
    assert full.forward_features(images(1, 3, 32, 64)).shape == (1, 512, 1, 2)


@pytest.mark.parametrize(
    "arguments",
    [dict(), dict(drop_path_rate=0.5), dict(global_drop_path=1.0)],
    ids=["off", "local", "global"],
)
def test_forward_and_backward_run_with_drop_path_on_and_off(arguments):
    net = build(**arguments)
    for _ in range(4):
        net.zero_grad()
        F.cross_entropy(net(images(4, 3, 16, 16)), torch.tensor([3, 7, 1, 0])).backward()
        gradients = [parameter.grad for parameter in net.parameters()]
        computed = [gradient for gradient in gradients if gradient is not None]
        assert all(gradient.isfinite().all() for gradient in computed)
        assert sum(bool(gradient.any()) for gradient in computed) > 4
        if not arguments:
            assert len(computed) == len(gradients)


def test_in_eval_mode_drop_path_changes_nothing():
    plain = build().eval()
    dropping = build(drop_path_rate=0.9, global_drop_path=1.0).eval()
    x = images(2, 3, 16, 16)
    assert torch.equal(plain(x), dropping(x))
    assert torch.equal(dropping(x), dropping(x))


@settings(deadline=None, max_examples=20)
@given(columns=st.integers(2, 4), rate=st.floats(0.0, 0.99), seed=st.integers(0, 2**31))
def test_local_drop_path_leaves_at_least_one_input_of_every_join(columns, rate, seed):
    block = FractalBlock(3, 3, columns, rate)
    torch.manual_seed(seed)
    for size in range(1, columns + 1):
        ending = list(range(columns - size, columns))
        kept = block._kept(ending)
        assert kept
        assert [column for column in ending if column in kept] == kept


@pytest.mark.parametrize("rate", [0.15, 0.6])
def test_local_drop_path_drops_its_share_of_the_inputs(rate):
    block = FractalBlock(3, 3, 2, rate)
    torch.manual_seed(0)
    kept = Counter(tuple(block._kept([0, 1])) for _ in range(4000))
    both, one = (1 - rate) ** 2, (1 - (1 - rate) ** 2) / 2
    assert abs(kept[(0, 1)] / 4000 - both) < 0.04
    assert abs(kept[(0,)] / 4000 - one) < 0.04
    assert abs(kept[(1,)] / 4000 - one) < 0.04


def test_local_drop_path_averages_over_what_is_left():
    block = FractalBlock(3, 3, 2, 0.9).double()
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    x = images(2, 3, 6, 6, dtype=torch.float64)
    shallow = block.columns[0][0](x)
    deep = block.columns[1][1](block.columns[1][0](x))
    torch.manual_seed(0)
    seen = [block(x) for _ in range(60)]
    for expected in (shallow, deep, (shallow + deep) / 2):
        assert any(torch.allclose(output, expected) for output in seen)


def test_global_drop_path_runs_one_column_the_same_in_all_blocks():
    net = build(global_drop_path=1.0)
    torch.manual_seed(0)
    columns = set()
    for _ in range(30):
        run = run_layers(net, images(2, 3, 16, 16))
        columns_run = {name.split(".")[3] for name in run}
        assert len(columns_run) == 1
        column = int(columns_run.pop())
        assert len(run) == len(set(run)) == 3 * 2**column
        columns.add(column)
    assert columns == {0, 1, 2}


def test_global_drop_path_takes_its_share_of_the_batches():
    net = build(2, widths=(2,), global_drop_path=0.5)
    torch.manual_seed(0)
    whole = sum(len(run_layers(net, images(2, 3, 2, 2))) == 3 for _ in range(400))
    assert 150 < whole < 250


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_column_is_a_plain_net_of_the_same_weights(index):
    net = build().eval()
    plain = net.column(index)
    x = images(2, 3, 16, 16)
    assert not plain.training
    y = x
    for block in net.blocks:
        for layer in block.columns[index]:
            y = F.relu(layer.norm(layer.conv(y)))
        y = F.max_pool2d(y, 2)
    assert torch.equal(plain(x), net.head(y))
    assert sum(isinstance(module, nn.Conv2d) for module in plain.modules()) == 3 * 2**index
    shared = {id(parameter) for parameter in net.parameters()}
    assert all(id(parameter) in shared for parameter in plain.parameters())


def test_a_column_of_a_net_in_eval_mode_drops_nothing_out():
    column = build(drop_rate=0.5).eval().column(1)
    x = images(2, 3, 16, 16)
    assert torch.equal(column(x), column(x))
    assert build(drop_rate=0.5).column(1).head.drop.training


def test_taking_a_column_leaves_the_modes_of_frozen_layers_alone():
    net = build()
    net.blocks[0].columns[2][0].norm.eval()
    column = net.column(2)
    assert column.training
    assert not net.blocks[0].columns[2][0].norm.training
    copied = copy.deepcopy(column)
    copied.reset_classifier(4)
    assert copied(images(2, 3, 16, 16)).shape == (2, 4)
    assert net(images(2, 3, 16, 16)).shape == (2, 10)


def test_a_column_checkpoints_as_its_net_does_with_the_same_gradients_and_statistics():
    x = images(2, 3, 16, 16)
    plain, saving = build(), build()
    saving.set_grad_checkpointing()
    for net in (plain, saving):
        net.column(2)(x).square().sum().backward()
    assert all(block.grad_checkpointing for block in saving.column(2).blocks)
    assert not any(block.grad_checkpointing for block in plain.column(2).blocks)
    for (name, a), b in zip(plain.named_parameters(), saving.parameters()):
        assert (a.grad is None) == (b.grad is None), name
        assert a.grad is None or torch.equal(a.grad, b.grad), name
    for (name, a), b in zip(plain.named_buffers(), saving.buffers()):
        assert torch.equal(a, b), name


def test_checkpointing_saves_memory_under_global_drop_path_too():
    def kept(checkpointing: bool) -> int:
        net = build(global_drop_path=1.0)
        net.set_grad_checkpointing(checkpointing)
        sizes: list[int] = []
        torch.manual_seed(0)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            net(images(2, 3, 16, 16))
        return sum(sizes)

    assert kept(True) < 0.5 * kept(False)


def test_a_column_keeps_the_image_configuration_but_neither_name_nor_metrics():
    net = create_model("fractalnet_c2.cifar100", pretrained_cfg_overlay={"top1": 70.0})
    column = net.column(1)
    cfg = column.pretrained_cfg
    assert isinstance(column.get_submodule(cfg["first_conv"]), nn.Conv2d)
    assert column.get_submodule(cfg["classifier"]) is column.get_classifier()
    assert (cfg["mean"], cfg["num_classes"]) == (net.pretrained_cfg["mean"], 100)
    assert not {"architecture", "tag", "top1", "sha256", "num_params"} & cfg.keys()


def test_a_fractalnet_has_timms_methods():
    net = create_model("fractalnet_c2", num_classes=0, in_chans=1, widths=(4, 8))
    assert net(images(2, 1, 8, 8)).shape == (2, 8)
    assert net.feature_info[1] == {"num_chs": 8, "reduction": 2, "module": "blocks.1"}
    net.reset_classifier(3)
    assert net(images(2, 1, 8, 8)).shape == (2, 3)
    assert net.pretrained_cfg["min_input_size"] == (1, 32, 32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(columns=0), "columns must be at least 1, got 0"),
        (dict(columns=2, widths=()), "widths must be a sequence of at least one number, got ()"),
        (dict(columns=2, drop_path_rate=1.0), "drop_path_rate must be in [0, 1), got 1.0"),
        (dict(columns=2, global_drop_path=1.5), "global_drop_path must be in [0, 1], got 1.5"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_named_with_its_value(arguments, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        FractalNet(**arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize("index", [-1, 3])
def test_a_missing_column_is_refused(index):
    with pytest.raises(ValueError, match=f"index must be at .*, got {index}"):
        build().column(index)


def test_weights_for_three_channels_are_adapted_in_every_column_that_reads_the_image(tmp_path):
    net = create_model("fractalnet_c2", num_classes=0)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    grey = create_model(
        "fractalnet_c2", num_classes=0, in_chans=1, checkpoint_path=tmp_path / "net.safetensors"
    )
    images = torch.randn(2, 1, 32, 32)
    assert torch.allclose(grey.eval()(images), net.eval()(images.expand(-1, 3, -1, -1)), atol=1e-5)


def test_changing_the_head_of_a_column_leaves_the_whole_nets_alone():
    net = build(num_classes=10)
    column = net.column(1)
    assert column.get_classifier() is net.get_classifier()
    column.reset_classifier(3)
    assert column(images(2, 3, 32, 32)).shape == (2, 3)
    assert (net.num_classes, net(images(2, 3, 32, 32)).shape) == (10, (2, 10))


@pytest.mark.parametrize(
    ("arguments", "skips"),
    [
        ({}, False),
        (dict(drop_path_rate=0.15), True),
        (dict(global_drop_path=0.5), True),
        (dict(drop_rate=0.5), False),
    ],
    ids=str,
)
def test_a_fractalnet_skips_layers_in_training_where_it_has_drop_path(arguments, skips):
    net = build(**arguments)
    assert net.skips_layers == skips
    assert not net.column(1).skips_layers
