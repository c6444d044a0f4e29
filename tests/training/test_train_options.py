"""The options of a training run: ranges, recipes, resolutions, the learning rate's schedule."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from importlib import import_module

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from sparsenet_models.cli import main
from sparsenet_models.cli.train import configuration
from sparsenet_models.training.config import TrainConfig, parse_resolution
from sparsenet_models.training.recipes import recipe_names, recipe_options, recipe_summaries
from sparsenet_models.training.schedule import learning_rate

MODEL = "sparsenet_bc_40_k12"
NAMED = {"model": MODEL, "data": "d", "out": "o"}


@given(
    st.integers(1, 2000), st.floats(0, 1), st.floats(1e-3, 10), st.sampled_from(["linear", "cosine", "step"])
)
def test_the_rate_rises_to_its_peak_and_falls_from_there(total, warmup, peak, schedule):
    rates = [learning_rate(step, total, peak, warmup, schedule) for step in range(total)]
    rising = round(warmup * total)
    assert all(0 < rate <= peak * (1 + 1e-12) for rate in rates)
    assert rates[:rising] == pytest.approx([peak * (step + 1) / rising for step in range(rising)])
    assert rates[rising:] == sorted(rates[rising:], reverse=True)


@given(st.integers(2, 2000), st.floats(0, 0.5), st.floats(1e-3, 10))
def test_linear_and_cosine_agree_at_their_start_middle_and_end_beyond_the_last_step(total, warmup, peak):
    rising = round(warmup * total)
    for step, left in ((rising, 1.0), ((rising + total) / 2, 0.5), (total, 0.0)):
        for schedule in ("linear", "cosine"):
            rate = learning_rate(step, total, peak, warmup, schedule)
            assert math.isclose(rate, peak * left, rel_tol=1e-9, abs_tol=1e-12)


def test_steps_divide_the_rate_by_ten_at_a_half_and_three_quarters():
    rates = [learning_rate(step, 300, 0.1, 0.0, "step") for step in range(300)]
    assert rates == pytest.approx([0.1] * 150 + [0.01] * 75 + [0.001] * 75)


@given(st.integers(0, 300), st.integers(1, 300))
def test_a_share_of_whole_epochs_is_augmented_to_the_last(augmented, epochs):
    augmented = min(augmented, epochs)
    options = TrainConfig(**NAMED, epochs=epochs, augment_until=augmented / epochs)
    assert sum(options.augments_in(epoch) for epoch in range(1, epochs + 1)) == augmented


def test_a_share_in_hundredths_is_that_many_of_a_hundred_epochs():
    options = [TrainConfig(**NAMED, epochs=100, augment_until=share / 100) for share in range(101)]
    assert [sum(option.augments_in(n) for n in range(1, 101)) for option in options] == list(range(101))


@given(st.lists(st.tuples(st.integers(8, 64), st.integers(1, 50)), min_size=1, max_size=5))
def test_a_resolution_text_tells_the_side_of_every_epoch(parts):
    text = ",".join(f"{side}:{epochs}" for side, epochs in parts)
    sides = [side for side, epochs in parts for _ in range(epochs)]
    options = TrainConfig.from_options({**NAMED, "resolution": parse_resolution(text)})
    assert options.epochs == len(sides)
    assert [options.side_in(epoch) for epoch in range(1, len(sides) + 1)] == sides


@pytest.mark.parametrize("text", ["16", "16:x", "16:1:2", "a,b"])
def test_a_resolution_of_another_form_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"16:18,24:7,32:4") as caught:
        parse_resolution(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("in_chans", 4),
        ("drop_path_rate", 1.0),
        ("epochs", 0),
        ("epochs", 10**400),
        ("batch_size", 0),
        ("lr", -0.1),
        ("lr", math.inf),
        ("lr", float("nan")),
        ("schedule", "cosin"),
        ("warmup", 1.5),
        ("momentum", 1.0),
        ("weight_decay", -1.0),
        ("label_smoothing", 1.0),
        ("cutout", -1),
        ("trivial_augment", 1.5),
        ("cutmix", -0.5),
        ("mixup", 1.5),
        ("optimizer", "adam"),
        ("class_weights", "balance"),
        ("clip_grad_norm", -1.0),
        ("clip_grad_norm", math.inf),
        ("patience", -1),
        ("augment_until", 2.0),
        ("distill_weight", 1.5),
        ("distill_temperature", 0.0),
        ("ema_decay", 1.0),
        ("ema_start", 1.0),
        ("eval_every", -1),
        ("checkpoint_minutes", -1.0),
        ("seed", -1),
        ("loader", "disk"),
        ("workers", -1),
        ("device", "tpu"),
        ("precision", "float16"),
        ("epochs", 2.5),
        ("epochs", "3"),
        ("seed", True),
        ("lr", "0.1"),
        ("keep_best", 1),
        ("init_from", 3),
        ("resolution", "16:3"),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(option, value):
    with pytest.raises(ValueError, match=option) as caught:
        TrainConfig(**NAMED, **{option: value})
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cutmix": 0.75, "mixup": 0.5}, r"at most 1 together, got 0\.75 and 0\.5"),
        ({"patience": 3, "eval_every": 0}, "patience=3 needs scores: eval_every must be at least 1 and at"),
        ({"patience": 3, "eval_every": 50}, "most epochs=40, got 50"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**NAMED, **options)


def test_a_resolution_for_another_number_of_epochs_is_refused():
    with pytest.raises(ValueError, match="resolution adds up to 5 epochs, epochs is 4"):
        TrainConfig(**NAMED, epochs=4, resolution=((16, 5),))


@pytest.mark.parametrize(
    "resolution", [(16, 24), (("16", 24),), [[16, 24, 32]], ((16.5, 2),), ("ab",), "16:24", 5, None]
)
def test_what_is_no_pair_of_whole_numbers_in_a_resolution_is_named(resolution):
    for build in (TrainConfig.from_options, lambda options: TrainConfig(**options)):
        with pytest.raises(ValueError, match=r"resolution must be pairs of a side and its epochs, got "):
            build({**NAMED, "resolution": resolution})


def test_a_resolution_of_lists_becomes_one_of_tuples():
    assert TrainConfig(**NAMED, resolution=[[16, 40]]).resolution == ((16, 40),)


@pytest.mark.parametrize("name", ["weight_decay", "distill_temperature", "checkpoint_minutes"])
def test_infinity_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be .* and finite, got inf"):
        TrainConfig(**NAMED, **{name: math.inf})


def test_numbers_of_numpy_become_those_of_python():
    sides = ((np.int64(16), np.int32(3)),)
    config = TrainConfig(
        **NAMED, batch_size=np.int64(64), seed=np.uint8(3), lr=np.float32(0.5), epochs=3, resolution=sides
    )
    options = json.loads(json.dumps(config.to_dict()))
    assert TrainConfig.from_options(options) == config
    assert (options["batch_size"], options["seed"], options["lr"]) == (64, 3, 0.5)


def test_an_unknown_option_gets_the_nearest_right_one():
    with pytest.raises(
        ValueError, match="unknown training option 'weight_decai'; did you mean 'weight_decay'"
    ):
        TrainConfig.from_options({**NAMED, "weight_decai": 1e-4})


@given(
    st.lists(st.tuples(st.integers(8, 64), st.integers(1, 9)), max_size=4), st.integers(1, 500), st.booleans()
)
def test_options_come_back_from_json(parts, epochs, keep_best):
    epochs = sum(count for _, count in parts) or epochs
    options = TrainConfig(**NAMED, epochs=epochs, resolution=tuple(parts), keep_best=keep_best)
    assert TrainConfig.from_options(json.loads(json.dumps(options.to_dict()))) == options


@given(st.integers(1, 400), st.floats(0, 1))
def test_strong_augmentation_is_on_for_its_share_of_the_epochs(epochs, share):
    options = TrainConfig(**NAMED, epochs=epochs, augment_until=share)
    on = [options.augments_in(epoch) for epoch in range(1, epochs + 1)]
    assert on == sorted(on, reverse=True)
    assert sum(on) == math.floor(round(share * epochs, 6))


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_made_of_options_and_tells_its_result_in_its_header(name):
    options = TrainConfig.from_options({**NAMED, **recipe_options(name)})
    assert options.epochs > 1
    assert recipe_summaries()[name]
    header = import_module(f"sparsenet_models.training.recipes.{name.replace('-', '_')}").__doc__
    assert re.search(r"\d\.?\d*%|[Nn]ot (yet )?run|not been run", header), (
        "a header tells the result, or that there is none"
    )


def test_the_original_recipe_is_the_papers():
    options = TrainConfig.from_options({**NAMED, **recipe_options("original")})
    rates = [learning_rate(epoch, 300, options.lr, options.warmup, options.schedule) for epoch in range(300)]
    assert (options.epochs, options.batch_size, options.weight_decay) == (300, 64, 1e-4)
    assert [rates[epoch] for epoch in (0, 149, 150, 224, 225, 299)] == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    )


def test_an_unknown_recipe_gets_the_nearest():
    result = CliRunner().invoke(main, ["train", MODEL, "--data", "d", "--out", "o", "--recipe", "cifar-tini"])
    assert result.exit_code == 1
    assert "unknown recipe 'cifar-tini'; did you mean 'cifar-tiny'" in result.stderr


def test_the_command_line_has_every_option_with_its_default():
    shown = " ".join(CliRunner().invoke(main, ["train", "--help"], terminal_width=200).stdout.split())
    for field in dataclasses.fields(TrainConfig):
        if field.metadata:
            assert f"--{field.name.replace('_', '-')}" in shown
            if field.default not in ("", ()):
                assert f"[default: {field.default}]" in shown


def test_a_flag_overrides_its_recipe(tmp_path):
    given = ["--recipe", "cifar-tiny", "--lr", "-1"]
    result = CliRunner().invoke(main, ["train", MODEL, "--data", "d", "--out", str(tmp_path), *given])
    assert "lr must be at least 0, got -1.0" in result.stderr
    clash = CliRunner().invoke(
        main, ["train", MODEL, "--data", "d", "--out", "o", "--recipe", "cifar-tiny", "--epochs", "4"]
    )
    assert "resolution adds up to 39 epochs, epochs is 4: change both" in clash.stderr


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.3), ("adamw", 0.001), ("muon", 0.01)])
def test_without_a_rate_each_optimizer_has_its_own(optimizer, rate):
    assert TrainConfig(**NAMED, optimizer=optimizer).lr == rate
    assert TrainConfig(**NAMED, optimizer=optimizer, lr=0.05).lr == 0.05


@pytest.mark.parametrize(
    ("options", "rate"),
    [
        ({"optimizer": "adamw"}, 0.001),
        ({"optimizer": "adamw", "lr": 0.02}, 0.02),
        ({"optimizer": "sgd"}, 0.05),
        ({}, 0.05),
    ],
)
def test_another_optimizer_than_the_recipes_does_not_take_its_rate(options, rate):
    assert configuration("finetune", NAMED | options).lr == rate


def test_another_optimizer_than_the_recipes_does_not_take_its_decay():
    assert configuration("cifar-muon", NAMED).weight_decay == 0.02
    assert configuration("cifar-muon", NAMED | {"optimizer": "sgd"}).weight_decay == 1e-4
