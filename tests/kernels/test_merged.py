"""Most keys by the blockwise kernel, a few of every query by hand, in one softmax."""

import math

import pytest
import torch
from torch.testing import assert_close

from primaldual.kernels.merged import later, merged_attention, near_scores


def test_by_hand():
    """Query 1 scores key 0 as far: exp(log 2) to value 3; key 1 as near: exp(log 4) to value 9."""
    query, key = torch.ones(1, 1, 2, 1).double(), torch.tensor([math.log(2), 50.0]).double().view(1, 1, 2, 1)
    value, near = (
        torch.tensor([3.0, 9.0]).double().view(1, 1, 2, 1),
        torch.full((1, 1, 2, 1), math.log(4)).double(),
    )
    out = merged_attention(query, key, value, None, 1.0, near)
    assert_close(out.flatten(), torch.tensor([3.0, (2 * 3 + 4 * 9) / 6]).double())


@pytest.mark.parametrize("length", [1, 2, 3, 11])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_one_softmax_over_both(length, masked):
    torch.manual_seed(0)
    query, key, value, *others = (
        torch.randn(2, 3, length, 4, dtype=torch.float64, requires_grad=True) for _ in range(5)
    )
    mask = torch.rand(2, 1, 1, length) > 0.4 if masked else None
    found = merged_attention(query, key, value, mask, 0.7, near_scores(query, others, 0.7))
    scores = 0.7 * query @ key.mT
    for place, other in enumerate(others):
        own = 0.7 * (query * later(other, place)).sum(-1)
        beside = torch.arange(length)[:, None] - torch.arange(length) == place
        scores = torch.where(beside, own.unsqueeze(-1), scores)
    allowed = torch.ones(length, length, dtype=torch.bool).tril()
    allowed = allowed if mask is None else allowed & mask
    wanted = scores.masked_fill(~allowed, -torch.inf).softmax(-1).nan_to_num() @ value
    assert_close(found, wanted)
    seed = torch.randn_like(found)
    leaves = [query, key, value, *others]
    grads = (torch.autograd.grad(out, leaves, seed, allow_unused=True) for out in (found, wanted))
    for a, b in zip(*grads, strict=True):
        assert_close(
            torch.zeros(()) if a is None else a, torch.zeros(()) if b is None else b, check_dtype=False
        )
