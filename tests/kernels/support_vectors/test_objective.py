import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.svr.helpers import dense_kernel, objectives, table
from torch.testing import assert_close

from primaldual.kernels.support_vectors.objective import Regression, best_intercept, certify, feasible, shrink


def regression(targets, penalty=1.0, epsilon=0.1, intercept=True):
    column = torch.ones(len(targets), 1, dtype=targets.dtype)
    return Regression(targets, penalty * column, epsilon * column, intercept)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 10), st.floats(0, 0.5), st.booleans())
def test_certificate_is_primal_and_dual(seed, penalty, epsilon, intercept):
    keys, targets = table(15, seed=seed)
    kernel, _ = dense_kernel("constant", keys)
    problem = regression(targets.T, penalty, epsilon, intercept)
    generator = torch.Generator().manual_seed(seed)
    beta = feasible(problem, 2 * penalty * torch.randn(2, 15, generator=generator, dtype=torch.float64))
    found = certify(problem, beta, beta @ kernel)
    for row in range(2):
        primal, dual = objectives(kernel, targets[:, row], beta[row], found.intercept[row], penalty, epsilon)
        assert_close(float(found.primal[row]), primal, rtol=1e-9, atol=1e-9)
        assert_close(float(found.gap[row]), primal - dual, rtol=1e-8, atol=1e-8)
        assert found.gap[row] >= 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.floats(0, 1))
def test_no_other_intercept_is_better(seed, length, epsilon):
    residual = torch.randn(1, length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    best = best_intercept(regression(residual, epsilon=epsilon), residual)

    def loss(intercept):
        return ((residual - intercept).abs() - epsilon).clamp(min=0).sum()

    others = torch.linspace(-4, 4, 161, dtype=torch.float64)
    assert all(loss(best) <= loss(other) + 1e-12 for other in others)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 20))
def test_feasible_coefficients_are_in_the_box_and_sum_to_zero(seed, length):
    generator = torch.Generator().manual_seed(seed)
    wild = 2 * torch.randn(3, length, generator=generator, dtype=torch.float64)
    wild[:, ::3] = 0
    problem = regression(wild)
    found = feasible(problem, wild)
    assert (found.abs() <= 1).all()
    assert_close(found.sum(-1), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)


def test_feasible_leaves_zeros_and_bounds_alone():
    beta = torch.tensor([[1.0, -1.0, 0.0, 0.3, -0.29]], dtype=torch.float64)
    found = feasible(regression(beta), beta)
    assert found[0, :3].tolist() == [1, -1, 0]
    assert abs(float(found.sum())) < 1e-15


def test_shrink_by_hand():
    point = torch.tensor([[-3.0, -0.5, 0.05, 0.3, 9.0]])
    found = shrink(point, torch.tensor([[0.1]]), torch.tensor([[2.0]]))
    assert_close(found, torch.tensor([[-2.0, -0.4, 0.0, 0.2, 2.0]]))


def test_one_pair_by_hand():
    """N = 1 with intercept: beta must be 0, b is the target, nothing is lost."""
    target = torch.tensor([[3.0]], dtype=torch.float64)
    found = certify(regression(target), torch.zeros_like(target), torch.zeros_like(target))
    assert (found.intercept.item(), found.primal.item(), found.relative_gap.item()) == (3, 0, 0)
