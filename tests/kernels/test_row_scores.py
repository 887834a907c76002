"""Softmax by scores of the keys themselves."""

import math

import pytest
import torch
from torch.testing import assert_close

from primaldual.kernels.layout import Layout
from primaldual.kernels.row_pools import Members, Shares, equal_shares
from primaldual.kernels.row_scores import Filter, FormedPairs, row_attention


def column(*numbers):
    return torch.tensor(numbers, dtype=torch.float64).view(1, 1, -1, 1)


def test_means_by_hand():
    """One query, log 2, may attend the second of keys 1, 1 and both of 0, 0: weights 2 : 1, values 4 and (1 + 3) / 2."""
    allowed = torch.tensor([False, True, True, True]).view(
        1, 1, 1, 4
    )  # members 0 and 2 are a pool, 1 and 3 too
    shares = equal_shares(Members(2), allowed, torch.float64, weighted=False)
    out = row_attention(
        column(math.log(2)),
        FormedPairs(column(9, 0, 1, 0), column(9, 1, 4, 3), shares, Members(2)),
        0.0,
    )
    assert_close(out, column((2 * 4 + 1 * 2) / 3))


def test_taps_by_hand():
    """Keys 1, 2, 4 under taps 10, 1, 100: a query that has not the last one sees 1 + 100 * 2 and 10 * 1 + 2."""
    allowed = torch.tensor([[True, True, False]]).view(1, 1, 1, 3)
    taps = Filter(torch.tensor([10.0, 1.0, 100.0]).double().view(1, 1, 1, 3), Layout(), left_padded=False)
    out = row_attention(
        column(0.01),
        FormedPairs(column(1, 2, 4), column(1, 0, 0), Shares(allowed, allowed, None), taps=taps),
        0.0,
    )
    first, second = math.exp(2.01), math.exp(0.12)
    assert_close(out, column(first / (first + second)))


def test_a_row_without_keys_is_zero_with_finite_gradients():
    inputs = [torch.randn(1, 1, 4, 2, requires_grad=True) for _ in range(3)]
    allowed = torch.tensor([False, True]).repeat_interleave(8).view(1, 1, 4, 4)
    shares = equal_shares(Members(2), allowed, torch.float32, weighted=True)
    out = row_attention(inputs[0], FormedPairs(*inputs[1:], shares, Members(2)), 0.0)
    assert out[:, :, :2].eq(0).all()
    assert all(part.isfinite().all() for part in torch.autograd.grad(out.sum(), inputs))


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("members", [1, 2, 3])
def test_moments_are_those_of_the_keys_of_every_query(heads, members):
    torch.manual_seed(0)
    key, allowed = torch.randn(2, 3, 6 * members, 4).double(), torch.rand(2, heads, 5, 6 * members) > 0.4
    shares = equal_shares(Members(members), allowed, torch.float64, weighted=False)
    pairs = FormedPairs(key, key, shares, Members(members))
    found, wanted = pairs.moments(), Members(members).means(shares.scaled(Members(members)), key)
    for query in range(5):
        for head in range(3):
            rows = wanted[1, head, query][shares.valid[1, head % heads, query]]
            assert_close(found.mean[1, head, query], rows.mean(0))
            assert_close(found.variance[1, head, query], rows.var(0, correction=0))
            assert found.seen[1, head % heads, query].item() == len(rows)


def test_moments_after_taps_by_hand():
    """Keys 1, 2, 4 under taps 10, 1, 100, the first lone: 1, 2 + 400 and 20 + 4; without the last one 1 and 2."""
    allowed = torch.tensor([[True, True, True], [True, True, False]]).view(1, 1, 2, 3)
    taps = Filter(
        torch.tensor([10.0, 1.0, 100.0]).double().view(1, 1, 1, 3), Layout(prefix=1), left_padded=False
    )
    found = FormedPairs(column(1, 2, 4), column(0, 0, 0), Shares(allowed, allowed, None), taps=taps).moments()
    keys = torch.tensor([1.0, 402.0, 24.0]), torch.tensor([1.0, 2.0])
    assert_close(found.mean.flatten(), torch.stack([part.mean() for part in keys]).double())
    assert_close(found.variance.flatten(), torch.stack([part.var(correction=0) for part in keys]).double())
