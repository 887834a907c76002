import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from primaldual.errors import ArgumentError, DataError, ShapeError, SpecError
from primaldual.estimators import AttentionRidgeClassifier, AttentionRidgeRegressor, ridge
from tests.estimators.helpers import labels, ragged, series


def classifier(**changes):
    return AttentionRidgeClassifier(**{"num_kernels": 30, "random_state": 0, **changes})


def regressor(**changes):
    return AttentionRidgeRegressor(**{"num_kernels": 30, "random_state": 0, **changes})


def waves(cases=24, length=30):
    """Classes that differ by frequency, at random phases."""
    generator = np.random.default_rng(0)
    y = np.arange(cases) % 3
    phase = generator.uniform(0, 6, (cases, 1, 1))
    X = np.sin((0.4 + 0.3 * y[:, None, None]) * np.arange(length) + phase)
    return X + 0.3 * generator.normal(size=X.shape), np.array(["slow", "middle", "fast"])[y]


@pytest.mark.parametrize(
    "attentions", ["taylor(1)+constant", "softmax(scale=2.0)", "linear", ridge.ATTENTIONS]
)
def test_learns_classes_that_differ(attentions):
    X, y = waves(48)
    fitted = classifier(attentions=attentions).fit(X[:24], y[:24])
    assert fitted.score(X[24:], y[24:]) > 0.9
    assert fitted.classes_.tolist() == ["fast", "middle", "slow"]
    probabilities = fitted.predict_proba(X)
    assert probabilities.sum(1) == pytest.approx(np.ones(48))
    assert (fitted.classes_[probabilities.argmax(1)] == fitted.predict(X)).all()


def test_learns_a_number():
    generator = np.random.default_rng(0)
    speed = generator.uniform(0.2, 1, 80)
    X = np.sin(speed[:, None, None] * np.arange(40))
    fitted = regressor().fit(X[:50], 5 + 3 * speed[:50])
    assert fitted.score(X[50:], 5 + 3 * speed[50:]) > 0.95


def test_a_series_is_predicted_alone_as_in_company_and_in_any_order():
    X, y = ragged(), labels()
    fitted = classifier().fit(X, y)
    together = fitted.predict_proba(X)
    np.testing.assert_allclose(
        np.concatenate([fitted.predict_proba([one]) for one in X]), together, atol=1e-5
    )
    np.testing.assert_allclose(fitted.predict_proba(X[::-1])[::-1], together, atol=1e-5)


def test_the_same_seed_gives_the_same_model_in_any_number_of_threads():
    X, y = ragged(), labels()
    before = (torch.get_rng_state(), np.random.get_state()[1].tolist(), torch.get_num_threads())
    fits = []
    try:
        for threads, seed in ((1, 3), (2, 3), (1, 4)):
            torch.set_num_threads(threads)
            fits.append(classifier(random_state=seed).fit(X, y).predict_proba(X))
    finally:
        torch.set_num_threads(before[2])
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()
    np.testing.assert_allclose(fits[0], fits[1], atol=1e-6)
    assert (fits[0] != fits[2]).any()


@pytest.mark.parametrize("make", [classifier, regressor])
def test_a_loaded_estimator_is_the_saved_one(make, tmp_path):
    X, y = ragged(), labels() if make is classifier else np.arange(24.0)
    fitted = make().fit(X, y)
    fitted.save(tmp_path / "model")
    for again in (type(fitted).load(tmp_path / "model"), pickle.loads(pickle.dumps(fitted))):
        assert (again.predict(X) == fitted.predict(X)).all()
        assert again.get_params() == fitted.get_params()
        assert again.attention_ == fitted.attention_
        assert again.penalty_ == fitted.penalty_
        with pytest.raises(ShapeError, match="X must have 2 channels, as in fit; got 5"):
            again.predict(series(channels=5))


def test_one_attention_may_be_given_and_is_the_one_used():
    fitted = classifier(attentions="softmax(scale=1.0)").fit(series(), labels())
    assert fitted.attention_ == "softmax(scale=1.0)"
    assert fitted.model_.problem.spec() == "softmax(scale=1.0)"
    clone(fitted).fit(series(), labels())


def test_what_is_chosen_scores_best_on_the_cases_left_out():
    X, y = waves()
    alone = {spec: classifier(attentions=spec).fit(X, y).left_out_score_ for spec in ridge.ATTENTIONS}
    chosen = classifier().fit(X, y)
    assert chosen.left_out_score_ == max(alone.values())
    assert alone[chosen.attention_] == chosen.left_out_score_


def test_the_choice_is_made_on_some_cases_when_there_are_many(monkeypatch):
    X, y = waves(60)
    monkeypatch.setattr(ridge, "CASES_TO_CHOOSE_BY", 15)
    fitted = classifier().fit(X, y)
    assert len(fitted.model_.keys) == 60
    assert fitted.score(X, y) > 0.9
    assert np.bincount(
        np.unique(y[ridge._spread(np.arange(60) % 3, 0)], return_inverse=True)[1]
    ).tolist() == [5, 5, 5]


def test_short_series_single_cases_and_lonely_classes():
    assert classifier().fit(series(3, length=1), labels(3)).predict(series(3, length=1)).shape == (3,)
    assert classifier().fit(series(2), np.array(["a", "b"])).predict(series(2)).tolist() == ["a", "b"]


def test_missing_values_and_longer_series():
    fitted = classifier().fit(series(), labels())
    assert np.isfinite(fitted.predict_proba(np.full((1, 2, 10), np.nan))).all()
    longer = series(length=14, seed=1)
    np.testing.assert_allclose(fitted.predict_proba(longer), fitted.predict_proba(longer[:, :, :10]))


def test_constant_series_are_no_obstacle():
    probabilities = classifier().fit(np.ones((6, 1, 12)), labels(6)).predict_proba(np.ones((2, 1, 12)))
    assert probabilities == pytest.approx(np.full((2, 3), 1 / 3), abs=1e-6)


def test_progress_shows_only_when_asked(capsys, monkeypatch):
    monkeypatch.setattr("primaldual.training.progress.DELAY", 0.0)
    classifier().fit(series(), labels())
    assert capsys.readouterr().err == ""
    classifier(verbose=1).fit(series(), labels()).predict(series())
    shown = capsys.readouterr().err
    assert all(word in shown for word in ("convolving", "choosing", "predicting"))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"num_kernels": 0}, ArgumentError, "num_kernels must be an integer of at least 1; got 0"),
        ({"attentions": ()}, ArgumentError, r"attentions must hold one attention or more; got \(\)"),
        ({"attentions": "sofmax"}, SpecError, "sofmax"),
        ({"attentions": ["conv(3,queries=true)"]}, ArgumentError, "mixes its queries"),
        ({"device": "abacus"}, ArgumentError, "device 'abacus' cannot be used"),
        ({"random_state": -1}, ArgumentError, "random_state must be"),
    ],
)
def test_bad_parameters_are_named(changes, error, message):
    with pytest.raises(error, match=message) as caught:
        classifier(**changes).fit(series(), labels())
    assert "\n" not in str(caught.value)


def test_bad_data_is_named():
    with pytest.raises(DataError, match="at least two classes"):
        classifier().fit(series(2), np.array(["a", "a"]))
    with pytest.raises(DataError, match="must be finite"):
        regressor().fit(series(2), np.array([1.0, np.inf]))
