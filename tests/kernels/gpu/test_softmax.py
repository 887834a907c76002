"""Softmax over prefixes, windows and masked keys in Triton against the formula, outputs and gradients."""

import itertools

import pytest
import torch
from tests.quick import one_in

from primaldual.kernels.gpu.attention import softmax_attention
from primaldual.kernels.gpu.softmax import Shape, Tile, attend
from primaldual.kernels.gpu.softmax_gradients import gradients

TILE = Tile(16, 16, 4, 1)
WHO_SEES_WHAT = {
    "all": (Shape(0.3), lambda i, j: j >= 0 * i),
    "causal": (Shape(0.3, True), lambda i, j: j <= i),
    "window": (Shape(0.3, False, (5, 5)), lambda i, j: (j - i).abs() <= 5),
    "causal window": (Shape(0.3, True, (5, 0)), lambda i, j: (j <= i) & (i - j <= 5)),
}


def attended(query, key, value, scale, allowed):
    """The formula; rows without a key give 0."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = (query @ key.mT * scale).masked_fill(~allowed, -1e30)
    return (scores.softmax(-1) * allowed) @ value


def distance(got, wanted):
    """Relative to the norm of what is wanted."""
    return ((got.double() - wanted).norm() / wanted.norm()).item()


@pytest.mark.parametrize(
    ("sizes", "seen", "masked"),
    one_in(
        5,
        itertools.product(
            [(37, 37, 8, 8, torch.float32), (20, 45, 16, 24, torch.float32), (33, 33, 16, 16, torch.float16)],
            WHO_SEES_WHAT,
            (False, True),
        ),
    ),
)
def test_outputs_and_gradients_are_those_of_the_formula(sizes, seen, masked, device):
    torch.manual_seed(0)
    queries, keys, width, wide, dtype = sizes
    shape, rule = WHO_SEES_WHAT[seen]
    query = torch.randn(2, 4, queries, width, dtype=dtype, device=device)
    key = torch.randn(2, 2, keys, width, dtype=dtype, device=device)
    value = torch.randn(2, 2, keys, wide, dtype=dtype, device=device)
    valid = (torch.rand(2, 1, keys, device=device) > 0.4).expand(2, 2, keys) if masked else None
    row, column = (
        torch.arange(queries, device=device)[:, None] + keys - queries,
        torch.arange(keys, device=device),
    )
    allowed = rule(row, column[None]).expand(2, 1, queries, keys)
    if valid is not None:
        allowed = allowed & valid[:, :1, None]
    wide_tensors = [tensor.double().requires_grad_() for tensor in (query, key, value)]
    wanted = attended(*wide_tensors, 0.3, allowed)
    gradient = torch.randn(wanted.shape, dtype=dtype, device=device)
    wanted_gradients = torch.autograd.grad(wanted, wide_tensors, gradient.double())
    outcome = attend(query, key, value, shape, valid=valid, tile=TILE)
    found = gradients(gradient, query, key, value, outcome, shape, valid=valid, tiles=(TILE, TILE))
    bound = 2e-6 if dtype == torch.float32 else 3e-3
    for got, wish in zip((outcome[0], *found[:3]), (wanted, *wanted_gradients), strict=True):
        assert distance(got, wish) < bound


def test_log_sum_exps_are_natural_and_minus_infinity_without_a_key(device):
    query, key = torch.randn(1, 1, 3, 8, device=device), torch.randn(1, 1, 5, 8, device=device)
    valid = torch.tensor([[[True, True, False, True, True]]], device=device)
    _, found = attend(query, key, key, Shape(0.5), valid=valid, tile=TILE)
    scores = (query @ key.mT * 0.5)[..., valid[0, 0]]
    torch.testing.assert_close(found, scores.logsumexp(-1), rtol=1e-5, atol=1e-5)
    _, found = attend(query, key, key, Shape(0.5), valid=torch.zeros_like(valid), tile=TILE)
    assert (found == -torch.inf).all()


def test_any_strides_are_served(device):
    torch.manual_seed(0)
    query, key, value = (
        torch.randn(2, 8, 3, 20, device=device).permute(0, 2, 3, 1).requires_grad_() for _ in range(3)
    )
    out = softmax_attention(query, key, value, Shape(0.3))
    everything = torch.ones(20, 20, dtype=torch.bool, device=device)
    wanted = attended(query.double(), key.double(), value.double(), 0.3, everything)
    assert distance(out, wanted) < 1e-6
    gradient = torch.randn(2, 3, 8, 20, device=device).mT
    found = torch.autograd.grad(out, (query, key, value), gradient)
    for got, wish in zip(
        found, torch.autograd.grad(wanted, (query, key, value), gradient.double()), strict=True
    ):
        assert distance(got, wish.double()) < 1e-5
