import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.trainer import needs_muon
from torch import Tensor, nn

from sparsenet_models import create_model
from sparsenet_models.models.param_groups import param_groups_layer_decay
from sparsenet_models.training.config import TrainConfig
from sparsenet_models.training.muon import MuonAdamW
from sparsenet_models.training.state import TrainingState


def changes(net: nn.Module, layer_decay: float = 1.0) -> dict[str, Tensor]:
    """What one step without weight decay changes, from gradients of the same numbers for the same net."""
    optimizer = MuonAdamW(param_groups_layer_decay(net, 0.0, layer_decay), lr=0.01, momentum=0.9)
    for group in optimizer.param_groups:
        group["lr"] = 0.01 * group["lr_scale"]
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    torch.manual_seed(1)
    for parameter in net.parameters():
        parameter.grad = torch.randn(parameter.shape)
    optimizer.step()
    return {name: parameter.detach() - before[name] for name, parameter in net.named_parameters()}


@needs_muon
@settings(deadline=None)  # the first step loads torch's linear algebra
@given(st.integers(1, 24), st.integers(1, 24), st.sampled_from([1, 3]), st.booleans())
def test_the_update_of_a_kernel_is_near_an_orthogonal_matrix_of_the_size_of_adamws(width, inputs, side, last):
    net = nn.Sequential(nn.Conv2d(inputs, width, side))
    if last:
        net = net.to(memory_format=torch.channels_last)
    update = changes(net)["0.weight"].flatten(1)
    scale = 0.01 * 0.2 * max(update.shape) ** 0.5
    singular = torch.linalg.svdvals(update) / scale
    # Five steps of Newton-Schulz bring large singular values to about 0.7 to 1.2 and leave tiny ones behind.
    assert singular.max() < 1.3
    assert singular.max() > 0.6


@needs_muon
@given(st.integers(2, 16), st.integers(1, 16))
def test_the_memory_format_of_a_net_does_not_change_the_update(width, inputs):
    first = nn.Sequential(nn.Conv2d(inputs, width, 3))
    second = nn.Sequential(nn.Conv2d(inputs, width, 3)).to(memory_format=torch.channels_last)
    assert torch.allclose(changes(first)["0.weight"], changes(second)["0.weight"], atol=2e-4)


@needs_muon
def test_all_but_kernels_take_the_step_of_adamw():
    net = create_model("sparsenet_bc_40_k12")
    moved = changes(net)
    rest = [update for name, update in moved.items() if net.get_parameter(name).ndim != 4]
    assert len(rest) > 50
    for update in rest:  # AdamW's first step is the rate in the direction of the sign
        assert torch.allclose(update.abs(), torch.full_like(update, 0.01), rtol=1e-3)


@needs_muon
def test_every_parameter_moves_and_earlier_parts_by_less_where_layers_decay():
    net = create_model("sparsenet_bc_40_k12")
    moved = changes(net, layer_decay=0.5)
    assert all(update.abs().max() > 0 for update in moved.values())
    per_part = [moved[f"stages.{stage}.layers.0.norm1.weight"].abs().mean() for stage in range(3)]
    assert per_part[0] < per_part[1] < per_part[2]


@needs_muon
def test_parameters_without_a_gradient_stay_as_they_are():
    net = create_model("sparsenet_bc_40_k12")
    optimizer = MuonAdamW(param_groups_layer_decay(net, 0.1, 1.0), lr=0.01, momentum=0.9)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    optimizer.zero_grad(set_to_none=True)
    optimizer.step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@needs_muon
def test_clearing_gradients_clears_those_of_kernels_too():
    net = create_model("sparsenet_bc_40_k12")
    optimizer = MuonAdamW(param_groups_layer_decay(net, 0.1, 1.0), lr=0.01, momentum=0.9)
    net(torch.randn(2, 3, 32, 32)).sum().backward()
    optimizer.zero_grad(set_to_none=True)
    assert all(parameter.grad is None for parameter in net.parameters())


def config(**options: object) -> TrainConfig:
    return TrainConfig(model="sparsenet_bc_40_k12", data="", out="", optimizer="muon", **options)  # type: ignore[arg-type]


def test_an_older_torch_is_named(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ValueError, match=r"optimizer='muon' needs torch 2\.9 or later, this is "):
        TrainingState(create_model("sparsenet_bc_40_k12"), config())


@needs_muon
def test_a_net_without_convolutions_is_refused():
    with pytest.raises(ValueError, match="needs a net with convolutions"):
        TrainingState(nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)), config())
