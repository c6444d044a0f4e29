"""The picture of efficiency shows what `sparsenet benchmark --csv` wrote."""

import matplotlib
import pytest
from click.testing import CliRunner

from sparsenet_models import get_pretrained_cfg
from sparsenet_models.analysis.benchmark_files import DepthCurve, SpeedPoint, depth_curves, speed_points
from sparsenet_models.benchmark.run import Benchmark, Row
from sparsenet_models.benchmark.table import as_csv
from sparsenet_models.cli import main

SMALL, LARGE = "sparsenet_bc_40_k12.cifar10", "densenet_bc_40_k12.cifar10"


def row(net, engine, batch, speed, depth=None, peak=900.0):
    measured = {"images_per_second": speed, "ms_per_image": 1e3 / speed, "first_call_seconds": 2.0}
    return Row(net, engine, batch, depth, peak_mib=peak, base_mib=400.0, **measured)


def written(path, rows, mode="forward", side=32):
    machine = {"processor": "one", "cores": 2, "threads": 2, "capability": "AVX2", "torch": "2"}
    path.write_text(as_csv(Benchmark(machine, mode, "float32", side, "cpu", 5, 100.0, rows)))
    return path


@pytest.fixture
def speed(tmp_path):
    rows = [
        row(SMALL, "eager", 64, 50.0),
        row(SMALL, "optimize", 64, 80.0),
        row(SMALL, "optimize", 1, 20.0),
        row("densenet_bc_40_k12", "optimize", 64, 40.0),  # without its first tag
        row("timm:densenet121", "eager", 64, 90.0),
        Row(LARGE, "openvino", 64, None, note="not installed"),
    ]
    return written(tmp_path / "speed.csv", rows)


@pytest.fixture
def depth(tmp_path):
    rows = [
        row(f"{net}_bc_100_k12 depth={layers}", "eager", 16, 1e3 / layers**power, layers, 400.0 + layers)
        for net, power in (("sparsenet", 1), ("densenet", 2))
        for layers in (100, 40)
    ]
    rows.append(row("sparsenet_bc_100_k12 depth=40", "eager", 1, 5.0, 40))
    return written(tmp_path / "depth.csv", rows, "training step")


def test_the_fastest_engine_at_the_largest_batch_size_stands_for_a_weight(speed):
    error = 100 - get_pretrained_cfg(SMALL).top1
    small, large = speed_points(speed)
    assert small == SpeedPoint(SMALL, "SparseNet", 64, 80.0, error)
    assert (large.name, large.family, large.images_per_second) == (LARGE, "DenseNet", 40.0)


def test_costs_are_sorted_into_a_curve_for_each_family_and_engine(depth):
    sparse, dense = depth_curves(depth)
    assert sparse == DepthCurve("SparseNet", "eager", (40, 100), (40.0, 100.0), (0.04, 0.1), (2.0, 2.0))
    assert (dense.family, dense.seconds) == ("DenseNet", (1.6, 10.0))


def test_the_command_draws_every_net_and_curve(speed, depth, tmp_path):
    picture = tmp_path / "efficiency.svg"
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        result = CliRunner().invoke(main, ["plot", "efficiency", *map(str, (speed, depth, "--out", picture))])
    assert result.exit_code == 0, result.output
    drawn = picture.read_text()
    for text in (
        "sparsenet_bc_40_k12",
        "densenet_bc_40_k12",
        "SparseNet",
        "DenseNet",
        "images/s in batches of 64",
    ):
        assert f">{text}<" in drawn


def test_files_of_another_kind_are_refused(speed, depth, tmp_path):
    with pytest.raises(ValueError, match=r"speed.csv must have times of a training step, .* of a forward"):
        depth_curves(speed)
    with pytest.raises(ValueError, match=r"depth.csv must have times of a forward, .* of a training step"):
        speed_points(depth)
    steps = written(tmp_path / "steps.csv", [row(SMALL, "eager", 1, 9.0)], "training step")
    with pytest.raises(ValueError, match=r"steps.csv has no depths; `sparsenet benchmark --depths` measures"):
        depth_curves(steps)
    others = written(tmp_path / "others.csv", [row("timm:densenet121", "eager", 1, 9.0)])
    with pytest.raises(ValueError, match=r"others.csv has no net with bundled weights"):
        speed_points(others)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(
        ValueError, match=r"other.csv is no file by `sparsenet benchmark --csv`: it has no base_mib"
    ):
        speed_points(tmp_path / "other.csv")


def test_what_cannot_be_compared_is_refused(tmp_path):
    both = [row(SMALL, "eager", 1, 9.0), row("sparsenet_bc_40_k12.cifar100", "eager", 1, 9.0)]
    with pytest.raises(ValueError, match=r"weights for different data: .*\.cifar10 and .*\.cifar100"):
        speed_points(written(tmp_path / "both.csv", both))
    with pytest.raises(ValueError, match=r"cifar10 with images of 64 pixels, its error is that of 32"):
        speed_points(written(tmp_path / "large.csv", both[:1], side=64))
    two = [row(f"sparsenet_{size} depth=40", "eager", 1, 9.0, 40) for size in ("40_k12", "bc_40_k12")]
    with pytest.raises(ValueError, match="two nets of one family, sparsenet_40_k12 and sparsenet_bc_40_k12"):
        depth_curves(written(tmp_path / "two.csv", two, "training step"))


@pytest.mark.parametrize(
    "change", [lambda text: "\n".join(text.splitlines()[:2])[:-60], lambda text: text + '"' + "x" * 200_000]
)
def test_a_file_that_is_damaged_is_refused_by_name(speed, change):
    speed.write_text(change(speed.read_text()))
    with pytest.raises(ValueError, match=r"speed\.csv is (cut off|no file by)"):
        speed_points(speed)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b",16,", b',"1,5",'),  # batch
        (b",2.0,", b",,"),  # first_call_seconds
        (b",900.0,", b",much,"),  # peak_mib
        (b"resnet_20", b"resnet_20\xff"),
        (b"net,", b"\xff,"),
    ],
)
def test_a_cell_that_cannot_be_read_is_refused_with_the_name_of_its_file(tmp_path, old, new):
    file = written(tmp_path / "c.csv", [row("resnet_20 depth=20", "eager", 16, 9.0, 20)], "training step")
    assert old in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(old, new))
    with pytest.raises(
        ValueError, match=r"c\.csv is no file by `sparsenet benchmark --csv`: .*(1,5|''|much|0xff)"
    ):
        depth_curves(file)


def test_a_row_without_a_peak_is_refused_by_name(tmp_path):
    on_windows = row("resnet_20 depth=20", "eager", 1, 9.0, 20, peak=None)
    with pytest.raises(ValueError, match=r"w\.csv has rows without peak_mib"):
        depth_curves(written(tmp_path / "w.csv", [on_windows], "training step"))


def test_a_gpu_has_no_memory_before_the_net(tmp_path):
    on_gpu = row("resnet_20 depth=20", "eager", 1, 9.0, 20)
    on_gpu.base_mib = None
    (curve,) = depth_curves(written(tmp_path / "gpu.csv", [on_gpu], "training step"))
    assert curve.memory_mib == (900.0,)
