"""Prediction from Python: when an argument is refused, and which nets are taken."""

from __future__ import annotations

import pytest
from support.repository import REPOSITORY
from torch import nn
from torch.optim.swa_utils import AveragedModel

from sparsenet_models import create_model
from sparsenet_models.data.predict import predict

PHOTO = str(REPOSITORY / "examples" / "photos" / "cat_chelsea.jpg")


@pytest.fixture
def net() -> nn.Module:
    return create_model("resnet_20.cifar10", pretrained=True)


@pytest.mark.parametrize(
    ("images", "top_k", "error", "message"),
    [
        (PHOTO, 5, TypeError, "images must be a list of paths, got "),
        ([PHOTO], 0, ValueError, "top_k must be at least 1, got 0"),
        ([PHOTO], 1.5, TypeError, "top_k must be an integer, got 1.5"),
    ],
)
def test_an_argument_is_refused_by_the_call_itself(net, images, top_k, error, message):
    with pytest.raises(error) as caught:
        predict(net, images, top_k)
    assert str(caught.value).startswith(message)


def test_a_net_without_names_for_its_classes_is_refused_by_the_call_itself(net):
    net.reset_classifier(3)
    with pytest.raises(ValueError, match=r"^ResNet has no names for its 3 classes$"):
        predict(net, [PHOTO])


@pytest.mark.parametrize("classes", [3, 20])
def test_no_name_is_given_to_the_classes_of_another_head(net, classes):
    net.head.fc = nn.Sequential(nn.Linear(net.head.hidden_size, classes))
    with pytest.raises(ValueError, match=f"^ResNet has no names for its {classes} classes$"):
        next(predict(net, [PHOTO]))


def test_more_classes_than_the_net_has_mean_all(net):
    (answer,) = predict(net, [PHOTO], top_k=99)
    assert sorted(label for label, _ in answer.labels) == sorted(net.pretrained_cfg["label_names"])
    assert sum(probability for _, probability in answer.labels) == pytest.approx(1)


@pytest.mark.parametrize("wrapper", [nn.DataParallel, AveragedModel])
def test_a_net_in_a_wrapper_of_torch_predicts_what_it_predicts_itself(net, wrapper):
    assert list(predict(wrapper(net), [PHOTO])) == list(predict(net, [PHOTO]))
