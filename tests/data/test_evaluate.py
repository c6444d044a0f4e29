"""The score of a net: accuracies, loss and confusions against their definitions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sparsenet_models.data.evaluate import evaluate
from sparsenet_models.data.image_set import ImageSet


class Table(nn.Module):
    """Answers with the row of a table that the first pixel of an image names."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[(images[:, 0, 0, 0] * 255).round().long()]


@given(
    count=st.integers(1, 40),
    classes=st.integers(2, 12),
    batch_size=st.integers(1, 50),
    seed=st.integers(0, 99),
)
@settings(max_examples=50, deadline=None)
def test_a_score_is_what_its_fields_say(count, classes, batch_size, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, 2, 2)
    image_set = ImageSet(images, labels, tuple(map(str, range(classes))), "table")
    score = evaluate(Table(logits), image_set, mean=(0.0,) * 3, std=(1.0,) * 3, batch_size=batch_size)
    own = logits.gather(1, labels[:, None])
    larger = (logits > own).sum(1)
    assert score.count == count
    assert score.top1 == pytest.approx(100 * (larger == 0).double().mean().item())
    assert score.top5 == pytest.approx(100 * (larger < 5).double().mean().item())
    assert score.loss == pytest.approx((logits.exp().sum(1).log() - own[:, 0]).mean().item(), abs=1e-5)
    answers = logits.argmax(1).tolist()
    pairs = list(zip(labels.tolist(), answers))
    assert score.confusion is not None
    assert score.confusion.tolist() == [[pairs.count((a, b)) for b in range(classes)] for a in range(classes)]


def test_labels_beyond_the_nets_classes_are_refused_with_both_numbers_of_classes():
    labels = torch.tensor([0, 1, 50])
    image_set = ImageSet(
        torch.zeros(3, 3, 2, 2, dtype=torch.uint8), labels, tuple(map(str, range(100))), "hundred"
    )
    seen: list[int] = []
    with pytest.raises(ValueError, match=r"^hundred has 100 classes, Table has 10: score it with a net of"):
        evaluate(
            Table(torch.zeros(1, 10)),
            image_set,
            mean=(0.0,) * 3,
            std=(1.0,) * 3,
            batch_size=1,
            on_batch=seen.append,
        )
    assert seen == []


def test_afterwards_each_module_has_the_mode_that_it_had():
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net[0].eval()
    image_set = ImageSet(
        torch.zeros(4, 3, 2, 2, dtype=torch.uint8), torch.zeros(4).long(), ("a", "b", "c"), "set"
    )
    evaluate(net, image_set, mean=(0.0,) * 3, std=(1.0,) * 3)
    assert [module.training for module in net.modules()] == [True, False, True, True, True]
