"""A step computed in parts is the step of the whole batch."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.trainer import TINY_NET, register_tiny_net

from sparsenet_models import SparseNet
from sparsenet_models.training import loop
from sparsenet_models.training.config import TrainConfig
from sparsenet_models.training.loop import train
from sparsenet_models.training.state import TrainingState
from sparsenet_models.training.step import TrainingStep

CLASSES = 3


@pytest.fixture(scope="module")
def net() -> SparseNet:
    """A net without batch norm, in double precision."""
    torch.manual_seed(0)
    net = SparseNet(depth=10, growth_rate=4, num_classes=CLASSES, norm_layer="groupnorm")
    return net.train().double()


def one_step(
    net: SparseNet, images: torch.Tensor, labels: torch.Tensor, weighted: bool, **options: Any
) -> tuple[float, torch.Tensor]:
    """Return the loss of a step and its gradient in one vector."""
    config = TrainConfig("m", "d", "o", **options)
    state = TrainingState(deepcopy(net), config)
    torch.manual_seed(1)
    layer = torch.nn.Linear(images[0].numel(), CLASSES).double()

    def teacher(images: torch.Tensor) -> torch.Tensor:
        return layer(images.flatten(1)).float()

    weights = torch.tensor([0.5, 1.0, 3.0]) if weighted else None
    cpu = torch.device("cpu")
    taught: Any = teacher if config.distill else None
    step = TrainingStep(state, lambda _: state.model, taught, weights, config, "float32", 0, cpu)
    loss = step(images, labels, None, 0.1, 0).item()
    return loss, torch.cat([parameter.grad.flatten() for parameter in state.model.parameters()])


@given(
    st.integers(2, 9),
    st.data(),
    st.booleans(),
    st.booleans(),
    st.fixed_dictionaries(
        {
            "distill": st.sampled_from(["", "teacher"]),
            "label_smoothing": st.sampled_from([0.0, 0.1]),
            "clip_grad_norm": st.sampled_from([0.0, 0.01]),
        }
    ),
)
@settings(max_examples=10, deadline=None)
def test_without_batch_norm_the_gradient_of_a_step_in_parts_is_that_of_the_whole_step(
    net, images, data, mixed, weighted, options
):
    """Up to the rounding of the loss, which is computed in float32: 1e-6 of the gradient's norm."""
    accumulate = data.draw(st.integers(2, images))
    generator = torch.Generator().manual_seed(images)
    pixels = torch.randn(images, 3, 8, 8, generator=generator, dtype=torch.float64)
    labels = torch.randint(CLASSES, (images,), generator=generator)
    if mixed:
        labels = torch.randn(images, CLASSES, generator=generator).softmax(1)
    whole, expected = one_step(net, pixels, labels, weighted, **options)
    loss, gradient = one_step(net, pixels, labels, weighted, accumulate=accumulate, **options)
    assert loss == pytest.approx(whole, rel=1e-5)
    assert (gradient - expected).norm() <= 1e-6 * expected.norm()


@pytest.fixture
def options(colour_folder, tmp_path, monkeypatch, own_models) -> dict[str, Any]:
    register_tiny_net()
    monkeypatch.setattr(loop, "write_pictures", lambda *_: None)
    options = dict(model=TINY_NET, data=str(colour_folder), out=str(tmp_path / "run"), epochs=2, size=8)
    return options | dict(batch_size=24, lr=0.05, device="cpu", compile=False, eval_every=0)


def test_a_run_in_parts_of_unequal_size_learns_and_keeps_their_number(options, capsys):
    options |= dict(epochs=6, accumulate=5, mixup=0.3, class_weights="balanced", precision="auto")
    weights = train(TrainConfig(**options))
    told = capsys.readouterr().out
    assert "(a part of a step without torch.compile: float32" in told
    assert float(told.partition("top-1 ")[2].partition("%")[0]) >= 90
    weights.unlink()
    with pytest.raises(ValueError, match=r"accumulate was 5 when the run in .* began, now it is 1"):
        train(TrainConfig(**options | {"accumulate": 1}), resume=True)
    assert train(TrainConfig(**options), resume=True) == weights


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accumulate": 48}, r"accumulate must be in \[1, 24\], got 48"),
        ({"accumulate": 0}, r"accumulate must be in \[1, 24\], got 0"),
        ({"batch_size": 200, "accumulate": 100}, "accumulate must be at most 96, the images of a step"),
    ],
)
def test_a_part_without_enough_images_is_refused_by_the_name_of_the_option(options, changes, message):
    with pytest.raises(ValueError, match=message):
        train(TrainConfig(**options | changes))
