"""The SDPA path and the pooled causal path against written-out softmax."""

import torch
from torch.testing import assert_close

from primaldual.kernels.masks import Attendable
from primaldual.kernels.softmax import pooled_prefix_attention, softmax_attention


def test_grouped_masked_causal_matches_formula():
    query = torch.randn(2, 4, 3, 8, dtype=torch.float64)
    key, value = torch.randn(2, 2, 2, 5, 8, dtype=torch.float64).unbind(0)
    keys = torch.tensor([True, True, False, True, True]).expand(2, 1, 1, 5)
    out = softmax_attention(query, key, value, Attendable(keys, None, True), 0.3)
    scores = 0.3 * query @ key.repeat_interleave(2, 1).mT
    allowed = keys & (torch.arange(5) <= torch.arange(3)[:, None] + 2)
    weights = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
    assert_close(out, weights @ value.repeat_interleave(2, 1))


def test_dropout_keeps_the_expectation():
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 1, 6, 4).unbind(0)
    exact = softmax_attention(query, key, value, Attendable(), 0.5)
    dropped = torch.stack([softmax_attention(query, key, value, Attendable(), 0.5, 0.5) for _ in range(3000)])
    assert not torch.equal(dropped[0], exact)
    assert_close(dropped.mean(0), exact, atol=0.08, rtol=0.0)


def test_pooled_prefix_hand_worked():
    """Scale 2, equal scores: position 2 gives half to the window before and half to itself."""
    zeros = torch.zeros(1, 1, 3, 1)
    value_pools, partial = (
        torch.tensor([2.0, 9.0]).view(1, 1, 2, 1),
        torch.tensor([1.0, 2.0, 9.0]).view(1, 1, 3, 1),
    )
    yes = torch.ones(1, 1, 2, 1, dtype=torch.bool)
    out = pooled_prefix_attention(
        zeros, (zeros[:, :, :2], value_pools), (zeros, partial), yes, torch.ones(1, 1, 3, 1, dtype=torch.bool),
        torch.tensor([0, 0, 1]), 1.0,
    )  # fmt: skip
    assert out.flatten().tolist() == [1.0, 2.0, 5.5]
