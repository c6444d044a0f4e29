"""What a run says of its cost after a few steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.trainer import TINY_NET, register_tiny_net

from sparsenet_models.training import loop
from sparsenet_models.training.config import TrainConfig
from sparsenet_models.training.estimate import FIRST_STEPS, epochs_left, seconds_per_step
from sparsenet_models.training.loop import TrainingStopped, train


@given(
    st.lists(st.tuples(st.integers(8, 64), st.integers(1, 9)), min_size=1, max_size=4),
    st.integers(1, 20),
    st.floats(1e-3, 1e3),
    st.data(),
)
def test_what_is_left_is_the_time_of_its_steps_each_by_its_pixels(parts, steps, seconds, data):
    config = TrainConfig.from_options({"model": "m", "data": "d", "out": "o", "resolution": parts})
    done = data.draw(st.integers(0, config.epochs * steps - 1))
    side = config.side_in(done // steps + 1)
    sides = [config.side_in(step // steps + 1) for step in range(done, config.epochs * steps)]
    expected = sum(seconds * (other / side) ** 2 for other in sides)
    times = [0.0, *(50 + seconds * number for number in range(FIRST_STEPS))]  # the first takes 50 s
    left = seconds_per_step(times) * steps * epochs_left(config, 32, done / steps, side)
    assert left == pytest.approx(expected, rel=1e-6)


def test_a_step_without_others_is_timed_itself():
    assert seconds_per_step([3.0, 5.0]) == 2


def test_a_run_says_its_cost_once_and_a_resumed_one_what_is_left(
    colour_folder, tmp_path, capsys, monkeypatch, own_models
):
    """With 96 images in 3 steps of one second each."""
    register_tiny_net()
    config = TrainConfig(
        TINY_NET,
        data=str(colour_folder),
        out=str(tmp_path / "run"),
        epochs=6,
        batch_size=32,
        size=8,
        precision="float32",
        device="cpu",
        compile=False,
        eval_every=0,
    )
    measured = []
    monkeypatch.setattr(loop, "seconds_per_step", lambda times: measured.append(times) or 1.0)
    rows = []

    def fail_after_two(_, metrics) -> None:
        rows[:] = metrics
        if len(metrics) == 2:
            raise OSError("enough")

    monkeypatch.setattr(loop, "write_pictures", lambda *_: None)
    line = "about {} epochs on this machine (32 images/s); Ctrl-C keeps the steps done, --resume goes on\n"
    with monkeypatch.context() as full_disk:
        full_disk.setattr(loop, "write_metrics", fail_after_two)
        with pytest.raises(TrainingStopped, match="after epoch 2"):
            train(config)
    assert capsys.readouterr().out.count(line.format("18 s for 6")) == 1
    times = measured[0]
    assert len(times) == 4
    assert times[-1] - times[0] >= float(rows[0]["seconds"]) - 0.05  # of the row, which is rounded
    train(config, resume=True)
    assert capsys.readouterr().out.count(line.format("12 s for the rest of 6")) == 1
