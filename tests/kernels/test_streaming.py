"""Keys that arrive in pieces have the statistics of the whole."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from primaldual.kernels.statistics import centre, prefix_statistics
from primaldual.kernels.streaming import StreamingStatistics


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    masked=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_pieces_give_the_prefix_statistics(lengths, masked, seed):
    generator = torch.Generator().manual_seed(seed)
    key = torch.randn(2, 3, sum(lengths), 4, generator=generator, dtype=torch.float64) + 5
    mask = torch.rand(2, 1, 1, sum(lengths), generator=generator) > 0.5 if masked else None
    whole = prefix_statistics(*centre(key, mask), mask)
    state = StreamingStatistics.empty(key)
    position = 0
    for length in lengths:
        piece = slice(position, position + length)
        state = state.update(key[:, :, piece], None if mask is None else mask[..., piece])
        position += length
        found = state.statistics()
        assert_close(found.mean, whole.mean[:, :, position - 1 : position])
        assert_close(found.variance, whole.variance[:, :, position - 1 : position], rtol=1e-9, atol=1e-9)


def test_a_large_mean_keeps_the_variance_in_half_precision():
    key = (100 + torch.randn(1, 2, 300, 8, generator=torch.Generator().manual_seed(0))).bfloat16()
    state = StreamingStatistics.empty(key)
    for piece in key.split(7, 2):
        state = state.update(piece)
    assert state.mean.dtype == torch.float32
    exact = key.double().var(-2, unbiased=False, keepdim=True)
    assert_close(state.statistics().variance.double(), exact, rtol=1e-4, atol=0)


def test_nothing_yet_is_zero():
    found = StreamingStatistics.empty(torch.zeros(1, 1, 0, 2)).statistics()
    assert found.mean.eq(0).all()
    assert found.variance.eq(0).all()


@settings(max_examples=40, deadline=None)
@given(former=st.integers(0, 6), length=st.integers(1, 9), masked=st.booleans(), seed=st.integers(0, 10**6))
def test_along_gives_the_statistics_that_every_new_key_sees(former, length, masked, seed):
    generator = torch.Generator().manual_seed(seed)
    key = torch.randn(2, 3, former + length, 4, generator=generator, dtype=torch.float64) + 5
    kept = torch.rand(2, 1, 1, length, generator=generator) > 0.4 if masked else None
    state = StreamingStatistics.empty(key)
    state = state.update(key[:, :, :former]) if former else state
    new = key[:, :, former:]
    found = state.along(new, kept)
    for row in range(2):
        for i in range(length):
            before = torch.ones(i, dtype=torch.bool) if kept is None else kept[row, 0, 0, :i]
            seen = torch.cat([key[row, :, :former], new[row, :, :i][:, before], new[row, :, i : i + 1]], 1)
            assert_close(found.mean[row, :, i], seen.mean(1))
            assert_close(found.variance[row, :, i], seen.var(1, unbiased=False), rtol=1e-9, atol=1e-9)


def test_one_more_key():
    key = torch.randn(2, 3, 9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    empty = StreamingStatistics.empty(key)
    state = StreamingStatistics(0, empty.mean, empty.deviations)
    for one in key.split(1, 2):
        state = state.including(one)
    assert_close(state.statistics().mean, key.mean(2, keepdim=True))
    assert_close(state.statistics().variance, key.var(2, unbiased=False, keepdim=True))
