"""Causal attention to weighted pooled pairs: hand-worked pairs, and the definition."""

import math

import pytest
import torch
from torch.testing import assert_close

from primaldual import preset
from primaldual.kernels.weighted_prefix import running_pairs


def rows(*numbers):
    return torch.tensor(numbers, dtype=torch.float64).view(1, 1, -1, 1)


def test_running_pairs_by_hand():
    """Members 1 and 4 of scores 0 and log 3 have shares 1/4 and 3/4: pair 3.25, log weight log 4 - 3/4 log 3."""
    pairs = running_pairs(rows(1, 4, 7), rows(10, 40, 70), rows(0, math.log(3), 5), 2, None)
    assert_close(pairs.key, rows(1, 3.25, 7))
    assert_close(pairs.value, rows(10, 32.5, 70))
    assert_close(pairs.log_weight, rows(0, math.log(4) - 0.75 * math.log(3), 0))
    assert pairs.ends(2).key.flatten().tolist() == [3.25, 7]


def test_masked_positions_are_no_members():
    mask = torch.tensor([False, True, False, False]).view(1, 1, 1, 4)
    pairs = running_pairs(rows(1, 4, 7, 8), rows(10, 40, 70, 80), rows(9, 0, 9, 9), 2, mask)
    assert pairs.present.flatten().tolist() == [False, True, False, False]
    assert pairs.key.flatten().tolist() == [0, 4, 0, 0]
    assert pairs.log_weight.flatten().tolist() == [0, 0, 0, 0]


def test_a_large_later_score_changes_no_earlier_pair():
    scores = rows(0, 1, 2000)
    found = running_pairs(rows(1, 2, 3), rows(1, 2, 3), scores, 3, None)
    alone = running_pairs(rows(1, 2), rows(1, 2), scores[:, :, :2], 3, None)
    assert torch.equal(found.key[:, :, :2], alone.key)
    assert torch.equal(found.log_weight[:, :, :2], alone.log_weight)
    assert found.key[0, 0, 2, 0] == 3


@pytest.mark.parametrize(
    "spec", ["sh(2,3,weighted=true)", "anchored(3,5)", "bn+anchored(2,4)", "anchored(4,4)+sink(0.3)"]
)
@pytest.mark.parametrize(("length", "dropped"), [(1, False), (3, True), (23, True), (70, False)])
def test_equals_definition(spec, length, dropped):
    """By the kernel, and by the matrices that serve where it cannot run: for fewer queries than keys."""
    torch.manual_seed(length)
    problem = preset(spec).bind(2, 5).double()
    for parameter in problem.parameters():
        torch.nn.init.normal_(parameter)
    inputs = [
        torch.randn(2, heads, length, 5, dtype=torch.float64, requires_grad=True) for heads in (2, 1, 1)
    ]
    mask = torch.rand(2, 1, 1, length) > 0.4 if dropped else None
    for first in (0, length // 2):
        given = inputs[0][:, :, first:], *inputs[1:]
        leaves = [*inputs, *problem.parameters()]
        found, wanted = (compute(*given, mask, True) for compute in (problem.attend, problem.dense))
        assert_close(found, wanted, rtol=0, atol=1e-9)
        gradient = torch.randn_like(found)
        grads = [torch.autograd.grad(out, leaves, gradient, allow_unused=True) for out in (found, wanted)]
        for one, other in zip(*grads, strict=True):
            if other is not None:
                assert (one - other).norm() <= 1e-6 * other.norm() + 1e-9


def test_scores_of_members_keep_their_digits_in_half_precision():
    """Scores near 100 that differ by less than bfloat16 can tell: with a sink keys are in the type of the queries."""
    torch.manual_seed(0)
    problem = preset("anchored(4,4)+sink(0.3)").bind(2, 8)
    torch.nn.init.constant_(problem.subset.anchor, 12.0)
    query, key, value = (torch.randn(1, 2, 32, 8).bfloat16() for _ in range(3))
    key = (key.float() * 0.1 + 1).bfloat16()
    out = problem.attend(query, key, value, is_causal=True)
    exact = problem.double().dense(query.double(), key.double(), value.double(), is_causal=True)
    assert (out.double() - exact).norm() <= 0.01 * exact.norm()
