"""One training step: its loss and its update are the formulas, written out here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.foreign_nets import lived_in
from torch import Tensor, nn

from sparsenet_models import PretrainedCfg, SparseNet, register_model
from sparsenet_models.models.registry import temporary_registry
from sparsenet_models.pretrained.weight_file import save_weights
from sparsenet_models.training.config import TrainConfig
from sparsenet_models.training.distill import Teacher
from sparsenet_models.training.state import TrainingState
from sparsenet_models.training.step import TrainingStep

CPU = torch.device("cpu")
OPTIONS = TrainConfig("m", "d", "o")
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


def step_of(
    net: nn.Module, config: TrainConfig, teacher: Any = None, class_weights: Tensor | None = None
) -> TrainingStep:
    state = TrainingState(net, config)
    return TrainingStep(state, lambda _: state.model, teacher, class_weights, config, "float32", 0, CPU)


def nesterov(config: TrainConfig) -> Callable[..., Tensor]:
    velocities: dict[str, Tensor] = {}

    def updated(name: str, weight: Tensor, gradient: Tensor, rate: float, decay: float, _: int) -> Tensor:
        gradient = gradient + decay * weight
        velocities[name] = gradient + config.momentum * velocities.get(name, torch.zeros_like(gradient))
        return weight - rate * (gradient + config.momentum * velocities[name])

    return updated


def adamw(config: TrainConfig) -> Callable[..., Tensor]:
    means: dict[str, Tensor] = {}
    squares: dict[str, Tensor] = {}

    def updated(name: str, weight: Tensor, gradient: Tensor, rate: float, decay: float, step: int) -> Tensor:
        zero = torch.zeros_like(gradient)
        means[name] = config.momentum * means.get(name, zero) + (1 - config.momentum) * gradient
        squares[name] = 0.999 * squares.get(name, zero) + 0.001 * gradient**2
        mean = means[name] / (1 - config.momentum**step)
        square = squares[name] / (1 - 0.999**step)
        return weight * (1 - rate * decay) - rate * mean / (square.sqrt() + 1e-8)

    return updated


@pytest.mark.parametrize(("optimizer", "formula"), [("sgd", nesterov), ("adamw", adamw)])
@given(
    momentum=st.floats(0.1, 0.99),
    weight_decay=st.floats(0, 0.1),
    layer_decay=st.floats(0.3, 1),
    rate=st.floats(1e-3, 1),
)
@settings(max_examples=10, deadline=None)
def test_an_optimizer_updates_each_part_by_its_formula_rate_and_decay(
    optimizer, formula, momentum, weight_decay, layer_decay, rate
):
    torch.manual_seed(0)
    net = SparseNet(depth=7, growth_rate=2).double()
    config = dataclasses.replace(
        OPTIONS,
        optimizer=optimizer,
        momentum=momentum,
        weight_decay=weight_decay,
        layer_decay=layer_decay,
    )
    state, updated = TrainingState(net, config), formula(config)
    expected = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    parts = [part for part in net.parts() if list(net.get_submodule(part).parameters())]
    for step in (1, 2, 3):
        state.set_learning_rate(rate)
        for name, parameter in net.named_parameters():
            parameter.grad = torch.randn_like(parameter)
            part = next(part for part in parts if name.startswith(f"{part}."))
            scale = layer_decay ** (len(parts) - 1 - parts.index(part))
            decay = weight_decay if parameter.ndim > 1 else 0.0
            expected[name] = updated(name, expected[name], parameter.grad, rate * scale, decay, step)
        state.optimizer.step()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], rtol=1e-9, atol=1e-12, msg=name)


def pixels_and_net(classes: int) -> tuple[Tensor, nn.Module]:
    torch.manual_seed(classes)
    return torch.randn(5, 3, 4, 4), nn.Sequential(nn.Flatten(), nn.Linear(48, classes))


@given(
    classes=st.integers(2, 6),
    smoothing=st.floats(0, 0.5),
    weighted=st.booleans(),
    mixed=st.booleans(),
    share=st.none() | st.floats(0, 1),
    temperature=st.floats(0.5, 8),
)
@settings(max_examples=50, deadline=None)
def test_the_loss_of_a_step_is_its_formula(classes, smoothing, weighted, mixed, share, temperature):
    images, net = pixels_and_net(classes)
    labels = torch.randint(classes, (5,))
    targets = nn.functional.one_hot(labels, classes).float()
    if mixed:
        labels = targets = torch.randn(5, classes).softmax(1)
    weights = torch.rand(classes) if weighted else None
    taught = torch.randn(5, classes)
    config = dataclasses.replace(
        OPTIONS,
        label_smoothing=smoothing,
        distill_weight=0.5 if share is None else share,
        distill_temperature=temperature,
    )
    teacher = None if share is None else lambda _: taught
    log_p = net(images).log_softmax(1).detach()
    targets = targets * (1 - smoothing) + smoothing / classes
    expected = -((1 if weights is None else weights) * targets * log_p).sum(1).mean()
    if share is not None:
        soft = (taught / temperature).softmax(1)
        student = (net(images) / temperature).log_softmax(1).detach()
        divergence = (soft * (soft.log() - student)).sum(1).mean()
        expected = (1 - share) * expected + share * temperature**2 * divergence
    loss = step_of(net, config, teacher, weights)(images, labels, None, 0.1, 0)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


def test_the_teacher_sees_the_images_in_their_own_size_and_the_net_in_the_size_of_the_epoch():
    sides = []

    class Sizes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

        def forward(self, images: Tensor) -> Tensor:
            sides.append(images.shape[-1])
            return images.mean((1, 2, 3))[:, None] * self.weight

    teacher = Sizes()
    step_of(Sizes(), OPTIONS, teacher)(torch.randn(2, 3, 16, 16), torch.tensor([0, 1]), 8, 0.1, 0)
    assert sides == [8, 16]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparseNet]:
    """A net of its own classes and normalisation, whose weights the name ``own_teacher.taught`` has."""

    def own_teacher(**kwargs) -> SparseNet:
        return SparseNet(depth=10, growth_rate=4, bottleneck=True, **kwargs)

    torch.manual_seed(0)
    net = lived_in(own_teacher(num_classes=3)).eval()
    file = tmp_path_factory.mktemp("taught") / "taught.safetensors"
    save_weights(net, file, {})
    size = dict(input_size=(3, 32, 32), crop_pct=1.0, mean=MEAN, std=STD)
    cfg = PretrainedCfg(file=str(file), num_classes=3, label_names=("c", "a", "b"), **size)
    with temporary_registry():
        register_model(pretrained_cfgs={"taught": cfg})(own_teacher)
        yield net


three_numbers = st.tuples(*[st.floats(0.1, 0.9)] * 3)


@given(mean=three_numbers, std=three_numbers)
@settings(max_examples=10, deadline=None)
def test_a_teacher_answers_for_the_pixels_in_its_own_normalisation_and_the_students_classes(
    taught, mean, std
):
    teacher = Teacher("own_teacher.taught", ("a", "b", "c"), mean, std, CPU)
    pixels = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    def normalised(mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
        return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)

    with torch.no_grad():
        expected = taught(normalised(MEAN, STD))[:, [1, 2, 0]]
    answer = teacher(normalised(mean, std))
    assert (answer - expected).abs().max() <= 1e-4 * expected.abs().max()
