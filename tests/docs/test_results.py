"""The figures on the cards of the bundled weights, measured again; the table and the page made from them."""

from __future__ import annotations

import json
import runpy
import shlex
from pathlib import Path

import pytest
import torch
from support.repository import REPOSITORY
from torch.utils.flop_counter import FlopCounterMode

from sparsenet_models import (
    cli,
    create_model,
    create_transform,
    get_pretrained_cfg,
    list_pretrained,
    resolve_data_config,
)
from sparsenet_models.data.evaluate import Score
from sparsenet_models.data.pictures import open_image
from sparsenet_models.models.listing import TABLE_COLUMNS
from sparsenet_models.models.registry import WEIGHTS_DIR
from sparsenet_models.training.config import TrainConfig
from sparsenet_models.training.release_card import weight_card

PHOTO = REPOSITORY / "examples" / "photos" / "cat_chelsea.jpg"
GOLDEN = Path(__file__).parent / "golden_logits.json"
RUNS = REPOSITORY / "docs" / "runs"


@pytest.mark.parametrize("name", list_pretrained())
def test_a_cards_parameters_and_multiply_adds_are_the_nets(name):
    cfg = get_pretrained_cfg(name)
    model = create_model(name, device="meta")
    assert cfg.num_params == sum(parameter.numel() for parameter in model.parameters())
    with FlopCounterMode(display=False) as counter:
        model.eval()(torch.empty(1, *cfg.input_size, device="meta"))
    assert cfg.macs == counter.get_total_flops() / 2


@pytest.mark.parametrize("name", list_pretrained())
def test_a_bundled_weight_gives_its_golden_logits_for_the_photograph(name):
    """`python tests/docs/test_results.py` writes the golden logits, for new weights."""
    expected = torch.tensor(json.loads(GOLDEN.read_text())[name])
    assert torch.allclose(logits(name), expected, rtol=1e-3, atol=1e-3)


def logits(name: str) -> torch.Tensor:
    model = create_model(name, pretrained=True).eval()
    image = create_transform(**resolve_data_config(model))(open_image(PHOTO))
    with torch.inference_mode():
        return model(image[None])[0]


@pytest.mark.parametrize("name", list_pretrained())
def test_every_bundled_weight_has_its_evidence_in_the_repository(name):
    card = json.loads((WEIGHTS_DIR / f"{name}.json").read_text(encoding="utf-8"))
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in (RUNS / name).glob("*/result.json")]
    assert card in [{key: run[key] for key in run if key != "top1_with_flips"} for run in runs]
    for result in (RUNS / name).glob("*/result.json"):
        assert {path.name for path in result.parent.iterdir()} == {
            "curves.png", "log.txt", "metrics.csv", "result.json", "run.json"
        }  # fmt: skip


@pytest.mark.parametrize("name", list_pretrained())
def test_the_command_on_a_card_has_the_options_of_the_run(name):
    card = (WEIGHTS_DIR / f"{name}.md").read_text(encoding="utf-8")
    (command,) = (line for line in card.splitlines() if line.startswith("    sparsenet train "))
    options = cli.train.make_context("sparsenet train", shlex.split(command)[2:]).params
    recipe = json.loads(get_pretrained_cfg(name).recipe)
    recipe["resolution"] = ",".join(f"{side}:{epochs}" for side, epochs in recipe["resolution"])
    hashes = [recipe.pop(key) for key in list(recipe) if key.endswith("_sha256")]  # no options, but told
    assert all(f"`{digest}`" in card for digest in hashes)
    expected = {key: value for key, value in recipe.items() if value != ""}
    assert {key: options[key] for key in expected} == expected


def test_the_bundled_weights_stay_within_32_mebibytes():
    assert sum(get_pretrained_cfg(name).file_size or 0 for name in list_pretrained()) <= 32 * 2**20


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {},
            "from random initialisation on all training images. The weights are those of the last epoch;",
        ),
        (
            {"pretrained": True, "init_sha256": "abc", "keep_best": True, "eval_every": 1, "validation": 0.2},
            "from the pretrained weights m, sha256 `abc`, on all training images but 20% of each class. "
            "The weights are those of the epoch that scored best;",
        ),
        (
            {"init_from": "a.safetensors", "init_sha256": "abc", "ema_decay": 0.9},
            "from the weights a.safetensors (40 epochs), sha256 `abc`, on all training images. "
            "The weights are the running mean of the last epoch;",
        ),
    ],
    ids=["random", "pretrained", "a file"],
)
def test_a_card_says_where_the_run_started_and_which_epoch_it_kept(changes, sentence):
    (name, *_) = list_pretrained()
    fields = get_pretrained_cfg(name).to_dict()
    fields["recipe"] = json.dumps(TrainConfig("m", "d", "o", epochs=3).to_dict() | changes)
    score = Score(90.0, 99.0, 0.3, count=100, images_per_second=1.0, confusion=torch.zeros(10, 10))
    before = "40 epochs" if "init_from" in changes else ""
    watched = "held-out images, on which the epoch was chosen" if "validation" in changes else "test images"
    card = weight_card(name, fields, score, 90.0, True, watched, before, processes=1)
    assert f"Trained here {sentence}\n" in card


def test_the_table_has_a_row_for_every_weight_with_the_figures_of_its_card():
    table = list_pretrained(as_table=True)
    assert [row["name"] for row in table] == list_pretrained()
    for row in table:
        assert tuple(row) == TABLE_COLUMNS
        assert None not in row.values()
        assert row["top1"] == get_pretrained_cfg(row["name"]).top1


def test_the_pages_of_results_and_of_weights_and_the_table_are_what_their_command_writes():
    command = runpy.run_path(str(REPOSITORY / "docs" / "results.py"))
    written = (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8")
    assert written == command["page"](command["finished_runs"]())
    assert (REPOSITORY / "docs" / "weights.md").read_text(encoding="utf-8") == command["cards"]()
    assert (WEIGHTS_DIR / "results.csv").read_text(encoding="utf-8") == command["weights_table"]()


def test_runs_of_one_recipe_share_all_options_but_the_seed_and_those_of_the_machine():
    recipe_of = runpy.run_path(str(REPOSITORY / "docs" / "results.py"))["recipe_of"]
    run = TrainConfig("m", "d", "o", epochs=3).to_dict()
    older = {key: value for key, value in run.items() if key not in ("patience", "optimizer")}
    for same in (run | {"seed": 1}, run | {"precision": "float32", "compile": False}, older):
        assert recipe_of(json.dumps(same)) == recipe_of(json.dumps(run))
    for other in (run | {"lr": 0.1}, run | {"init_from": "a.safetensors"}, older | {"optimizer": "muon"}):
        assert recipe_of(json.dumps(other)) != recipe_of(json.dumps(run))


def test_no_record_of_a_run_has_a_path_of_its_machine():
    for path in RUNS.rglob("*.*"):
        if path.suffix in (".txt", ".json", ".csv"):
            text = path.read_text(encoding="utf-8")
            assert "/home/" not in text
            assert "/tmp/" not in text
            assert f"{REPOSITORY.parent}/" not in text


if __name__ == "__main__":
    golden = {name: [round(value, 4) for value in logits(name).tolist()] for name in list_pretrained()}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
