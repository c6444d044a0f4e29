"""The formulas by which a norm becomes part of what is around it."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sparsenet_models.layers.norms import FrozenBatchNorm2d
from sparsenet_models.optimization.folding import clamp_of, is_foldable, scale_and_shift

numbers = st.floats(-100, 100, width=32)
scales = st.one_of(numbers, st.sampled_from([0.0, -0.0, 1e-38, -1e-38, 1e-30]))


@given(st.lists(st.tuples(scales, numbers, numbers), min_size=1, max_size=20))
def test_relu_of_a_line_is_a_clamp_with_the_same_scale_and_an_offset(rows):
    scale, shift, x = torch.tensor(rows, dtype=torch.float64).float().T
    clamp = clamp_of(scale, shift)
    assert not clamp.low.isnan().any()
    assert not clamp.high.isnan().any()
    assert (clamp.low <= clamp.high).all()
    exact = (scale.double() * x.double() + shift.double()).relu()
    clamped = scale.double() * x.clamp(clamp.low, clamp.high).double() + clamp.offset.double()
    allowed = 1e-6 * (exact.abs() + shift.abs() + 1e-30)
    assert ((clamped - exact).abs() <= allowed).all()


@given(st.integers(0, 2**31), st.booleans())
def test_scale_and_shift_are_those_of_batch_norm_in_eval_mode(seed, frozen):
    generator = torch.Generator().manual_seed(seed)
    norm = (FrozenBatchNorm2d if frozen else nn.BatchNorm2d)(5).eval()
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            tensor.normal_(generator=generator)
        norm.running_var.uniform_(0, 3, generator=generator)
        x = torch.randn(2, 5, 3, 3, generator=generator)
        scale, shift = (constants.view(1, -1, 1, 1) for constants in scale_and_shift(norm))
        assert torch.allclose(norm(x), scale * x + shift, atol=1e-4, rtol=1e-4)


def test_norms_with_statistics_of_the_batch_are_not_foldable():
    assert is_foldable(nn.BatchNorm2d(3, affine=False))
    assert not is_foldable(nn.BatchNorm2d(3, track_running_stats=False))
    assert not is_foldable(nn.GroupNorm(1, 3))
