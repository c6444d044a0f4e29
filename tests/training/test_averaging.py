"""The batch-norm statistics of an averaged net."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsenet_models.training.averaging import recalibrate


@given(sizes=st.lists(st.integers(2, 5), min_size=1, max_size=60), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_recalibrated_statistics_are_the_plain_means_over_the_first_fifty_batches(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    batches = [torch.randn(size, 3, 2, 2, generator=generator).double() for size in sizes]
    norm = nn.BatchNorm2d(3).double()
    norm.running_mean.fill_(7)
    recalibrate(nn.Sequential(norm), batches)
    used = [batch.movedim(1, 0).flatten(1) for batch in batches[:50]]
    torch.testing.assert_close(norm.running_mean, torch.stack([b.mean(1) for b in used]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([b.var(1) for b in used]).mean(0))
    assert norm.momentum == 0.1


def test_recalibrated_statistics_are_those_of_the_net_without_dropout():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm2d(3))
    batches = [torch.randn(8, 3, 4, 4) + 5]
    recalibrate(net, batches)
    torch.testing.assert_close(net[1].running_mean, batches[0].mean((0, 2, 3)))
    assert not any(module.training for module in net.modules())
