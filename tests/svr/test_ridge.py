import numpy as np
import pytest
import torch
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge

from primaldual.errors import ShapeError, UnsupportedError
from primaldual.svr.ridge import PENALTIES, choose_ridge, solve_ridge

LINEAR = "taylor(1)+constant"


def table(cases=25, features=6, outputs=3):
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(cases, features, generator=generator, dtype=torch.float64)
    targets = keys[:, :outputs].sin() + 0.1 * torch.randn(
        cases, outputs, generator=generator, dtype=torch.float64
    )
    return keys, targets


def in_sklearn_units(keys, penalty):
    """taylor(1) divides dot products by the root of the width, and a penalty counts in units of the kernel."""
    centred = keys - keys.mean(0)
    return penalty * float(centred.square().sum(1).mean())


@pytest.mark.parametrize("penalty", [1e-3, 0.1, 10.0])
def test_left_out_predictions_are_those_of_explicit_fits(penalty):
    keys, targets = table()
    choice = choose_ridge(LINEAR, keys, targets, lambda _: 0.0, [penalty])
    alpha = in_sklearn_units(keys, penalty)
    for case in range(len(keys)):
        others = np.arange(len(keys)) != case
        model = Ridge(alpha=alpha).fit(keys[others], targets[others])
        np.testing.assert_allclose(model.predict(keys[case : case + 1])[0], choice.left_out[case], rtol=1e-8)


def test_softmax_left_out_predictions_with_frozen_normalisers():
    keys, targets = table(cases=15)
    choice = choose_ridge("softmax(scale=0.5)", keys, targets, lambda _: 0.0, [0.1])
    kernel = (0.5 * keys @ keys.T).exp()
    kernel = kernel / kernel.sum(1) / kernel.sum(1, keepdim=True)
    centred = kernel - kernel.mean(0) - kernel.mean(0).unsqueeze(1) + kernel.mean()
    alpha = 0.1 * float(centred.diagonal().mean())
    for case in range(15):
        others = np.arange(15) != case
        block = kernel[others][:, others].numpy()
        middle = block - block.mean(0) - block.mean(0)[:, None] + block.mean()
        row = kernel[case][others].numpy()
        row = row - block.mean(0) - row.mean() + block.mean()
        goal = targets[others].numpy()
        model = KernelRidge(alpha=alpha, kernel="precomputed").fit(middle, goal - goal.mean(0))
        np.testing.assert_allclose(
            model.predict(row[None])[0] + goal.mean(0), choice.left_out[case], rtol=1e-8
        )


def test_the_penalty_with_the_best_score_is_chosen():
    keys, targets = table()

    def score(left_out):
        return -float((left_out - targets).square().mean())

    best = choose_ridge(LINEAR, keys, targets, score)
    scores = [choose_ridge(LINEAR, keys, targets, score, [penalty]).score for penalty in PENALTIES]
    assert best.penalty == PENALTIES[int(np.argmax(scores))]
    assert best.score == pytest.approx(max(scores))


@pytest.mark.parametrize("penalty", [1e-3, 10.0])
def test_a_linear_solution_is_that_of_sklearn(penalty):
    from primaldual.primal.presets import preset

    keys, targets = table()
    solution = solve_ridge(LINEAR, keys, targets, penalty)
    model = Ridge(alpha=in_sklearn_units(keys, penalty)).fit(keys, targets)
    queries = torch.randn(9, 6, dtype=torch.float64)
    problem = preset(LINEAR).bind(1, 6).double()
    parts = (part[None, None] for part in (queries, keys, solution.values))
    found = problem.dense(*parts)[0, 0] + solution.intercept
    np.testing.assert_allclose(found, model.predict(queries), rtol=1e-7, atol=1e-9)


def test_keys_that_are_all_the_same_give_the_mean():
    _, targets = table()
    solution = solve_ridge("softmax", torch.ones(25, 2), targets, 0.1)
    # Attention over equal keys weighs all values alike, and they sum to 0.
    assert solution.values.mean(0).abs().max() < 1e-10 * solution.values.abs().max()
    torch.testing.assert_close(solution.intercept, targets.mean(0))


def test_many_more_cases_than_features():
    keys, targets = table(cases=60, features=2, outputs=1)
    choice = choose_ridge(
        LINEAR, keys, targets, lambda left_out: -float((left_out - targets).square().mean())
    )
    assert choice.left_out.isfinite().all()


def test_what_cannot_be_solved_is_named():
    keys, targets = table()
    with pytest.raises(ShapeError, match=r"\(N, D\) and \(N, outputs\); got \(25, 6\) and \(24, 3\)"):
        solve_ridge(LINEAR, keys, targets[1:], 1.0)
    with pytest.raises(UnsupportedError, match="window"):
        solve_ridge("window(2)", keys, targets, 1.0)


@pytest.mark.parametrize("penalty", [1e-2, 1.0])
def test_weighted_solutions_and_left_out_predictions_are_those_of_sklearn(penalty):
    from primaldual.primal.presets import preset

    keys, targets = table()
    weights = torch.linspace(0.2, 4, 25, dtype=torch.float64)
    shares = weights / weights.mean()
    mean = (shares.unsqueeze(1) * keys).mean(0)
    alpha = penalty * float((shares.unsqueeze(1) * (keys - mean).square()).sum(1).mean())
    solution = solve_ridge(LINEAR, keys, targets, penalty, weights)
    model = Ridge(alpha=alpha).fit(keys, targets, sample_weight=shares)
    problem = preset(LINEAR).bind(1, 6).double()
    parts = (part[None, None] for part in (keys, keys, solution.values))
    found = problem.dense(*parts)[0, 0] + solution.intercept
    np.testing.assert_allclose(found, model.predict(keys), rtol=1e-7, atol=1e-9)
    choice = choose_ridge(LINEAR, keys, targets, lambda _: 0.0, [penalty], weights)
    for case in range(len(keys)):
        others = np.arange(len(keys)) != case
        model = Ridge(alpha=alpha).fit(keys[others], targets[others], sample_weight=shares[others])
        np.testing.assert_allclose(model.predict(keys[case : case + 1])[0], choice.left_out[case], rtol=1e-8)


@pytest.mark.parametrize("weights", [torch.zeros(25), torch.ones(24)])
def test_weights_that_are_refused(weights):
    with pytest.raises(ValueError, match="weights must be"):
        solve_ridge(LINEAR, *table(), 1.0, weights)
