import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.muon import needs_muon
from torch import Tensor, nn

from sparsenet_models import create_model
from sparsenet_models.models.param_groups import param_groups_layer_decay
from sparsenet_models.training import loop
from sparsenet_models.training.config import TrainConfig
from sparsenet_models.training.loop import train
from sparsenet_models.training.muon import MuonAdamW

RATE, DECAY, MOMENTUM = 0.01, 0.1, 0.8


def optimizer_of(net: nn.Module, decay: float = DECAY, layer_decay: float = 1.0) -> MuonAdamW:
    optimizer = MuonAdamW(param_groups_layer_decay(net, decay, layer_decay), RATE, MOMENTUM)
    for group in optimizer.param_groups:
        group["lr"] = RATE * group["lr_scale"]
    return optimizer


def give_gradients(net: nn.Module, seed: int) -> None:
    """Give every parameter a gradient, the same numbers for nets of the same shapes."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def changes(net: nn.Module, layer_decay: float = 1.0) -> dict[str, Tensor]:
    """Return what one step without weight decay changes."""
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    optimizer = optimizer_of(net, 0.0, layer_decay)
    give_gradients(net, 1)
    optimizer.step()
    return {name: parameter.detach() - before[name] for name, parameter in net.named_parameters()}


@needs_muon
@settings(deadline=None)  # the first optimizer of a process imports torch's compiler
@given(st.integers(1, 24), st.integers(1, 24), st.sampled_from([1, 3]), st.booleans())
def test_the_update_of_a_kernel_is_near_an_orthogonal_matrix_of_the_size_of_adamws(width, inputs, side, last):
    net = nn.Sequential(nn.Conv2d(inputs, width, side))
    if last:
        net = net.to(memory_format=torch.channels_last)
    update = changes(net)["0.weight"].flatten(1)
    singular = torch.linalg.svdvals(update) / (RATE * 0.2 * max(update.shape) ** 0.5)
    # Five steps of Newton-Schulz bring most singular values to about 0.7 to 1.2; tiny ones stay below.
    assert singular.max() < 1.3
    assert (singular > 0.6).float().mean() >= 0.5


@needs_muon
@settings(deadline=None)  # the first optimizer of a process imports torch's compiler
@given(st.integers(2, 16), st.integers(1, 16))
def test_the_memory_format_of_a_net_does_not_change_the_update(width, inputs):
    first = nn.Sequential(nn.Conv2d(inputs, width, 3))
    second = nn.Sequential(nn.Conv2d(inputs, width, 3)).to(memory_format=torch.channels_last)
    assert torch.allclose(changes(first)["0.weight"], changes(second)["0.weight"], atol=1e-4)


@needs_muon
def test_steps_are_those_of_torchs_muon_for_kernels_and_of_its_adamw_for_the_rest():
    net = create_model("sparsenet_bc_40_k12")
    twin = {name: nn.Parameter(tensor.detach().clone()) for name, tensor in net.named_parameters()}
    flat = {
        name: nn.Parameter(tensor.detach().flatten(1)) for name, tensor in twin.items() if tensor.ndim == 4
    }
    matrices = [tensor for name, tensor in twin.items() if tensor.ndim == 2]
    vectors = [tensor for name, tensor in twin.items() if tensor.ndim == 1]
    rest = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    muon = torch.optim.Muon(flat.values(), RATE, DECAY, MOMENTUM, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(rest, RATE, betas=(MOMENTUM, 0.999), weight_decay=DECAY)
    optimizer = optimizer_of(net)
    for step in range(3):
        give_gradients(net, step)
        for name, parameter in net.named_parameters():
            (flat.get(name, twin[name])).grad = parameter.grad.reshape(flat.get(name, twin[name]).shape)
        for one in (optimizer, muon, adamw):
            one.step()
    for name, parameter in net.named_parameters():
        expected = flat.get(name, twin[name])
        assert torch.allclose(parameter.reshape(expected.shape), expected, atol=1e-6), name


@needs_muon
def test_earlier_parts_move_by_less_where_layers_decay_kernels_and_norms_alike():
    moved = changes(create_model("sparsenet_bc_40_k12"), layer_decay=0.5)
    assert all(update.abs().max() > 0 for update in moved.values())
    for weight in ("norm1.weight", "conv2.weight"):
        size = [moved[f"stages.{stage}.layers.0.{weight}"].square().mean().sqrt() for stage in range(3)]
        assert size[0] < 0.7 * size[1]
        assert size[1] < 0.7 * size[2]


@needs_muon
def test_parameters_without_a_gradient_stay_as_they_are():
    net = create_model("sparsenet_bc_40_k12")
    optimizer = optimizer_of(net)
    give_gradients(net, 1)
    optimizer.step()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    optimizer.zero_grad()
    optimizer.step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@needs_muon
@pytest.mark.parametrize("set_to_none", [True, False])
def test_gradients_of_all_parameters_are_cleared(set_to_none):
    net = create_model("sparsenet_bc_40_k12")
    optimizer = optimizer_of(net)
    give_gradients(net, 1)
    optimizer.step()
    optimizer.zero_grad(set_to_none)
    gradients = [parameter.grad for parameter in net.parameters()]
    gradients += [matrix.grad for matrix in optimizer.matrices.values()]
    assert all(gradient is None if set_to_none else not gradient.any() for gradient in gradients)


def test_an_older_torch_is_named_before_the_images_are_read(monkeypatch, tmp_path):
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    monkeypatch.setattr(loop, "open_inputs", lambda config: pytest.fail("the images were read"))
    config = TrainConfig("sparsenet_bc_40_k12", str(tmp_path), str(tmp_path / "run"), optimizer="muon")
    with pytest.raises(
        ValueError, match=r"optimizer='muon' needs torch 2\.9 or newer, this is .*: use adamw"
    ):
        train(config)
    assert not (tmp_path / "run").exists()


def test_a_net_without_convolutions_is_refused():
    with pytest.raises(ValueError, match="needs a net with convolutions to train: use adamw or sgd"):
        optimizer_of(nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)))


def test_a_kernel_of_scattered_memory_is_refused():
    net = nn.Sequential(nn.Conv2d(4, 4, 3))
    net[0].weight = nn.Parameter(net[0].weight.detach().transpose(0, 1))
    with pytest.raises(ValueError, match="cannot view a kernel with strides"):
        optimizer_of(net)
