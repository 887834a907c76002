"""Pools that every query forms of what it may attend."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from primaldual.kernels.layout import Layout
from primaldual.kernels.pooling import pool
from primaldual.kernels.row_pools import (
    Arrangement,
    IndexedPools,
    Members,
    anchored_shares,
    equal_shares,
    excluding,
)
from primaldual.kernels.weighted_pooling import anchored_pool


def test_members_by_hand():
    pools, terms = Members(2), torch.tensor([5.0, 1.0, 2.0, 3.0, 4.0, 6.0])
    assert pools.number(6) == 3
    assert pools.sums(torch.tensor([1.0, 1.0, 2.0, 1.0, 1.0, 1.0]), terms).tolist() == [8, 5, 10]
    assert pools.largest(terms).tolist() == [5, 4, 6]
    added = torch.tensor([9.0, 8.0, 7.0])
    assert pools.plus(terms, added).tolist() == [14, 9, 9, 12, 12, 13]
    assert pools.times(terms, added).tolist() == [45, 8, 14, 27, 32, 42]


def test_indexed_by_hand():
    pools, terms = (
        IndexedPools(torch.tensor([2, 0, 2, 0]).view(1, 1, 1, 4), 3),
        torch.tensor([1.0, 2.0, 3.0, 4.0]),
    )
    terms = terms.view(1, 1, 1, 4)
    assert pools.sums(torch.ones(4), terms).flatten().tolist() == [6, 0, 4]
    assert pools.largest(terms).flatten().tolist()[::2] == [4, 3]
    added = torch.tensor([7.0, 8.0, 9.0]).view(1, 1, 1, 3)
    assert pools.plus(terms, added).flatten().tolist() == [10, 9, 12, 11]
    assert pools.times(terms, added).flatten().tolist() == [9, 14, 27, 28]


def test_patches_of_an_image_are_windows():
    """A class token and an image of 2 x 3: patches of 2 x 2 hold positions 1 2 4 5 and 3 6."""
    windows = Arrangement.of(Layout((2, 3), prefix=1), 7, 2, torch.device("cpu"))
    assert windows.pools == Members(4)
    assert windows.order.view(4, 3).mT.tolist() == [[0, 7, 7, 7], [1, 2, 4, 5], [3, 6, 7, 7]]
    assert windows.arranged(torch.arange(1, 8), 0).view(4, 3).mT.tolist()[2] == [4, 7, 0, 0]
    assert [windows.begun(end) for end in range(1, 5)] == [1, 2, 2, 3]


@settings(deadline=None)
@given(
    st.sampled_from([Layout(), Layout(prefix=2), Layout((3, 4)), Layout((3, 4), prefix=1)]),
    st.integers(1, 13),
    st.integers(2, 5),
    st.integers(0, 99),
)
def test_means_are_those_of_one_pool_for_all_queries(layout, length, scale, seed):
    length = length if layout.grid is None else layout.prefix + 12
    torch.manual_seed(seed)
    tensor, mask = torch.randn(2, 1, length, 3).double(), torch.rand(2, 1, 1, length) > 0.4
    wanted, valid = pool(tensor.masked_fill(~mask.mT, 0.0), scale, mask, layout)
    arrangement = Arrangement.of(layout, length, scale, torch.device("cpu"))
    windows, tensor, mask = (
        arrangement.pools,
        arrangement.arranged(tensor, -2),
        arrangement.arranged(mask, -1),
    )
    shares = equal_shares(windows, mask, torch.float64, weighted=False)
    assert_close(windows.means(shares.scaled(windows), tensor).squeeze(2), wanted)
    assert torch.equal(shares.valid, valid)
    number = torch.arange(valid.shape[-1]).repeat(windows.size)
    indexed = IndexedPools(torch.where(mask, number, valid.shape[-1]), valid.shape[-1] + 1)
    of_index = equal_shares(indexed, mask, torch.float64, weighted=False)
    assert_close(indexed.means(of_index.scaled(indexed), tensor).squeeze(2)[..., :-1, :], wanted)
    assert torch.equal(of_index.valid[..., :-1], valid)
    assert not of_index.valid[..., -1].any()


@pytest.mark.parametrize("size", [1.0, 500.0])
def test_anchored_shares_are_those_of_anchored_pools(size):
    torch.manual_seed(0)
    key, value = torch.randn(2, 2, 3, 8, 4).double()
    scores = size * torch.randn(2, 3, 8, 1).double()
    mask = torch.rand(2, 1, 1, 8) > 0.5
    wanted = anchored_pool(key, value, scores, 4, mask, Layout())
    windows = Arrangement.of(Layout(), 8, 4, torch.device("cpu"))
    key, scores, mask = windows.arranged(key, -2), windows.arranged(scores.mT, -1), windows.arranged(mask, -1)
    shares = anchored_shares(windows.pools, mask, scores)
    assert_close(windows.pools.means(shares.scaled(windows.pools), key).squeeze(2), wanted[0])
    assert torch.equal(shares.valid.all(1, keepdim=True), wanted[3])
    weight = shares.log_weight - shares.mean(windows.pools, shares.offset)
    weight = weight.masked_fill(~shares.valid, 0.0)
    assert_close(weight, wanted[2].masked_fill(~wanted[3], 0.0))
    by_number = IndexedPools(torch.where(mask, torch.arange(2).repeat(4), 2), 3)
    found = anchored_shares(by_number, mask, scores)
    assert torch.equal(found.valid[..., :2], shares.valid.expand(2, 3, 1, 2))
    assert not found.valid[..., 2].any()
    assert_close(by_number.means(found.scaled(by_number), key).squeeze(2)[..., :2, :], wanted[0])
    of_number = (found.log_weight - found.mean(by_number, found.offset))[..., :2]
    assert_close(of_number.masked_fill(~shares.valid, 0.0), weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_excluded_keeps_nothing(dtype):
    scores = torch.tensor([-1e6, 3.0, 1e30], dtype=dtype) + excluding(
        torch.tensor([True, False, False]), dtype
    )
    assert scores.softmax(-1).tolist() == [1, 0, 0]
