"""`analyze` and `plot` on the command line: the tables agree, and each picture shows what the numbers say."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.repository import REPOSITORY
from torch import nn

from sparsenet_models import (
    DenseNet,
    PretrainedCfg,
    ResNet,
    SparseNet,
    StageGraph,
    create_model,
    get_pretrained_cfg,
    list_pretrained,
    register_model,
)
from sparsenet_models.analysis import (
    PUBLISHED,
    analyze_model,
    analyze_rule,
    plot_confusion,
    plot_curves,
    plot_pattern,
    plot_weights,
)
from sparsenet_models.analysis.accuracy import AccuracyPoint, accuracy_points, family_of, short_name
from sparsenet_models.analysis.benchmark_files import family_by_name
from sparsenet_models.analysis.growth import GROWTH_DEPTHS
from sparsenet_models.analysis.link_weights import weight_maps
from sparsenet_models.analysis.metrics import UNKNOWN_SCORING, Scoring, read_scoring
from sparsenet_models.analysis.plot.drawing import FAMILY_STYLES
from sparsenet_models.analysis.plot.pattern import numbered_outputs
from sparsenet_models.cli import main
from sparsenet_models.models.registry import temporary_registry
from sparsenet_models.pretrained.weight_file import save_weights

METRICS = REPOSITORY / "docs" / "runs" / "sparsenet_bc_40_k12.cifar10" / "seed0" / "metrics.csv"
KEYS = (
    *("name", "depth", "links", "links_unrolled", "fan_in_mean", "fan_in_max"),
    *("shortest_path", "path_mean", "path_max", "parameters", "macs"),
)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def ink(path: Path) -> float:
    """Return the share of pixels of a picture that are not white; the picture must be of some size."""
    with Image.open(path) as opened:
        picture = np.asarray(opened.convert("L"))
    assert min(picture.shape) > 300
    return float((picture < 250).mean())


# analyze


def test_analyze_json_is_a_list_with_the_keys_of_the_issue():
    rows = json.loads(
        run("analyze", "sparse", "resnet", "resnet_20", "--depths", "16,128,1024", "--json").stdout
    )
    assert [(row["name"], row["depth"]) for row in rows] == [
        *(("sparse", depth) for depth in (16, 128, 1024)),
        *(("resnet", depth) for depth in (16, 128, 1024)),
        ("resnet_20", 20),
    ]
    for row in rows:
        assert set(KEYS) <= row.keys()
        assert (row["parameters"] is None) == (row["macs"] is None) == (row["name"] != "resnet_20")
    assert [row["path_max"] for row in rows[:3]] == [4, 7, 10]
    assert [round(row["path_mean"], 2) for row in rows[:3]] == [2.06, 3.51, 5.0]
    assert [row["links"] for row in rows[3:6]] == [16, 128, 1024]
    assert rows[-1]["parameters"] == 272_282


def test_analyze_csv_and_table_have_the_figures_of_json():
    arguments = ("analyze", "dense", "sparse", "fractalnet_c2", "--depths", "7,30")
    rows = json.loads(run(*arguments, "--json").stdout)
    read = list(csv.DictReader(io.StringIO(run(*arguments, "--csv").stdout)))
    assert [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows] == read
    head, *lines = run(*arguments).stdout.splitlines()
    assert len(lines) == len(rows) == 5
    assert "links unrolled" in head
    for row, line in zip(rows, lines):
        cells = line.split()
        assert cells[:2] == [row["name"], f"{row['depth']:,}"]
        assert cells[3] == f"{row['links']:,}"
        assert cells[-1] == ("-" if row["live"] is None else f"{row['live']:,}")


def test_analyze_growth_prints_exponents_and_residuals():
    rows = json.loads(run("analyze", "--growth", "--json").stdout)
    by_key = {(row["family"], row["quantity"]): row for row in rows}
    assert by_key["SparseNet", "links"]["law"] == "N log N"
    assert by_key["DenseNet", "parameters"]["exponent"] == pytest.approx(2, abs=0.02)
    assert all(row["residual"] < 0.012 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("analyze",), "give rules or models to analyse, or --growth alone"),
        (("analyze", "sparse", "--growth"), "give rules or models to analyse, or --growth alone"),
        (("analyze", "spares"), "unknown rule or model 'spares'; did you mean 'sparse'"),
        (("analyze", "sparse", "--depths", "16,,3"), "depths must be integers from 1"),
        (("analyze", "sparse", "--depths", "0"), "got '0' in '0'"),
        (("analyze", "sparse", "--depths", f"{10**18 + 1}"), "depths must be integers from 1 to 10**18"),
        (("analyze", "sparse", "--depths", "9" * 5000), "depths must be integers from 1 to 10**18"),
        (("analyze", "--growth", "--depths", "16"), "leave out --depths 16"),
        (("analyze", "sparse", "--csv", "--json"), "give one of --csv and --json, not both"),
        (
            ("plot", "pattern", "spars"),
            "RULE must be one of ('sparse', 'dense', 'resnet'), got 'spars'; did you mean 'sparse'?",
        ),
        (
            ("plot", "pattern", "sparse", "--depth", "129"),
            "a pattern can be drawn of at most 128 layers, got 129 for 'sparse'",
        ),
        (("plot", "weights", "resnet_32"), "'resnet_32.cifar10' has no pretrained weights"),
        (("plot", "curves", "missing.csv"), "missing.csv"),
        (("plot", "pattern", "sparse", "--out", "a.xyz"), "xyz"),
        (
            ("plot", "pattern", "sparse", "--out", "missing/a.png"),
            "there is no folder 'missing' to write 'a.png' into",
        ),
    ],
)
def test_bad_input_on_the_command_line_is_one_line_and_exit_code_1(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""
    assert not list(tmp_path.iterdir())


def test_analysing_a_rule_imports_no_torch(tmp_path):
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "sparsenet_models", "analyze", "sparse"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "click" in imported
    assert not imported & {"torch", "numpy", "matplotlib"}


# Pictures


@pytest.mark.parametrize(
    "kind", ["pattern", "growth", pytest.param("accuracy", marks=pytest.mark.slow), "curves", "weights"]
)
def test_every_picture_is_drawn_on_the_command_line(tmp_path, kind):
    target = tmp_path / f"{kind}.png"
    arguments = {
        "pattern": ("sparse", "dense", "--depth", 12, "--base", 3),
        "curves": (METRICS,),
        "weights": ("sparsenet_bc_40_k12.cifar10",),
    }.get(kind, ())
    result = run("plot", kind, *arguments, "--out", target)
    assert result.exit_code == 0, result.output
    assert 0.01 < ink(target) < 0.9


def test_a_pattern_of_ones_own_has_the_ink_of_its_links(tmp_path):
    chain, dense = tmp_path / "chain.png", tmp_path / "dense.png"
    plot_pattern({"chain": StageGraph(20, lambda layer: (layer - 1,))}, chain)
    plot_pattern({"dense": StageGraph(20, "dense")}, dense)
    assert ink(dense) > 2 * ink(chain)


@pytest.mark.parametrize("depth", [1, 2, 25, 70])
def test_a_pattern_of_any_depth_is_drawn(tmp_path, depth):
    plot_pattern({rule: StageGraph(depth, rule) for rule in ("sparse", "dense")}, f"{tmp_path}/pattern.svg")
    assert b"<svg" in (tmp_path / "pattern.svg").read_bytes()


@given(st.integers(1, 128), st.sampled_from(["sparse", "dense"]), st.integers(2, 5))
def test_the_numbers_under_a_pattern_have_its_ends_and_keep_their_distance(depth, rule, base):
    labels = numbered_outputs(StageGraph(depth, rule, base))
    assert {0, depth} <= set(labels)
    assert labels == sorted(labels)
    if len(labels) > 3:
        assert min(b - a for a, b in pairwise(labels)) >= depth * (len(str(depth)) + 1) / 50


@pytest.mark.parametrize("draw", [plot_pattern, plot_weights])
def test_a_picture_of_nothing_is_refused(tmp_path, draw):
    with pytest.raises(ValueError, match=r"must have at least one, got \{\}"):
        draw({}, tmp_path / "nothing.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("top1", [["", "", ""], ["", "", "81.5"], ["50", "60.25", "70"]])
def test_curves_are_drawn_with_top1_measured_always_at_the_end_or_never(tmp_path, top1):
    metrics = tmp_path / "metrics.csv"
    lines = [f"{n},{2 / n},{0.1 / n},3.5,100.0,{value}" for n, value in enumerate(top1, start=1)]
    metrics.write_text("\n".join(["epoch,loss,lr,seconds,images_per_second,top1", *lines, ""]))
    plot_curves(metrics, tmp_path / "curves.png")
    plot_curves(METRICS, tmp_path / "without.png")  # that run measured at its end alone, apart
    heights = []
    for name in ("curves.png", "without.png"):
        with Image.open(tmp_path / name) as picture:
            heights.append(picture.height)
    assert (heights[0] > heights[1]) == any(top1)


def texts(draw: Callable[[Path], None], folder: Path) -> str:
    """Return the words of a picture."""
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        draw(folder / "picture.svg")
    return html.unescape(re.sub(r"<[^>]*>", "", (folder / "picture.svg").read_text()))


def test_curves_say_what_was_scored_and_which_epoch_was_kept(tmp_path):
    rows = [f"{epoch},1.0,0.1,{top1}" for epoch, top1 in enumerate((80, 90, 85), start=1)]
    (tmp_path / "metrics.csv").write_text("\n".join(["epoch,loss,lr,top1", *rows, ""]))

    def told(scoring: Scoring) -> str:
        return texts(lambda path: plot_curves(tmp_path / "metrics.csv", path, scoring), tmp_path)

    assert "top-1 error on held-out images, %: 10 after epoch 2, which was kept" in told(
        Scoring("held-out images", 2)
    )
    assert "top-1 error on test images, %: 15 after epoch 3" in told(Scoring("test images"))
    assert "top-1 error, %: 15 after epoch 3" in told(UNKNOWN_SCORING)


def test_the_scoring_of_a_run_is_read_from_beside_its_metrics(tmp_path):
    path = tmp_path / "run.json"
    assert read_scoring(path) == UNKNOWN_SCORING
    for text, scoring in (
        ('{"model": "m"}', UNKNOWN_SCORING),
        ("no JSON", UNKNOWN_SCORING),
        ('{"scored_on": "test images", "kept_epoch": null}', Scoring("test images")),
        ('{"scored_on": "test images", "kept_epoch": [1]}', UNKNOWN_SCORING),
        ("[" * 100_000, UNKNOWN_SCORING),
        ('{"scored_on": "held-out images", "kept_epoch": 3}', Scoring("held-out images", 3)),
    ):
        path.write_text(text)
        assert read_scoring(path) == scoring


def test_a_picture_of_confusions_counts_images_by_class_and_in_all(tmp_path):
    counts = torch.tensor([[1200, 34], [5, 60]])
    told = texts(lambda path: plot_confusion(counts, ("cat", "$dog$"), path, "test images"), tmp_path)
    for words in ("1,299 test images:", "1,260 right (97.00%)", "cat (1,234)", "$dog$ (65)", "1,200", "34"):
        assert words in told


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"epoch,loss,lr,top1\n",
        b"a,b\n1,2\n",
        b"epoch,loss,lr,top1\n1,x,0.1,\n",
        b"epoch,loss,lr,top1\n1\n",
    ],
)
def test_curves_of_what_is_no_metrics_file_are_refused_by_name(tmp_path, content):
    metrics, target = tmp_path / "metrics.csv", tmp_path / "curves.png"
    metrics.write_bytes(content)
    with pytest.raises(ValueError, match=r"metrics\.csv must be a run's metrics\.csv with the columns epoch"):
        plot_curves(metrics, target)
    assert not target.exists()


def test_without_matplotlib_a_picture_fails_and_says_what_to_install(tmp_path):
    broken = tmp_path / "broken" / "matplotlib"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('no matplotlib here')\n")
    result = subprocess.run(
        [sys.executable, "-m", "sparsenet_models", "plot", "growth"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{broken.parent}{os.pathsep}{REPOSITORY}"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr.splitlines() == ["Error: pictures need matplotlib: pip install matplotlib"]
    assert not (tmp_path / "growth.png").exists()


# What the pictures show


@pytest.fixture(scope="module")
def points() -> list[AccuracyPoint]:
    return accuracy_points()


def test_a_picture_that_cannot_be_written_leaves_the_old_one(tmp_path):
    """A real limit on the size of files, in a process of its own."""
    code = """
import resource, sys
from sparsenet_models.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
sys.argv = ["sparsenet", "plot", "pattern", "sparse", "--out", "a.png"]
main()
"""
    CliRunner().invoke(main, ["plot", "pattern", "dense", "--out", str(tmp_path / "a.png")])
    before = (tmp_path / "a.png").read_bytes()
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert (tmp_path / "a.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_two_weights_of_one_net_are_both_drawn(tmp_path):
    for name in ("one", "other"):
        net = create_model("sparsenet_bc_40_k12.cifar10")
        save_weights(net, tmp_path / f"{name}.safetensors", {"architecture": "sparsenet_bc_40_k12"})
    files = [str(tmp_path / f"{name}.safetensors") for name in ("one", "other")]

    def draw(path: Path) -> None:
        result = CliRunner().invoke(main, ["plot", "weights", *files, "--out", str(path)])
        assert result.exit_code == 0, result.output

    words = texts(draw, tmp_path)
    assert [words.count(f"({file})") for file in files] == [1, 1]
    assert words.count("sparsenet_bc_40_k12") == 2
    assert words.index(files[0]) < words.index(files[1])


def user_net(**kwargs) -> SparseNet:
    return SparseNet(depth=10, growth_rate=4, aggregation=lambda layer: (layer - 1,), **kwargs)


def user_module(**kwargs) -> nn.Module:
    return nn.Conv2d(3, 10, 1)


def sparsenet121(**kwargs) -> SparseNet:
    return SparseNet(layers=(1, 2), growth_rate=4, stem="imagenet", **kwargs)


def test_nets_of_imagenet_and_of_users_are_drawn_with_their_family(monkeypatch):
    cfgs = {"cifar10": PretrainedCfg(file="a.safetensors", top1=75.0, num_classes=10)}
    with temporary_registry():
        for build in (user_net, user_module, sparsenet121):
            register_model(pretrained_cfgs=cfgs, override=True)(build)
        names = [f"{name}.cifar10" for name in ("sparsenet121", "user_module", "user_net")]
        assert [name for name in list_pretrained() if name in names] == names
        monkeypatch.setattr("sparsenet_models.analysis.accuracy.list_pretrained", lambda: names)
        monkeypatch.setattr("sparsenet_models.analysis.accuracy.PUBLISHED", ())
        drawn = accuracy_points()
    assert [(point.source, point.net, point.data, point.error) for point in drawn] == [
        ("this library, SparseNet", "121", "CIFAR-10", 25.0),
        ("this library, SparseNet", "user_net", "CIFAR-10", 25.0),
    ]


@pytest.mark.parametrize(
    ("name", "family", "short"),
    [
        ("sparsenet121", "SparseNet", "121"),
        ("sparsenet_bc_40_k12", "SparseNet", "bc_40_k12"),
        ("densenet_40_k12", "DenseNet", "40_k12"),
        ("resnet_20", "ResNet", "20"),
        ("sparse_resnet_20", "sparse ResNet", "20"),
        ("fractalnet_c2", "FractalNet", "c2"),
    ],
)
def test_a_nets_family_is_that_of_its_class_and_rule(name, family, short):
    net = create_model(name, device="meta")
    assert family_of(net) == family
    assert family_by_name(name) == family
    assert family in FAMILY_STYLES
    assert short_name(f"{name}.cifar10", family) == short


def test_a_sparsenet_with_the_dense_rule_counts_as_a_densenet():
    assert family_of(SparseNet(depth=10, growth_rate=4, aggregation="dense")) == "DenseNet"
    assert family_of(nn.Conv2d(3, 4, 1)) is None


@pytest.mark.slow
def test_accuracy_has_a_point_for_each_published_error_and_each_weight(points):
    published = sum((result.cifar10 is not None) + (result.cifar100 is not None) for result in PUBLISHED)
    ours = [point for point in points if point.source.startswith("this library")]
    assert len(points) == published + len(ours)
    cfgs = [get_pretrained_cfg(name) for name in list_pretrained()]
    errors = sorted(100 - cfg.top1 for cfg in cfgs if cfg.tag.split("_")[0] == "cifar10")
    assert sorted(point.error for point in ours if point.data == "CIFAR-10") == errors
    names = {point.net for point in points}
    assert {"bc_100_k16_32_64", "100_k16_32_64", "bc_250_k24", "bc_190_k40", "bc_40_k12", "20"} <= names
    assert all(point.parameters > 1e5 and point.macs > 1e7 for point in points)


@pytest.mark.slow
def test_densenets_of_the_paper_have_its_parameters(points):
    paper = {(p.data, p.error): p.parameters for p in points if p.source == "DenseNet paper"}
    for error, million in ((4.51, 0.8), (3.62, 15.3), (3.46, 25.6)):
        assert round(paper["CIFAR-10", error] / 1e6, 1) == million
    for error, million in ((5.24, 1.0), (4.10, 7.0), (3.74, 27.2)):  # its stem has 16 channels
        assert paper["CIFAR-10", error] / 1e6 == pytest.approx(million, rel=0.07)


@pytest.mark.slow
def test_the_papers_nets_are_counted_with_its_stem_and_have_its_parameters(points):
    paper = {(p.data, p.error): p.parameters for p in points if p.source == "SparseNet paper"}
    for error, million in ((24.65, 0.76), (20.50, 5.65), (19.49, 7.22), (22.12, 1.46), (19.71, 4.38)):
        assert paper["CIFAR-100", error] / 1e6 == pytest.approx(million, rel=0.01)


@settings(deadline=None, max_examples=20)
@given(
    rule=st.sampled_from(["sparse", "dense"]),
    bottleneck=st.booleans(),
    rates=st.tuples(st.integers(1, 5), st.integers(2, 5)),
    classes=st.sampled_from([0, 3]),
)
def test_a_weight_map_is_the_mean_over_each_sources_channels(rule, bottleneck, rates, classes):
    net = SparseNet(
        layers=(5, 4),
        growth_rate=rates,
        bottleneck=bottleneck,
        aggregation=rule,
        num_classes=classes,
        stem_channels=3,
    )
    for index, readers in enumerate(weight_maps(net)):
        stage = net.stages[index]
        entering = stage.layers[0].norm1.num_features
        widths = [entering] + [rates[index]] * len(stage.layers)
        read_by = [layer.conv1.weight for layer in stage.layers]
        read_by.append(net.transitions[0].conv.weight if index == 0 else getattr(net.head.fc, "weight", None))
        assert len(readers) == len(stage.layers) + 1
        for number, (weight, reader) in enumerate(zip(read_by, readers), start=1):
            if weight is None:
                assert reader == {}
                continue
            sparse = [number - 2**exponent for exponent in range(5) if 2**exponent <= number]
            expected = list(range(number)) if rule == "dense" else sparse
            assert list(reader) == expected
            start = 0
            for source in expected:
                part = weight[:, start : start + widths[source]]
                assert reader[source] == pytest.approx(part.abs().mean().item(), rel=1e-5)
                start += widths[source]
            assert start == weight.shape[1]


def test_weights_of_a_file_are_drawn_beside_bundled_ones(tmp_path):
    torch.manual_seed(0)
    file = tmp_path / "model.safetensors"
    save_weights(
        create_model("densenet_bc_40_k12"), file, {"architecture": "densenet_bc_40_k12", "tag": "cifar10"}
    )
    target = tmp_path / "weights.png"
    result = run("plot", "weights", "sparsenet_bc_40_k12.cifar10", file, "--out", target)
    assert result.exit_code == 0, result.output
    assert ink(target) > 0.1


@pytest.mark.parametrize("net", [ResNet(depth=8), SparseNet(depth=7, growth_rate=4, merge="sum")])
def test_weights_that_belong_to_no_single_source_are_refused(tmp_path, net):
    with pytest.raises(ValueError, match="has no stages merged by concat"):
        plot_weights({"net": net}, tmp_path / "weights.png")
    assert not list(tmp_path.iterdir())


def test_nets_with_different_numbers_of_stages_stand_below_each_other(tmp_path):
    nets = {
        "two": DenseNet(layers=(2, 3), growth_rate=4),
        "one": SparseNet(layers=(9,), growth_rate=4, num_classes=0),
    }
    plot_weights(nets, tmp_path / "weights.png")
    assert ink(tmp_path / "weights.png") > 0.05


# The page


def test_the_pages_pictures_are_there():
    page = (REPOSITORY / "docs" / "analysis.md").read_text(encoding="utf-8")
    for name in ("aggregation", "growth", "accuracy", "curves", "weights"):
        assert f"(figures/{name}.png)" in page
        assert 0.01 < ink(REPOSITORY / "docs" / "figures" / f"{name}.png") < 0.9


def test_the_analysis_of_rules_and_of_their_nets_agree():
    net = analyze_model("sparsenet_bc_100_k24").graph
    stage = analyze_rule("sparse", 16).graph
    assert (net.links, net.path_mean, net.path_max) == (3 * stage.links, stage.path_mean, stage.path_max)
    assert GROWTH_DEPTHS[0] == 16
