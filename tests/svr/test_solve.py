"""Solutions against their definition, scikit-learn and an independent solver of quadratic programs."""

import clarabel
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.svm import SVR
from torch.testing import assert_close

import primaldual as pdl
from primaldual.errors import ArgumentError, ShapeError
from tests.svr.helpers import dense_kernel, objectives, table

SPECS = ("softmax", "bn", "linear", "linear+bn", "constant", "linear+constant")


def quadratic_program(kernel, target, penalty, epsilon, intercept):
    """beta = alpha - alpha~ from the dual as it stands in textbooks, 2 N variables."""
    size = len(target)
    unit = np.trace(kernel) / size
    block = sparse.triu(sparse.csc_matrix(np.block([[kernel, -kernel], [-kernel, kernel]]) / unit)).tocsc()
    linear = np.concatenate([epsilon - target, epsilon + target])
    rows, bounds, cones = [], [], []
    if intercept:
        rows.append(sparse.csc_matrix(np.concatenate([np.ones(size), -np.ones(size)])[None]))
        bounds.append(np.zeros(1))
        cones.append(clarabel.ZeroConeT(1))
    rows += [sparse.eye(2 * size), -sparse.eye(2 * size)]
    bounds += [np.full(2 * size, penalty * unit), np.zeros(2 * size)]
    cones.append(clarabel.NonnegativeConeT(4 * size))
    options = clarabel.DefaultSettings()
    options.verbose = False
    options.tol_gap_rel = options.tol_gap_abs = options.tol_feas = 1e-12
    solver = clarabel.DefaultSolver(
        block, linear, sparse.vstack(rows).tocsc(), np.concatenate(bounds), cones, options
    )
    found = np.array(solver.solve().x)
    return (found[:size] - found[size:]) / unit


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("factor", [0.1, 10.0, 1000.0])
@pytest.mark.parametrize("spec", SPECS)
def test_objectives_by_definition(spec, factor, intercept):
    keys, targets = table()
    penalty = factor / pdl.kernel_scale(spec, keys)
    solution = pdl.solve(spec, keys, targets, penalty, 0.1, intercept=intercept)
    kernel, h = dense_kernel(spec, keys)
    assert solution.duality_gap <= 1e-6
    assert (solution.coefficients.abs() <= penalty).all()
    for output in range(targets.shape[1]):
        beta = solution.coefficients[:, output]
        primal, dual = objectives(kernel, targets[:, output], beta, solution.intercept[output], penalty, 0.1)
        assert_close(float(solution.primal_objective[output]), primal, rtol=1e-7, atol=0)
        assert_close(float(solution.dual_objective[output]), dual, rtol=1e-6, atol=0)
        assert primal - dual <= 2e-6 * abs(primal)
        assert_close(solution.values[:, output], beta / h)
        if intercept:
            assert abs(float(beta.sum())) <= 1e-10 * penalty * len(keys)
        else:
            assert solution.intercept[output] == 0


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("spec", ["softmax", "bn", "constant"])
def test_coefficients_of_an_independent_solver(spec, intercept):
    keys, targets = table(50, 4)
    penalty = 10 / pdl.kernel_scale(spec, keys)
    solution = pdl.solve(spec, keys, targets, penalty, intercept=intercept, tolerance=1e-11)
    kernel, _ = dense_kernel(spec, keys)
    for output in range(targets.shape[1]):
        other = quadratic_program(kernel.numpy(), targets[:, output].numpy(), penalty, 0.1, intercept)
        assert_close(
            solution.coefficients[:, output] / penalty, torch.from_numpy(other) / penalty, rtol=0, atol=1e-7
        )
        offset = solution.intercept[output]
        assert_close(
            solution.predict(keys)[:, output], kernel @ torch.from_numpy(other) + offset, rtol=0, atol=1e-7
        )


class Looked(pdl.FeatureMap):
    """A kernel matrix by the numbers of its rows."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = matrix

    def kernel(self, query, key):
        return self.matrix[query[..., 0].long().unsqueeze(-1), key[..., 0].long().unsqueeze(-2)]


@pytest.mark.parametrize("spec", ["softmax", "bn", "constant"])
def test_coefficients_and_predictions_of_scikit_learn(spec):
    """libsvm keeps kernels in single precision, so both get one that is exact in it."""
    keys, targets = table(50, 4)
    kernel, _ = dense_kernel(spec, keys)
    kernel = (kernel / pdl.kernel_scale(spec, keys)).float().double()
    problem = pdl.PrimalProblem(Looked(kernel), pdl.Constant())
    numbers = torch.arange(50.0).unsqueeze(-1)
    solution = pdl.solve(problem, numbers, targets, 10.0, tolerance=1e-11)
    for output in range(targets.shape[1]):
        fitted = SVR(kernel="precomputed", C=10, epsilon=0.1, tol=1e-11)
        fitted.fit(kernel.numpy(), targets[:, output].numpy())
        coefficients = np.zeros(50)
        coefficients[fitted.support_] = fitted.dual_coef_[0]
        assert_close(solution.coefficients[:, output], torch.from_numpy(coefficients), rtol=0, atol=1e-6)
        predicted = torch.from_numpy(fitted.predict(kernel.numpy()))
        assert_close(solution.predict(numbers)[:, output], predicted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("spec", ["softmax", "bn", "linear", "conv(3)"])
def test_gap_on_five_hundred_pairs_and_sixteen_outputs(spec):
    keys, targets = table(500, 8, 16)
    for penalty in (1.0, 1 / pdl.kernel_scale(spec, keys), 100 / pdl.kernel_scale(spec, keys)):
        assert pdl.solve(spec, keys, targets, penalty).duality_gap <= 1e-6


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(SPECS), st.integers(1, 30), st.integers(1, 4), st.floats(1e-3, 1e4), st.floats(0, 1),
    st.booleans(), st.integers(0, 10**6),
)  # fmt: skip
def test_any_regression_is_solved(spec, length, features, factor, epsilon, intercept, seed):
    keys, targets = table(length, features, 2, seed)
    kernel, _ = dense_kernel(spec, keys)
    deviation = 1 - float(kernel.mean() / kernel.diagonal().mean())
    # A kernel that is constant to ten digits leaves six of sixteen to the solution.
    assume(deviation < 1e-13 or deviation > 1e-6)
    penalty = factor / pdl.kernel_scale(spec, keys)
    solution = pdl.solve(spec, keys, targets, penalty, epsilon, intercept=intercept)
    assert solution.duality_gap <= 1e-6
    assert_close(solution.predict(keys), solution.fitted, rtol=1e-6, atol=1e-8)
    for output in range(2):
        beta = solution.coefficients[:, output]
        primal, dual = objectives(
            kernel, targets[:, output], beta, solution.intercept[output], penalty, epsilon
        )
        assert primal - dual <= 2e-6 * max(abs(primal), abs(dual)) + 1e-12 * penalty


def test_free_support_vectors_stand_on_the_edge_of_the_tube():
    keys, targets = table()
    penalty = 1 / pdl.kernel_scale("softmax", keys)
    solution = pdl.solve("softmax", keys, targets, penalty, 0.1, tolerance=1e-11)
    residual = targets - solution.fitted
    free = solution.support & (solution.coefficients.abs() < penalty)
    assert free.any()
    assert_close(residual[free], 0.1 * solution.coefficients[free].sign(), rtol=0, atol=1e-6)
    assert (residual[~solution.support].abs() <= 0.1 + 1e-6).all()
    bound = solution.support & ~free
    assert bound.any()
    assert (residual[bound] * solution.coefficients[bound].sign() >= 0.1 - 1e-6).all()


def test_pooled_heads_are_fitted_on_pooled_pairs():
    keys, targets = table(41, 3)
    pooled = [torch.stack([rows.mean(0) for rows in tensor.split(2)]) for tensor in (keys, targets)]
    penalty = 10 / pdl.kernel_scale("softmax", pooled[0])
    alone = pdl.solve("softmax", *pooled, penalty, tolerance=1e-10)
    inside = pdl.solve("sh(2)", keys, targets, penalty, tolerance=1e-10)
    assert_close(inside.coefficients[::2], alone.coefficients, rtol=1e-4, atol=1e-5 * penalty)
    queries = torch.randn(7, 3, dtype=torch.float64)
    assert_close(inside.predict(queries), alone.predict(queries), rtol=1e-6, atol=1e-7)
    assert_close(inside.predict(pooled[0]), inside.fitted[::2], rtol=1e-8, atol=1e-10)


def test_convolved_keys_are_the_training_inputs():
    keys, targets = table(30, 3)
    problem = pdl.preset("conv(3)").bind(1, 3).double()
    with torch.no_grad():
        problem.transform.weight.copy_(torch.tensor([0.3, 1.0, -0.4], dtype=torch.float64))
    padded = torch.nn.functional.pad(keys, (0, 0, 1, 1))
    convolved = 0.3 * padded[:-2] + padded[1:-1] - 0.4 * padded[2:]
    penalty = 10 / pdl.kernel_scale("softmax", convolved)
    inside = pdl.solve(problem, keys, targets, penalty, tolerance=1e-10)
    alone = pdl.solve("softmax", convolved, targets, penalty, tolerance=1e-10)
    assert_close(inside.coefficients, alone.coefficients, rtol=1e-4, atol=1e-5 * penalty)
    assert_close(inside.predict(convolved), inside.fitted, rtol=1e-8, atol=1e-10)


def test_batches_heads_and_masks_are_problems_of_their_own():
    keys, targets = (torch.stack([tensor] * 3) for tensor in table(24, 3))
    keys, targets = (tensor + torch.arange(3).view(3, 1, 1) * 0.1 for tensor in (keys, targets))
    keys, targets = torch.stack([keys, 2 * keys]), torch.stack([targets, targets + 1])
    mask = torch.ones(2, 3, 24, dtype=torch.bool)
    mask[0, :, 20:] = False
    mask[1, 2] = False
    keys[0, :, 20:], targets[0, :, 20:] = torch.nan, torch.inf
    keys[1, 2], targets[1, 2] = torch.nan, torch.inf
    spec = "bn+sh(1,2,3)"
    scale = pdl.kernel_scale(spec, keys, mask)
    whole = pdl.solve(spec, keys, targets, 10 / scale, mask=mask, tolerance=1e-9)
    assert (whole.coefficients[~mask] == 0).all()
    assert whole.values.isfinite().all()
    for case, head in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]:
        rows = mask[case, head]
        alone = pdl.solve(
            f"bn+sh({head + 1})", keys[case, head][rows], targets[case, head][rows],
            10 / scale[case, head], tolerance=1e-9,
        )  # fmt: skip
        assert_close(whole.fitted[case, head][rows], alone.fitted, rtol=1e-5, atol=1e-6)
        assert_close(whole.primal_objective[case, head], alone.primal_objective, rtol=1e-7, atol=0)


def test_a_penalty_for_every_output():
    keys, targets = table()
    penalties = torch.tensor([10.0, 1000.0], dtype=torch.float64) / pdl.kernel_scale("bn", keys)
    both = pdl.solve("bn", keys, targets, penalties)
    for output, penalty in enumerate(penalties):
        alone = pdl.solve("bn", keys, targets[:, output : output + 1], float(penalty))
        assert_close(both.primal_objective[output], alone.primal_objective[0], rtol=1e-5, atol=0)


def test_a_path_is_the_solutions_one_by_one():
    keys, targets = table(120, 6)
    scale = pdl.kernel_scale("softmax", keys)
    penalties = [1 / scale, 3 / scale, 10 / scale]
    path = pdl.solve_path("softmax", keys, targets, penalties)
    for solution, penalty in zip(path, penalties, strict=True):
        alone = pdl.solve("softmax", keys, targets, penalty)
        assert_close(solution.primal_objective, alone.primal_objective, rtol=3e-6, atol=0)


def test_a_warm_start_saves_the_steps():
    keys, targets = table(300, 8)
    penalty = 10 / pdl.kernel_scale("softmax", keys)
    calls = []
    solution = pdl.solve("softmax", keys, targets, penalty, progress=lambda *report: calls.append(report))
    assert calls
    assert all(unsolved <= 2 for unsolved, _ in calls)
    again = pdl.solve(
        "softmax", keys, targets, penalty, start=solution, progress=lambda *report: pytest.fail("worked")
    )
    assert_close(again.coefficients, solution.coefficients, rtol=1e-9, atol=1e-9 * penalty)


def test_float32_is_accepted():
    keys, targets = table(dtype=torch.float32)
    solution = pdl.solve(
        "bn", keys, targets, 1 / pdl.kernel_scale("bn", keys), tolerance=1e-3, dtype=torch.float32
    )
    assert solution.values.dtype == torch.float32
    assert solution.duality_gap <= 1e-3


def test_arrays_are_accepted():
    keys, targets = table()
    assert pdl.solve("bn", keys.numpy(), targets.numpy()).duality_gap <= 1e-6


@pytest.mark.parametrize("spec", ["softmax", "bn"])
def test_weighted_errors_are_those_of_scikit_learn(spec):
    keys, targets = table(50, 4)
    kernel, _ = dense_kernel(spec, keys)
    kernel = (kernel / pdl.kernel_scale(spec, keys)).float().double()
    problem = pdl.PrimalProblem(Looked(kernel), pdl.Constant())
    numbers = torch.arange(50.0).unsqueeze(-1)
    weights = torch.linspace(0.1, 3, 50, dtype=torch.float64)
    solution = pdl.solve(problem, numbers, targets, 2.0, weights=weights, tolerance=1e-11)
    for output in range(targets.shape[1]):
        fitted = SVR(kernel="precomputed", C=2, epsilon=0.1, tol=1e-11)
        fitted.fit(kernel.numpy(), targets[:, output].numpy(), sample_weight=weights.numpy())
        predicted = torch.from_numpy(fitted.predict(kernel.numpy()))
        assert_close(solution.predict(numbers)[:, output], predicted, rtol=0, atol=1e-6)
    assert (solution.coefficients.abs() <= 2 * weights.unsqueeze(-1)).all()


@pytest.mark.parametrize("spec", ["softmax", "linear", "sh(2)"])
@pytest.mark.parametrize("intercept", [True, False])
def test_equal_weights_are_a_factor_of_the_penalty(spec, intercept):
    keys, targets = table(30)
    penalty = 2 / pdl.kernel_scale(spec, keys)
    options = {"intercept": intercept, "tolerance": 1e-9}
    weighted = pdl.solve(spec, keys, targets, penalty, weights=torch.full((30,), 3.0), **options)
    plain = pdl.solve(spec, keys, targets, 3 * penalty, **options)
    assert_close(weighted.predict(keys), plain.predict(keys), rtol=1e-4, atol=1e-5)
    assert weighted.duality_gap <= 1e-9


def test_weights_of_masked_pairs_do_not_matter():
    keys, targets = table(20)
    mask = torch.arange(20) < 15
    weights = torch.where(mask, torch.linspace(1, 2, 20), -1.0)
    found = pdl.solve("softmax", keys, targets, 1e4, mask=mask, weights=weights)
    alone = pdl.solve("softmax", keys[:15], targets[:15], 1e4, weights=weights[:15])
    assert_close(found.predict(keys), alone.predict(keys), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (torch.zeros(20), ArgumentError, "weights must be above 0"),
        (torch.full((20,), torch.inf), ArgumentError, "weights must be above 0"),
        (torch.ones(19), ShapeError, r"weights must broadcast to \(20,\); got shape \(19,\)"),
        ("many", ArgumentError, "weights must be a tensor"),
    ],
)
def test_weights_that_are_refused(weights, error, message):
    with pytest.raises(error, match=message):
        pdl.solve("softmax", *table(20), weights=weights)


def test_the_usual_penalty_follows_the_units_of_kernel_and_targets():
    keys = torch.linspace(-2, 2, 60, dtype=torch.float64).unsqueeze(-1)
    targets = (2 * keys).sin()
    solution = pdl.solve("softmax", keys, targets)
    assert (solution.predict(keys) - targets).abs().max() < 0.3
    assert_close(float(solution.C), float(targets.std(correction=0)) / pdl.kernel_scale("softmax", keys))
    larger = pdl.solve("softmax", keys, 1e4 * targets, epsilon=1e3)
    assert_close(larger.predict(keys) / 1e4, solution.predict(keys), rtol=1e-3, atol=1e-4)
    assert pdl.solve("softmax", keys, torch.ones(60, 1)).predict(keys).sub(1).abs().max() < 1e-9
