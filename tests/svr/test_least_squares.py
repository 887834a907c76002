"""Certificates of solvers: objective, optimality, gap and agreement with the layer."""

import pytest
import torch
from sklearn.kernel_ridge import KernelRidge
from torch.testing import assert_close

import primaldual as pdl
from primaldual import LeastSquaresExpansion, solve
from primaldual.errors import ArgumentError, UnsupportedError


def data(*leading, length=12):
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(*leading, length, 4, generator=generator).double()
    return keys, torch.randn(*leading, length, 3, generator=generator).double()


@pytest.mark.parametrize("spec", ["ridge(0.5)", "dot+ridge(0.1)", "taylor(2)+ridge(1)", "linear+bn+ridge(1)"])
def test_ridge_is_optimal_and_is_the_layer(spec):
    keys, targets = data(2, 3)
    found = solve(spec, keys, targets)
    assert isinstance(found, LeastSquaresExpansion)
    assert found.optimality.max() < 1e-10
    assert found.agreement < 1e-8
    assert found.duality_gap < 1e-12
    assert_close(found.C, torch.full_like(found.C, 1 / found.problem.solver.penalty))


def test_ridge_is_scikit_learn():
    keys, targets = data()
    model = KernelRidge(alpha=0.3, kernel="linear").fit(keys.numpy(), targets.numpy())
    found = solve("dot+ridge(0.3)", keys, targets)
    assert_close(found.coefficients, torch.from_numpy(model.dual_coef_))
    queries = torch.randn(5, 4).double()
    assert_close(found.predict(queries), torch.from_numpy(model.predict(queries.numpy())))
    weights = keys.mT @ found.coefficients
    errors = targets - keys @ weights
    assert_close(found.primal_objective, errors.square().sum(0) / 2 + 0.15 * weights.square().sum(0))


def test_boosting_comes_closer_to_the_least_objective():
    keys, targets = data(2)
    solved = [solve(f"boost({steps},residual=keys)", keys, targets) for steps in (1, 4, 16, 64)]
    for part in ("gap", "optimality", "primal_objective"):
        sizes = [float(getattr(found, part).sum()) for found in solved]
        assert sizes == sorted(sizes, reverse=True)
    assert all(found.agreement < 1e-10 for found in solved)


@pytest.mark.parametrize(
    "spec", ["boost(2)", "scaled(0.3)", "deltanet(0.5)", "deltaformer(residual=keys)", "deltaformer"]
)
def test_every_solver_agrees_with_its_layer(spec):
    keys, targets = data(2, 3)
    problem = pdl.preset(spec).bind(3, 4)
    mask = torch.arange(12) != 3
    found = solve(problem, keys, targets, mask=mask)
    assert found.agreement < 1e-10
    assert (found.gap >= 0).all()
    kept = keys[..., mask, :], targets[..., mask, :]
    assert_close(found.coefficients[..., mask, :], solve(problem, *kept).coefficients)


def test_orthonormal_keys_solve_the_delta_rule_exactly():
    targets = torch.randn(5, 2).double()
    found = solve("deltanet(1)", torch.eye(5).double(), targets)
    assert found.optimality.max() < 1e-12
    assert_close(found.fitted, targets)


def test_the_last_state_of_the_delta_rule_is_what_predicts():
    keys, targets = data(1, 1)
    found = solve("deltanet(0.5)", keys, targets)
    query = torch.randn(1, 1, 1, 4).double()
    assert_close(found.predict(query), found.problem.attend(query, keys, targets))


def test_what_is_refused(tmp_path):
    keys, targets = data()
    with pytest.raises(ArgumentError, match=r"C must be None for ridge\(1\), which states its coefficients"):
        solve("ridge(1)", keys, targets, C=1.0)
    for spec in ("ridge(1)+window(2)", "dot+ridge(1)+alibi", "dot+ridge(1)+conv(3)", "dot+ridge(1)+sh(2)"):
        with pytest.raises(UnsupportedError, match="has training sets of single queries, pooled pairs"):
            solve(spec, keys, targets)
    with pytest.raises(UnsupportedError, match="is not saved"):
        solve("ridge(1)", keys, targets).save(tmp_path / "one")
    with pytest.raises(UnsupportedError, match="states its own coefficients"):
        pdl.solve_path("ridge(1)", keys, targets, [1.0])


def test_in_words():
    text = str(solve("dot+ridge(0.1)", *data()))
    assert text.splitlines()[0] == "attention        dot+constant+ridge(0.1)"
    assert "optimality       gradient" in text
    assert "layer            differs by" in text
