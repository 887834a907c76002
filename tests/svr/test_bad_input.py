"""Each mistake gets a line that names it, or the right answer."""

import pytest
import torch
from torch.testing import assert_close

import primaldual as pdl
from primaldual.errors import ArgumentError, ConvergenceError, ShapeError, UnsupportedError
from tests.svr.helpers import table


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"C": 0.0}, ArgumentError, "C must be above 0"),
        ({"C": -1.0}, ArgumentError, "C must be above 0"),
        ({"C": float("inf")}, ArgumentError, "finite"),
        ({"C": torch.ones(3)}, ShapeError, "C must broadcast"),
        ({"epsilon": -0.1}, ArgumentError, "epsilon must be 0 or more"),
        ({"epsilon": float("nan")}, ArgumentError, "epsilon"),
        ({"tolerance": 0.0}, ArgumentError, "tolerance"),
        ({"keys": torch.full((40, 3), torch.nan)}, ArgumentError, "keys must be finite; got nan in row 0"),
        ({"targets": torch.full((40, 2), torch.inf)}, ArgumentError, "targets must be finite"),
        ({"targets": torch.zeros(39, 2)}, ShapeError, "a row for every key"),
        ({"targets": torch.zeros(40)}, ShapeError, "targets"),
        ({"targets": torch.zeros(40, 0)}, ShapeError, "targets"),
        ({"keys": torch.zeros(0, 3)}, ShapeError, "keys"),
        ({"keys": "words"}, ArgumentError, "keys must be a tensor or array"),
        ({"mask": torch.ones(40)}, ArgumentError, "mask must be boolean"),
        ({"mask": torch.ones(39, dtype=torch.bool)}, ShapeError, "mask must broadcast"),
        ({"dtype": torch.float16}, ArgumentError, "dtype"),
        ({"problem": "window(3)"}, UnsupportedError, "keys of its own"),
        ({"problem": "sh(1,2)"}, ArgumentError, "scales"),
        ({"memory": 1000}, UnsupportedError, "GiB"),
    ],
)
def test_errors(change, error, words):
    keys, targets = table()
    arguments = {"problem": "softmax", "keys": keys, "targets": targets} | change
    with pytest.raises(error, match=words):
        pdl.solve(**arguments)


def sigmoid(query, key):
    return torch.tanh(3 * query @ key.transpose(-2, -1) - 1) + 2


def test_a_kernel_that_is_not_positive_semidefinite_is_refused():
    keys, targets = table()
    with pytest.raises(ArgumentError, match=r"not positive semidefinite.*eigenvalue -"):
        pdl.solve(pdl.derive(feature_map=sigmoid), keys, targets)


def gaussian(query, key):
    return (-torch.cdist(query, key).square()).exp()


def test_a_kernel_function_that_is_positive_semidefinite_is_solved():
    keys, targets = table()
    solution = pdl.solve(pdl.derive(feature_map=gaussian), keys, targets, 1e4)
    assert solution.duality_gap <= 1e-6
    assert_close(solution.predict(keys), solution.fitted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("spec", ["random(16)", "random(64)", "taylor(1)+constant", "taylor(3)", "taylor(2)"])
def test_random_features_and_truncated_series_are_positive_semidefinite(spec):
    """Products of features and sums of powers with positive factors always are, weights below 0 or not."""
    keys, targets = table(80, 2)
    solution = pdl.solve(spec, keys, targets, 10 / pdl.kernel_scale(spec, keys))
    assert solution.duality_gap <= 1e-6
    assert_close(solution.predict(keys), solution.fitted, rtol=1e-6, atol=1e-8)


def test_a_normaliser_that_is_zero_is_refused():
    keys = torch.tensor([[1.0], [-1.0]])
    problem = pdl.derive(feature_map=lambda x: x)
    with pytest.raises(ArgumentError, match="normaliser h"):
        pdl.solve(problem, keys, keys)


def test_keys_whose_kernel_overflows():
    keys, targets = table()
    with pytest.raises(ArgumentError, match="scale them down"):
        pdl.solve("constant", 1e3 * keys, targets)
    with pytest.raises(ArgumentError, match="scale them down"):
        pdl.implied_regression("softmax", *(1e3 * keys).expand(3, 1, 1, 40, 3))
    keys[0] = 1e3
    penalty = 10 / pdl.kernel_scale("softmax", keys)
    solution = pdl.solve("softmax", keys, targets, penalty)
    assert solution.duality_gap <= 1e-6
    assert (solution.values[0] == 0).all(), "h is beyond the largest number, the coefficient is not"
    assert_close(solution.predict(keys), solution.fitted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("intercept", [True, False])
def test_duplicated_keys(intercept):
    keys, targets = table(20)
    doubled = keys.repeat(2, 1)
    apart = torch.cat([targets, targets + 1])
    solution = pdl.solve(
        "softmax", doubled, apart, 1000 / pdl.kernel_scale("softmax", doubled), intercept=intercept
    )
    assert solution.duality_gap <= 1e-6
    assert_close(solution.fitted[:20], solution.fitted[20:], rtol=1e-9, atol=1e-9)


def test_one_pair():
    keys, targets = table(1)
    with_intercept = pdl.solve("softmax", keys, targets)
    assert_close(with_intercept.intercept, targets[0])
    assert not with_intercept.support.any()
    alone = pdl.solve("softmax", keys, targets, 1e6, 0.05, intercept=False, tolerance=1e-9)
    assert_close(alone.predict(keys), targets - 0.05 * targets.sign(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_constant_targets(epsilon):
    keys, _ = table()
    targets = torch.full((40, 2), 0.1, dtype=torch.float64)
    solution = pdl.solve("bn", keys, targets, epsilon=epsilon)
    assert solution.duality_gap == 0
    assert not solution.support.any()
    assert_close(solution.predict(keys[:3]), targets[:3], rtol=0, atol=1e-12)
    without = pdl.solve("bn", keys, targets, 1e6, epsilon, intercept=False)
    assert without.duality_gap <= 1e-6


def test_equal_keys_carry_no_information():
    keys = torch.ones(12, 2, dtype=torch.float64)
    targets = torch.arange(12, dtype=torch.float64).unsqueeze(-1)
    solution = pdl.solve("softmax", keys, targets, 100.0)
    assert solution.duality_gap <= 1e-6
    assert_close(solution.predict(keys[:1]), torch.full((1, 1), 5.5, dtype=torch.float64), rtol=0, atol=0.5)


def test_a_masked_out_head_is_zero():
    keys, targets = table()
    solution = pdl.solve("softmax", keys, targets, mask=torch.zeros(40, dtype=torch.bool))
    assert not solution.support.any()
    assert (solution.predict(keys) == 0).all()


def test_stopping_early_is_said_and_carries_what_was_found():
    keys, targets = table()
    with pytest.raises(ConvergenceError, match=r"stopped at the relative duality gap \d") as caught:
        pdl.solve("softmax", keys, targets, 100 / pdl.kernel_scale("softmax", keys), tolerance=1e-17)
    assert 1e-17 < caught.value.solution.duality_gap < 1e-8
    assert isinstance(caught.value.solution, pdl.SupportVectorExpansion)


def test_a_start_of_another_size_is_refused():
    keys, targets = table()
    solution = pdl.solve("softmax", keys, targets)
    with pytest.raises(ArgumentError, match="start has coefficients"):
        pdl.solve("softmax", keys[:20], targets[:20], start=solution)
