from __future__ import annotations

import io
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_linnerud
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.utils.estimator_checks import check_estimator

import primaldual as pdl
from primaldual import AttentionSVR, PrimalProblem
from primaldual.errors import ArgumentError, SpecError, UnsupportedError

X, Y = (part[:90] for part in load_diabetes(return_X_y=True))


@pytest.mark.parametrize(
    "regressor",
    [AttentionSVR(), AttentionSVR("linear", intercept=False), AttentionSVR("bn", C=10, standardize=False)],
)
def test_scikit_learn_finds_nothing_wrong(regressor):
    counted_once = {
        "check_sample_weight_equivalence_on_dense_data": "h counts a case once, whatever its weight"
    }
    results = check_estimator(regressor, on_skip=None, expected_failed_checks=counted_once)
    failed = {one["check_name"] for one in results if one["status"] != "passed"}
    assert failed <= {"check_array_api_input", *counted_once}


def test_predictions_are_those_of_a_support_vector_machine_with_the_kernel_of_softmax():
    fitted = AttentionSVR(gamma=0.5, C=2.0, epsilon=0.2, tolerance=1e-9).fit(X, Y)
    keys = StandardScaler().fit_transform(X) * 0.5**0.5
    scores = np.exp(keys @ keys.T / np.sqrt(X.shape[1]))
    totals = scores.sum(1)
    kernel = scores / totals[:, None] / totals
    unit = np.trace(kernel) / len(X) - kernel.mean()
    other = SVR(kernel="precomputed", C=2.0 / unit, epsilon=0.2, tol=1e-9).fit(
        kernel, (Y - Y.mean()) / Y.std()
    )
    expected = other.predict(kernel) * Y.std() + Y.mean()
    assert fitted.predict(X) == pytest.approx(expected, abs=1e-3 * Y.std())
    assert set(other.support_) <= set(fitted.support_)
    assert fitted.duality_gap_ <= 1e-9


def test_units_of_features_and_targets_do_not_matter():
    fitted = AttentionSVR().fit(X, Y)
    moved = AttentionSVR().fit(1e3 * X - 7, 1e-4 * Y + 3)
    assert (moved.predict(1e3 * X - 7) - 3) * 1e4 == pytest.approx(fitted.predict(X), rel=1e-6)
    assert fitted.X_mean_ == pytest.approx(X.mean(0))
    assert fitted.y_scale_ == pytest.approx(Y.std())


def test_the_penalty_means_the_same_for_twice_the_cases_at_half_the_weight():
    fitted = AttentionSVR(C=1.0, tolerance=1e-9).fit(X, Y)
    twice = AttentionSVR(C=0.5, tolerance=1e-9).fit(np.repeat(X, 2, 0), np.repeat(Y, 2))
    assert twice.predict(X) == pytest.approx(fitted.predict(X), abs=1e-3 * Y.std())


def test_without_standardizing_epsilon_is_in_the_unit_of_the_target():
    inputs = StandardScaler().fit_transform(X)
    fitted = AttentionSVR(C=1e6, epsilon=50.0, standardize=False).fit(inputs, Y)
    errors = np.abs(fitted.predict(inputs) - Y)
    assert errors.max() == pytest.approx(50, abs=0.5)
    assert (fitted.X_scale_ == 1).all()


def test_several_targets_are_fitted_one_by_one():
    inputs, targets = load_linnerud(return_X_y=True)
    together = AttentionSVR(tolerance=1e-9).fit(inputs, targets)
    alone = [AttentionSVR(tolerance=1e-9).fit(inputs, column).predict(inputs) for column in targets.T]
    assert together.predict(inputs) == pytest.approx(np.stack(alone, 1), abs=1e-4)
    assert together.predict(inputs[:1]).shape == (1, 3)
    assert AttentionSVR().fit(inputs, targets[:, :1]).predict(inputs).shape == (20, 1)


def test_constant_features_and_targets():
    constant = np.column_stack([X, np.full(90, 1 / 3), np.zeros(90)])
    assert AttentionSVR().fit(constant, Y).X_scale_[-2:] == pytest.approx([1, 1])
    assert AttentionSVR().fit(X, np.full(90, 0.1)).predict(X) == pytest.approx(np.full(90, 0.1))


def test_searches_pipelines_and_copies():
    pipeline = make_pipeline(StandardScaler(), AttentionSVR(standardize=False))
    grid = {
        "attentionsvr__attention": ["softmax", "linear", PrimalProblem()],
        "attentionsvr__C": np.logspace(-1, 1, 2),
    }
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, Y)
    assert search.best_score_ > 0.1
    scaled = TransformedTargetRegressor(AttentionSVR(standardize=False), transformer=StandardScaler())
    assert cross_val_score(scaled, X, Y, cv=3, error_score="raise").mean() > 0.1
    assert clone(AttentionSVR(C=3)).get_params() == AttentionSVR(C=3).get_params()


def test_pickle_and_joblib_keep_predictions():
    fitted = AttentionSVR("bn").fit(X, Y)
    file = io.BytesIO()
    joblib.dump(fitted, file)
    for copy in (pickle.loads(pickle.dumps(fitted)), joblib.load(file)):
        assert (copy.predict(X) == fitted.predict(X)).all()


def test_names_of_features_are_kept():
    frame = pd.DataFrame(X, columns=[f"x{column}" for column in range(10)])
    fitted = AttentionSVR().fit(frame, Y)
    assert list(fitted.feature_names_in_) == list(frame)
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(frame[list(frame)[::-1]])


def test_a_problem_is_left_as_it_was_and_keeps_what_it_learnt():
    problem = pdl.preset("bn(learnable=true)")
    assert len(AttentionSVR(problem).fit(X, Y).support_)
    assert not problem.state_dict()
    problem.bind(1, 10)
    problem.transform.head_beta.data.fill_(0.25)
    fitted = AttentionSVR(problem, standardize=False).fit(StandardScaler().fit_transform(X) + 0.1, Y)
    assert fitted.expansion_.problem.transform.head_beta.item() == 0.25
    assert problem.transform.head_beta.dtype == torch.float32
    with pytest.raises(ArgumentError, match="one head and 10 features"):
        AttentionSVR(pdl.preset("bn(learnable=true)").bind(4, 10)).fit(X, Y)


def test_stopping_early_is_a_warning_and_a_usable_solution():
    with pytest.warns(ConvergenceWarning, match="relative duality gap"):
        fitted = AttentionSVR(tolerance=1e-30).fit(X, Y)
    assert fitted.duality_gap_ < 1e-6
    assert fitted.score(X, Y) > 0.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"C": 0}, "C must be a number above 0"),
        ({"C": "1"}, "C must be a number above 0"),
        ({"gamma": -1.0}, "gamma must be a number above 0"),
        ({"epsilon": -0.1}, "epsilon must be a number 0 or more"),
        ({"epsilon": float("nan")}, "epsilon must be"),
        ({"tolerance": 1.0}, "tolerance must be below 1"),
        ({"intercept": "no"}, "intercept must be True or False"),
        ({"standardize": None}, "standardize must be True or False"),
        ({"attention": "conv(3,queries=true)"}, "mixes its queries"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        AttentionSVR(**arguments).fit(X, Y)


def test_attentions_that_do_not_fit():
    with pytest.raises(SpecError, match="unknown part"):
        AttentionSVR("foo").fit(X, Y)
    with pytest.raises(UnsupportedError, match="window"):
        AttentionSVR("window(3)").fit(X, Y)
