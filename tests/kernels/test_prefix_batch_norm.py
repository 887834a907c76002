"""Causal batch normalisation by one scan, against the statistics of every prefix written out."""

import pytest
import torch
from torch.testing import assert_close

from primaldual.kernels.prefix_batch_norm import prefix_normalized_query


def definition(query, key, mask, beta, eps, first=0):
    """Scores up to a constant in the key, row by row; 0 before the first row, and where one key is seen at most."""
    key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    rows = []
    for row in range(query.shape[2]):
        keys = key[:, :, : row + 1]
        member = (
            torch.ones_like(keys[..., :1]) if mask is None else mask[..., : row + 1].transpose(-2, -1).to(key)
        )
        count = member.sum(-2, keepdim=True).clamp(min=1)
        mean = (keys * member).sum(-2, keepdim=True) / count
        variance = ((keys - mean).square() * member).sum(-2, keepdim=True) / count
        changed = query[:, :, row : row + 1] - beta * mean
        counts = row >= first and eps is not None
        rows.append(
            changed if eps is None else torch.where(count * counts > 1, changed / (variance + eps), 0.0)
        )
    return torch.cat(rows, 2)


@pytest.mark.parametrize("first", [0, 4])
@pytest.mark.parametrize("eps", [1e-2, None])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("length", [1, 2, 5, 16, 33])
def test_equals_definition(length, masked, eps, first):
    torch.manual_seed(length)
    query = torch.randn(2, 4, length, 3, dtype=torch.float64, requires_grad=True)
    key = (torch.randn(2, 2, length, 3, dtype=torch.float64) + 2).requires_grad_()
    beta = torch.rand(4, 1, 1, dtype=torch.float64, requires_grad=True)
    mask = None if not masked else torch.rand(2, 1, 1, length) > 0.4
    changed, moved = prefix_normalized_query(query, key, mask, beta, eps, first)
    wanted = definition(query, key, mask, beta, eps, first)
    assert_close(changed, wanted)
    gradient = torch.randn_like(changed)
    grads = torch.autograd.grad(changed, (query, key, beta), gradient, retain_graph=True)
    for found, expected in zip(grads, torch.autograd.grad(wanted, (query, key, beta), gradient), strict=True):
        assert_close(found, expected)
    member = torch.ones_like(key[..., :1], dtype=torch.bool) if mask is None else mask.transpose(-2, -1)
    shifts = (key - moved).masked_fill(~member, torch.nan)
    assert (shifts - shifts.nanmean(-2, keepdim=True)).nan_to_num().abs().max() < 1e-12


def test_a_far_mean_costs_no_digits():
    key = torch.randn(1, 1, 300, 4) * 0.1 + 100
    query = torch.randn(1, 1, 300, 4) + 100
    changed, _ = prefix_normalized_query(query, key, None, 1.0, 1e-5)
    wanted = definition(query.double(), key.double(), None, 1.0, 1e-5)
    assert_close(changed[:, :, 20:].double(), wanted[:, :, 20:], rtol=2e-3, atol=1e-2)
