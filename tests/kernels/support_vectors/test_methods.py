"""Interior point, splitting and low rank against each other and against linear algebra."""

import pytest
import torch
from tests.kernels.support_vectors.test_objective import regression
from tests.svr.helpers import dense_kernel, table
from torch.testing import assert_close

from primaldual.kernels.support_vectors.interior_point import interior_point
from primaldual.kernels.support_vectors.low_rank import nearly_factored
from primaldual.kernels.support_vectors.objective import certify
from primaldual.kernels.support_vectors.operators import DenseKernel, FactoredKernel
from primaldual.kernels.support_vectors.splitting import Resolvent, splitting


def silent(unsolved, gap):
    assert unsolved >= 1
    assert gap >= 0


def unit_kernel(spec="constant", length=60, features=3):
    keys, targets = table(length, features)
    kernel, _ = dense_kernel(spec, keys)
    return kernel / kernel.diagonal().mean(), targets.T.contiguous()


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("penalty", [0.01, 1.0, 100.0])
def test_methods_agree(penalty, intercept):
    kernel, targets = unit_kernel()
    problem = regression(targets, penalty, intercept=intercept)
    inner, first = interior_point(DenseKernel(kernel), problem, 1e-10, 100, silent)
    outer, second = splitting(Resolvent(kernel, 0.1), problem, 1e-10, 3000, torch.zeros_like(targets), silent)
    assert first.relative_gap.max() <= 1e-10
    assert second.relative_gap.max() <= 1e-10
    assert_close(inner @ kernel, outer @ kernel, rtol=1e-6, atol=1e-6)


def test_certificates_are_those_of_the_coefficients():
    kernel, targets = unit_kernel()
    problem = regression(targets)
    for beta, found in (
        interior_point(DenseKernel(kernel), problem, 1e-6, 3, silent),
        splitting(Resolvent(kernel, 0.1), problem, 1e-6, 20, torch.zeros_like(targets), silent),
    ):
        again = certify(problem, beta, beta @ kernel)
        assert found.relative_gap.max() > 1e-6, "stopped early"
        for reported, true in zip(found, again, strict=True):
            assert_close(reported, true, rtol=1e-9, atol=1e-9)


def test_factored_kernel_is_its_dense_product():
    keys, targets = table(80, 4)
    features = (torch.nn.functional.elu(keys) + 1) / 3
    dense, factored = DenseKernel(features @ features.T), FactoredKernel(features)
    rows = targets.T.contiguous()
    assert_close(factored.times(rows), dense.times(rows))
    diagonal = torch.logspace(-6, 6, 80, dtype=torch.float64).expand(2, -1)
    found = factored.shifted(diagonal)(rows)
    whole = dense.matrix + torch.diag_embed(diagonal)
    assert_close(found, torch.linalg.solve(whole, rows.unsqueeze(-1)).squeeze(-1), rtol=1e-6, atol=1e-8)
    assert_close(dense.shifted(diagonal)(rows), found, rtol=1e-6, atol=1e-8)
    problem = regression(rows, 5.0)
    first, second = (interior_point(kernel, problem, 1e-9, 100, silent)[1] for kernel in (dense, factored))
    assert_close(first.primal, second.primal, rtol=1e-8, atol=0)


def test_stacked_kernels_are_solved_as_alone():
    kernels, targets = zip(*(unit_kernel(spec) for spec in ("constant", "softmax", "bn")), strict=True)
    problem = regression(torch.stack([rows[0] for rows in targets]))
    stacked, _ = interior_point(DenseKernel(torch.stack(kernels)), problem, 1e-9, 100, silent)
    for row, kernel in enumerate(kernels):
        alone, _ = interior_point(DenseKernel(kernel), problem.rows(torch.tensor([row])), 1e-9, 100, silent)
        assert_close(stacked[row], alone[0], rtol=1e-5, atol=1e-6)


def test_smooth_kernels_are_nearly_factored_and_others_not():
    smooth, targets = unit_kernel(length=400, features=1)
    found = nearly_factored(DenseKernel(smooth))
    assert found.features.shape[1] < 50
    assert_close(found.features @ found.features.T, smooth, rtol=0, atol=1e-3)
    problem = regression(targets, 10.0)
    approximate, exact = (
        interior_point(kernel, problem, 1e-9, 100, silent)[1] for kernel in (found, DenseKernel(smooth))
    )
    assert approximate.relative_gap.max() <= 1e-9
    assert_close(approximate.primal, exact.primal, rtol=1e-8, atol=0)
    rough, _ = unit_kernel(length=400, features=8)
    assert nearly_factored(DenseKernel(rough)) is None
    assert nearly_factored(DenseKernel(torch.zeros(9, 9))).features.shape == (9, 1)


def test_a_start_at_the_solution_needs_no_steps():
    kernel, targets = unit_kernel()
    problem = regression(targets)
    resolvent = Resolvent(kernel, 0.1)
    beta, _ = splitting(resolvent, problem, 1e-9, 1000, torch.zeros_like(targets), silent)
    again, found = splitting(resolvent, problem, 1e-8, 0, beta, silent)
    assert found.relative_gap.max() <= 1e-8
    assert_close(again, beta, rtol=0, atol=1e-12)


def test_zeros_and_bounds_are_exact():
    kernel, targets = unit_kernel()
    problem = regression(targets, 0.5)
    for beta in (
        interior_point(DenseKernel(kernel), problem, 1e-6, 100, silent)[0],
        splitting(Resolvent(kernel, 0.1), problem, 1e-6, 1000, torch.zeros_like(targets), silent)[0],
    ):
        assert (beta == 0).any()
        assert (beta.abs() == 0.5).any()
