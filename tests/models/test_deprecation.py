"""Old names of models: replaced ones work with a warning, removed ones say so, neither is listed."""

import sys

import pytest
import torch

from sparsenet_models import (
    PretrainedCfg,
    create_model,
    get_pretrained_cfg,
    is_model,
    list_models,
    model_entrypoint,
    register_model,
    register_model_deprecations,
)
from sparsenet_models.models.registry import resolve, tags_with_weights, temporary_registry
from sparsenet_models.pretrained.source import find_model

NEW = "sparsenet_bc_40_k12"


@pytest.fixture(autouse=True)
def _no_old_names_afterwards():
    with temporary_registry():
        yield


def test_an_old_name_builds_the_new_net_and_warns_with_the_new_name():
    register_model_deprecations({"sparsenet_small": NEW})
    with pytest.warns(FutureWarning, match=f"'sparsenet_small' is now called '{NEW}'") as caught:
        model = create_model("sparsenet_small", pretrained=True)
    assert len(caught) == 1
    assert model.pretrained_cfg["architecture"] == NEW
    current = create_model(NEW, pretrained=True).state_dict()
    assert all(torch.equal(tensor, current[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "lookup",
    [create_model, get_pretrained_cfg, model_entrypoint, resolve, tags_with_weights, find_model],
    ids=lambda lookup: lookup.__name__,
)
def test_the_warning_points_to_the_callers_own_line(lookup):
    register_model_deprecations({"sparsenet_small": NEW})
    line = sys._getframe().f_lineno + 2
    with pytest.warns(FutureWarning) as caught:
        lookup("sparsenet_small")
    assert [(warning.filename, warning.lineno) for warning in caught] == [(__file__, line)]


def test_the_warning_of_a_name_in_a_config_json_points_to_the_callers_own_line(tmp_path):
    config = '{"architecture": "sparsenet_small", "num_classes": 10}'
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    register_model_deprecations({"sparsenet_small": NEW})
    with pytest.warns(FutureWarning) as caught:
        model = create_model(f"local-dir:{tmp_path}")
    assert [warning.filename for warning in caught] == [__file__]
    assert model.pretrained_cfg["architecture"] == NEW


def test_an_old_architecture_keeps_the_tag_that_is_given():
    register_model_deprecations({"sparsenet_small": NEW})
    with pytest.warns(FutureWarning):
        assert get_pretrained_cfg("sparsenet_small.cifar100").name == f"{NEW}.cifar100"


def test_an_old_name_may_stand_for_a_tag():
    register_model_deprecations({"sparsenet_hundred": f"{NEW}.cifar100"})
    with pytest.warns(FutureWarning):
        assert get_pretrained_cfg("sparsenet_hundred").name == f"{NEW}.cifar100"


def test_another_tag_than_the_one_that_an_old_name_stands_for_is_refused():
    register_model_deprecations({"sparsenet_hundred": f"{NEW}.cifar100"})
    with pytest.raises(ValueError, match=r"so there is no 'sparsenet_hundred\.cifar10'"):
        create_model("sparsenet_hundred.cifar10", pretrained=True)


def test_an_old_name_has_the_weights_of_the_new_one():
    register_model_deprecations({"sparsenet_small": NEW})
    with pytest.warns(FutureWarning):
        assert tags_with_weights("sparsenet_small") == tags_with_weights(NEW) != []


def test_an_old_tag_of_a_current_net_becomes_the_new_one():
    register_model_deprecations({f"{NEW}.c100": f"{NEW}.cifar100", f"{NEW}.c10": NEW})
    with pytest.warns(FutureWarning):
        assert get_pretrained_cfg(f"{NEW}.c100").name == f"{NEW}.cifar100"
    with pytest.warns(FutureWarning):
        assert get_pretrained_cfg(f"{NEW}.c10").name == f"{NEW}.cifar10"
    assert get_pretrained_cfg(NEW).name == f"{NEW}.cifar10"  # without a warning: those are errors here


def test_a_removed_name_says_so():
    register_model_deprecations({"sparsenet_odd": None})
    assert not is_model("sparsenet_odd")
    for ask in (create_model, model_entrypoint, get_pretrained_cfg):
        with pytest.raises(ValueError, match="'sparsenet_odd' was removed"):
            ask("sparsenet_odd")


def test_old_names_are_models_but_not_listed():
    before = list_models(include_tags=True)
    register_model_deprecations({"sparsenet_small": NEW})
    assert is_model("sparsenet_small")
    assert is_model("sparsenet_small.cifar10")
    assert list_models(include_tags=True) == before


@pytest.mark.parametrize("old", [NEW, f"{NEW}.cifar10"])
def test_a_current_name_cannot_be_an_old_one(old):
    with pytest.raises(ValueError, match=f"'{old}' is a current name"):
        register_model_deprecations({"sparsenet_small": NEW, old: "resnet_20"})
    assert not is_model("sparsenet_small")


@pytest.mark.parametrize("old", ["small", "small.best"])
def test_an_old_name_cannot_become_that_of_another_net(old):
    register_model_deprecations({old: NEW})

    def small(**kwargs: object) -> None: ...

    with pytest.raises(ValueError, match=f"'{old}' is an old name"):
        register_model(pretrained_cfgs={"best": PretrainedCfg()}, override=True)(small)
    with pytest.warns(FutureWarning):
        assert get_pretrained_cfg(old).architecture == NEW


def test_the_new_name_must_be_one():
    with pytest.raises(ValueError, match=f"did you mean '{NEW}'"):
        register_model_deprecations({"sparsenet_small": "sparsenet_bc_40_k13"})
    assert not is_model("sparsenet_small")


def test_an_old_name_of_an_old_name_builds_the_newest_net_with_one_warning():
    register_model_deprecations({"second": NEW})
    register_model_deprecations({"first": "second"})
    register_model_deprecations({"zeroth": "first"})
    with pytest.warns(FutureWarning, match=f"'zeroth' is now called '{NEW}'") as caught:
        assert get_pretrained_cfg("zeroth.cifar100").name == f"{NEW}.cifar100"
    assert len(caught) == 1


def test_a_name_that_became_old_later_ends_the_chain_of_older_ones():
    register_model_deprecations({"second": f"{NEW}.cifar100"})
    register_model_deprecations({"first": "second"})
    with pytest.warns(FutureWarning, match=f"'first' is now called '{NEW}.cifar100'"):
        assert get_pretrained_cfg("first").name == f"{NEW}.cifar100"
    with pytest.raises(ValueError, match=r"so there is no 'second\.cifar10'"):
        get_pretrained_cfg("first.cifar10")
