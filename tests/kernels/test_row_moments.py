"""Moments of pairs that every query forms are those of the pairs themselves."""

import torch
from torch.testing import assert_close

from primaldual.kernels.row_moments import moments_of_sums


def drawn(pairs=4):
    share, key = torch.rand(1, 2, 5, 3, pairs).double(), torch.randn(2, 2, 3, pairs, 6).double()
    share[..., 0, :, -1] = 0  # the first query lacks a pair
    count = (share.sum(-2) > 0).sum(-1, keepdim=True)
    return share, key, count


def test_they_are_those_of_pairs_written_out():
    share, key, count = drawn()
    found = moments_of_sums(share, key, count)
    pairs = torch.einsum("bhrmt,bhmtd->bhrtd", share.expand(2, -1, -1, -1, -1), key)
    there = (share.sum(-2) > 0).unsqueeze(-1)
    mean = pairs.sum(-2) / count
    away = torch.where(there, pairs - mean.unsqueeze(-2), 0.0)
    assert_close(found.mean, mean)
    assert_close(found.variance, away.square().sum(-2) / count)


def test_a_single_pair_has_variance_0_to_the_last_digit():
    share, key, count = drawn(1)
    count.fill_(1)
    found = moments_of_sums(share, key + 1000, count)
    assert torch.equal(found.variance, torch.zeros_like(found.variance))
