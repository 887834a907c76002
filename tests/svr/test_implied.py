import pytest
import torch
from torch.testing import assert_close

import primaldual as pdl
from primaldual.errors import ArgumentError, UnsupportedError


def head(heads=2, length=16, head_dim=6, kv_heads=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(2, heads, 5, head_dim)] + 2 * [(2, kv_heads or heads, length, head_dim)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("spec", ["softmax", "bn", "constant", "conv(3)", "sh(1,3)", "conv(3)+bn+sh(2,1)"])
def test_solving_the_implied_regression_gives_the_values_back(spec, epsilon):
    query, key, value = head()
    problem = pdl.preset(spec).bind(2, 6).double()
    implied = pdl.implied_regression(problem, query, key, value, epsilon)
    solution = implied.solve(tolerance=1e-10)
    assert_close(solution.values, implied.values, rtol=1e-3, atol=1e-3)
    assert_close(solution.predict(query), implied.outputs, rtol=1e-4, atol=1e-5)
    assert_close(implied.outputs, problem.attend(query, key, value), rtol=0, atol=0)


def test_values_are_those_of_the_head_and_pooled_ones_their_means():
    query, key, value = head()
    implied = pdl.implied_regression("sh(1,2)", query, key, value)
    assert_close(implied.values[:, 0], value[:, 0])
    means = value[:, 1].unflatten(1, (8, 2)).mean(2).repeat_interleave(2, 1)
    assert_close(implied.values[:, 1], means)


def test_low_rank_heads_give_the_outputs_back():
    """Three features on sixteen keys leave the values open, not the function."""
    query, key, value = head()
    implied = pdl.implied_regression("linear", query[..., :3], key[..., :3], value)
    solution = implied.solve(tolerance=1e-11)
    assert_close(solution.predict(query[..., :3]), implied.outputs, rtol=1e-4, atol=1e-4)


def test_targets_stand_on_the_edge_of_the_tube_and_c_is_the_largest_coefficient():
    query, key, value = head()
    value[:, :, 3] = 0
    implied = pdl.implied_regression("bn", query, key, value, 0.2)
    assert_close(implied.targets - implied.fitted, 0.2 * value.sign(), rtol=0, atol=1e-12)
    assert not implied.support[:, :, 3].any()
    assert_close(implied.C.squeeze(-1), implied.coefficients.abs().amax((-2, -1)))
    assert (implied.at_bound.sum((-2, -1)) == 1).all()
    assert (implied.sum_of_coefficients != 0).all()


def test_shared_key_heads_and_padding():
    query, key, value = head(heads=4, kv_heads=2)
    mask = (torch.arange(16) < 12).view(1, 1, 16)
    spoiled = key.clone(), value.clone()
    spoiled[0][:, :, 12:], spoiled[1][:, :, 12:] = torch.nan, torch.inf
    masked = pdl.implied_regression("softmax", query, *spoiled, mask=mask)
    short = pdl.implied_regression("softmax", query, key[:, :, :12], value[:, :, :12])
    assert_close(masked.targets[:, :, :12], short.targets)
    assert_close(masked.outputs, short.outputs)
    assert_close(masked.solve().fitted[:, :, :12], short.solve().fitted, rtol=1e-2, atol=1e-3)


def test_zero_values_are_a_regression_too():
    query, key, value = head()
    implied = pdl.implied_regression("softmax", query, key, 0 * value)
    assert (implied.C == 1).all()
    assert not implied.solve().support.any()


def test_errors():
    query, key, value = head()
    with pytest.raises(ArgumentError, match="epsilon"):
        pdl.implied_regression("softmax", query, key, value, -1.0)
    with pytest.raises(UnsupportedError, match="window"):
        pdl.implied_regression("window(2)", query, key, value)
