import inspect

import numpy as np
import pytest

from primaldual.errors import DataError
from primaldual.estimators import AttentionClassifier, AttentionRegressor
from tests.estimators.helpers import labels, ragged, regressor, series


def test_learns_a_mean_in_its_own_units():
    X = series(40)
    y = 1000.0 + 50.0 * X.mean((1, 2))
    fitted = regressor(epochs=40, learning_rate=1e-2, dropout=0.0).fit(X, y)
    assert fitted.score(X, y) > 0.5
    assert fitted.history_[-1]["validation_metric"] < 0


def test_the_metric_is_minus_the_error_in_units_of_the_target():
    X, generator = series(40), np.random.default_rng(0)
    y = generator.normal(size=40)
    metrics = [
        regressor(epochs=1).fit(X, scale * y).history_[0]["validation_metric"] for scale in (1.0, 10.0)
    ]
    assert metrics[1] == pytest.approx(10 * metrics[0], rel=1e-4)


def test_unequal_lengths_and_a_constant_target():
    fitted = regressor().fit(ragged(), np.full(24, 7.0))
    assert fitted.predict(ragged()) == pytest.approx(np.full(24, 7.0), abs=3.0)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (labels(), "y must hold numbers"),
        (np.append(np.ones(23), np.nan), "y must be finite; got nan at position 23"),
    ],
)
def test_bad_targets_are_named(y, message):
    with pytest.raises(DataError, match=message):
        regressor().fit(series(), y)


def test_two_different_targets_are_enough_to_fit_and_score():
    X, y = series(), np.arange(24) % 2
    assert np.isfinite(regressor().fit(X, y).score(X, y))


def test_classifier_and_regressor_agree_on_shared_defaults():
    shared = inspect.signature(AttentionRegressor.__init__).parameters
    other = inspect.signature(AttentionClassifier.__init__).parameters
    assert set(other) - set(shared) == {"class_weight", "label_smoothing"}
    differ = {name for name, one in shared.items() if other[name].default != one.default}
    assert differ == {"augmentation"}
