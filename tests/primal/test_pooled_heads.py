"""Scaled heads by hand: which pairs a head is fitted on, and what they count."""

import math

import pytest
import torch
from torch.testing import assert_close

from primaldual import preset
from primaldual.errors import ArgumentError

KEYS = torch.tensor([0.0, 2.0, 4.0, 6.0, 10.0]).view(1, 1, 5, 1).double()


def softmax_of(pairs, counts=None):
    """The attention of a query of 1 to pairs of equal keys and values, with counts."""
    pairs = torch.tensor(pairs, dtype=torch.float64)
    weights = pairs.exp() if counts is None else pairs.exp() * torch.tensor(counts)
    return float((weights * pairs).sum() / weights.sum())


@pytest.mark.parametrize(
    ("spec", "mask", "pairs", "counts"),
    [
        ("sh(2)", None, [1.0, 5.0, 10.0], None),
        ("sh(3)", None, [2.0, 8.0], None),
        ("sh(9)", None, [4.4], None),
        ("sh(2)", [1, 1, 0, 1, 1], [1.0, 6.0, 10.0], None),
        ("sh(2)", [1, 1, 0, 0, 1], [1.0, 10.0], None),
        ("sh(2,prefix=1)", None, [0.0, 3.0, 8.0], None),
        ("sh(2,suffix=1)", None, [1.0, 5.0, 10.0], None),
        ("sh(2,suffix=2)", None, [1.0, 4.0, 6.0, 10.0], None),
        ("sh(3,weighted=true)", None, [2.0, 8.0], [3, 2]),
        ("sh(2,weighted=true)", [1, 1, 0, 1, 1], [1.0, 6.0, 10.0], [2, 1, 1]),
    ],
)
def test_pairs_are_means_of_windows(spec, mask, pairs, counts):
    problem, query = preset(spec).bind(1, 1), torch.ones(1, 1, 1, 1).double()
    allowed = None if mask is None else torch.tensor(mask).bool()
    for compute in (problem.attend, problem.dense):
        assert math.isclose(float(compute(query, KEYS, KEYS, allowed)), softmax_of(pairs, counts))


def test_causal_heads_see_complete_windows_and_their_own_so_far():
    found = preset("sh(2)").attend(torch.ones_like(KEYS), KEYS, KEYS, is_causal=True).flatten()
    wanted = [[0.0], [1.0], [1.0, 4.0], [1.0, 5.0], [1.0, 5.0, 10.0]]
    assert_close(found, torch.tensor([softmax_of(pairs) for pairs in wanted]).double())


def test_patches_of_an_image_are_pooled_with_lone_tokens_in_front():
    keys = torch.arange(7).double().view(1, 1, 7, 1)
    found = preset("sh(2,grid=2x3,prefix=1)").attend(torch.ones(1, 1, 1, 1).double(), keys, keys)
    assert math.isclose(float(found), softmax_of([0.0, (1 + 2 + 4 + 5) / 4, (3 + 6) / 2]))


def test_every_head_has_its_own_scale():
    keys = KEYS.expand(1, 4, 5, 1)
    out = preset("sh").bind(4, 1).attend(torch.ones(1, 4, 1, 1).double(), keys, keys).flatten()
    assert_close(out[0], out[1])
    assert_close(out[2:], torch.tensor([softmax_of([1.0, 5.0, 10.0]), softmax_of([3.0, 10.0])]).double())


@pytest.mark.parametrize("spec", ["sh(0)", "sh(-1,2)", "sh(1.5)"])
def test_bad_scales(spec):
    with pytest.raises(ValueError, match="scales must be integers 1 or more"):
        preset(spec)


def test_scales_must_match_the_heads():
    with pytest.raises(ArgumentError, match="one for each of the 3 heads; got 2"):
        preset("sh(1,2)").bind(3, 4)
