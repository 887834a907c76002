"""Statistics against float64 loops, on random keys and on keys with a large mean."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from primaldual.kernels.pooling import pool, prefix_means
from primaldual.kernels.statistics import (
    centre,
    pairwise_statistics,
    partial_window_statistics,
    prefix_statistics,
    row_blocks,
    seen_centre,
    shared_statistics,
)


def loop(key, allowed):
    """Mean and biased variance of the allowed keys of every query, one by one, in float64."""
    batch, heads, length, head_dim = key.shape
    rows = allowed.shape[2]
    mean, variance = torch.zeros(2, batch, heads, rows, head_dim, dtype=torch.float64)
    allowed = allowed.expand(batch, heads, rows, length)
    for index in torch.cartesian_prod(*(torch.arange(size) for size in (batch, heads, rows))).tolist():
        chosen = key[index[0], index[1]][allowed[tuple(index)]].double()
        if len(chosen):
            mean[tuple(index)] = chosen.mean(0)
            variance[tuple(index)] = chosen.var(0, unbiased=False)
    return mean, variance


@settings(max_examples=40, deadline=None)
@given(length=st.integers(1, 17), seed=st.integers(0, 10**6), masked=st.booleans())
def test_shared_prefix_and_pairwise_match_a_loop(length, seed, masked):
    generator = torch.Generator().manual_seed(seed)
    key = torch.randn(2, 3, length, 4, generator=generator, dtype=torch.float64) * 2 + 5
    mask = torch.rand(2, 1, 1, length, generator=generator) > 0.4 if masked else None
    allowed = torch.ones(1, 1, 1, length, dtype=torch.bool) if mask is None else mask
    mean, centred = centre(key, mask)
    assert_close(shared_statistics(mean, centred, mask)[:2], loop(key, allowed))
    triangle = torch.ones(length, length, dtype=torch.bool).tril()
    assert_close(
        prefix_statistics(mean, centred, mask)[:2], loop(key, allowed & triangle), atol=1e-9, rtol=1e-9
    )
    pairs = torch.rand(2, 3, 6, length, generator=generator) > 0.5
    if mask is not None:
        pairs = pairs & mask
    assert_close(pairwise_statistics(mean, centred, pairs)[:2], loop(key, pairs), atol=1e-9, rtol=1e-9)


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 17), scale=st.integers(2, 5), seed=st.integers(0, 10**6), masked=st.booleans())
def test_partial_windows_match_a_loop(length, scale, seed, masked):
    generator = torch.Generator().manual_seed(seed)
    key = torch.randn(1, 2, length, 3, generator=generator, dtype=torch.float64) + 3
    mask = torch.rand(1, 1, 1, length, generator=generator) > 0.4 if masked else None
    mean, centred = centre(key, mask)
    pools, pool_mask = pool(centred, scale, mask)
    kept = torch.ones(1, 1, pools.shape[2], 1, dtype=torch.bool) if pool_mask is None else pool_mask.mT
    partial, present = prefix_means(centred, scale, mask)
    found = partial_window_statistics(mean, pools, kept, partial, present, scale)
    member = torch.ones(length, dtype=torch.bool) if mask is None else mask[0, 0, 0]
    for row in range(length):
        windows = [
            key[0, :, start : min(start + scale, row + 1)][:, member[start : min(start + scale, row + 1)]]
            for start in range(0, row + 1, scale)
        ]
        means = [window.mean(1) for window in windows if window.shape[1]]
        if not means:
            assert (found.mean[0, :, row] == 0).all()
            continue
        stacked = torch.stack(means)
        assert_close(found.mean[0, :, row], stacked.mean(0))
        assert_close(found.variance[0, :, row], stacked.var(0, unbiased=False), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 1e-3)])
def test_large_mean_keeps_the_variance(dtype, tolerance):
    key = (100 + 0.1 * torch.randn(1, 2, 500, 8, generator=torch.Generator().manual_seed(0))).to(dtype)
    if dtype == torch.bfloat16:
        key = (key.float() + torch.randn(key.shape, generator=torch.Generator().manual_seed(1))).to(dtype)
    mean, centred = centre(key)
    assert mean.dtype == torch.float32
    exact = key.double().var(-2, unbiased=False, keepdim=True)
    assert_close(shared_statistics(mean, centred).variance.double(), exact, rtol=tolerance, atol=0)
    prefix = prefix_statistics(mean, centred).variance[:, :, 20:].double()
    wanted = torch.stack([key[:, :, : row + 1].double().var(-2, unbiased=False) for row in range(20, 500)], 2)
    assert_close(prefix, wanted, rtol=2 * tolerance, atol=0)


def test_hand_worked():
    key = torch.tensor([[[[1.0], [3.0], [8.0]]]])
    mean, centred = centre(key)
    assert_close(mean.item(), 4.0)
    prefix = prefix_statistics(mean, centred)
    assert_close(prefix.mean.flatten(), torch.tensor([1.0, 2.0, 4.0]))
    assert_close(prefix.variance.flatten(), torch.tensor([0.0, 1.0, 26 / 3]))


@settings(max_examples=60, deadline=None)
@given(st.integers(-50, 5000), st.integers(50, 5000), st.integers(1, 9))
def test_blocks_of_rows_cover_all_queries_and_grow_by_no_more_than_sixteen(before, queries, scale):
    blocks = row_blocks(queries, before + queries, scale)[::-1]
    assert blocks[0].start == 0
    assert [row for block in blocks for row in (block.start, block.stop)] == (
        [0, *(row for block in blocks[:-1] for row in (block.stop, block.stop)), queries] if queries else []
    )
    for block in blocks[1:]:
        windows = -(-(before + block.stop) // scale)
        complete = (before + block.start) // scale
        assert windows <= 16 * complete


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), length=st.integers(5, 200), jump=st.floats(0, 1e4))
def test_centre_of_a_block_is_within_four_deviations_of_every_mean(seed, length, jump):
    generator = torch.Generator().manual_seed(seed)
    key = torch.randn(1, 2, length, 3, generator=generator, dtype=torch.float64)
    key[:, :, : int(seed % length)] += jump
    found = prefix_statistics(torch.zeros(1, 2, 1, 3).double(), key)
    for block in row_blocks(length, length):
        if block.start:
            distance = (seen_centre(key, None, block.start) - found.mean[:, :, block]).abs()
            assert (distance <= 4 * found.variance[:, :, block].sqrt() + 1e-6).all()


def test_centre_is_the_first_key_that_is_seen_where_the_early_ones_are_masked():
    key = torch.tensor([5.0, 7.0, 1.0, 2.0]).view(1, 1, 4, 1)
    mask = torch.tensor([[True, True, True, True], [False, False, False, True], [True, False, True, True]])
    found = seen_centre(key.expand(3, -1, -1, -1), mask.view(3, 1, 1, 4), 2)
    assert found.flatten().tolist() == [6.0, 2.0, 5.0]
