"""The reference itself, worked by hand."""

import torch
from torch.testing import assert_close

from primaldual.kernels import dense


def test_training_set_pools_the_allowed_members():
    key = torch.tensor([1.0, 3.0, 5.0]).view(1, 1, 3, 1)
    allowed = torch.tensor([[True, False, True], [False, False, False]]).view(1, 1, 2, 3)
    membership = torch.tensor([[True, True, False], [False, False, True]])
    keys, values, valid, shares = dense.training_set(key, key * 2, allowed, membership)
    assert keys.flatten().tolist() == [1.0, 5.0, 0.0, 0.0]
    assert values.flatten().tolist() == [2.0, 10.0, 0.0, 0.0]
    assert valid.flatten().tolist() == [True, True, False, False]
    assert shares.flatten(0, 2)[0].tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


def test_statistics_of_an_empty_set_are_zero():
    mean, variance = dense.statistics(torch.randn(1, 1, 1, 3, 2), torch.zeros(1, 1, 1, 3, dtype=torch.bool))
    assert mean.eq(0).all()
    assert variance.eq(0).all()


def test_weighted_sum_with_values_by_query():
    weights = torch.tensor([[0.25, 0.75], [1.0, 0.0]]).view(1, 1, 2, 2)
    values = torch.tensor([[[4.0], [8.0]], [[1.0], [2.0]]]).view(1, 1, 2, 2, 1)
    assert_close(dense.weighted_sum(weights, values).flatten(), torch.tensor([7.0, 1.0]))
