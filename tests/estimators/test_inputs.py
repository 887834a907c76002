import numpy as np
import pandas as pd
import pytest
import torch

from primaldual import AttentionRidgeClassifier, AttentionRidgeRegressor, AttentionSVR
from primaldual.errors import ArgumentError, DataError, ShapeError
from primaldual.estimators import AttentionClassifier
from primaldual.estimators.inputs import read_weights
from tests.estimators.helpers import classifier, labels, ragged, regressor, series


def long_frame(X, y=None, names=("height", "width")):
    """The same cases as a data frame, its rows in another order."""
    rows = [
        {"case": case, "time": time, **dict(zip(names, point, strict=True))}
        | ({} if y is None else {"label": y[case]})
        for case, one in enumerate(X)
        for time, point in enumerate(one.T)
    ]
    frame = pd.DataFrame(rows)
    order = np.random.default_rng(1).permutation(len(frame))
    shuffled = frame.iloc[order]
    return pd.concat([frame.drop_duplicates("case"), shuffled.drop(frame.drop_duplicates("case").index)])


def ridge(**options):
    return AttentionRidgeClassifier(num_kernels=20, random_state=0, **options)


def test_masked_values_tensors_and_frames_are_read_alike(tmp_path):
    X, y = ragged(), labels()
    expected = classifier().fit(X, y).predict_proba(X)
    tensors = [torch.from_numpy(one) for one in X]
    by_tensor = classifier().fit(tensors, y)
    np.testing.assert_array_equal(by_tensor.predict_proba(tensors), expected)
    by_frame = classifier().fit(long_frame(X, y))
    np.testing.assert_array_equal(by_frame.predict_proba(long_frame(X)), expected)
    assert by_frame.channel_names_ == ("height", "width")
    assert by_frame.score(long_frame(X, y)) == by_frame.score(X, y)
    by_frame.save(tmp_path / "m")
    swapped = long_frame([one[::-1] for one in X], names=("width", "height"))
    loaded = AttentionClassifier.load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.predict_proba(swapped), expected)


def test_tensors_of_every_kind():
    X, y = series(), np.arange(24) % 2
    expected = regressor().fit(X, y).predict(X)
    leaf = torch.from_numpy(X).requires_grad_()
    found = regressor().fit(leaf, torch.from_numpy(y)).predict(leaf)
    np.testing.assert_array_equal(found, expected)
    half = torch.from_numpy(X).bfloat16()
    assert ridge().fit(half, torch.from_numpy(y)).predict(half).shape == (24,)
    table = torch.randn(20, 3, dtype=torch.float64)
    svr = AttentionSVR().fit(table, table[:, 0])
    np.testing.assert_array_equal(svr.predict(table), svr.predict(table.numpy()))


def test_frames_in_closed_form_and_for_tables():
    X, y = series(), labels()
    np.testing.assert_array_equal(
        ridge().fit(long_frame(X, y)).predict(long_frame(X)), ridge().fit(X, y).predict(X)
    )
    targets = X.mean((1, 2))
    by_frame = AttentionRidgeRegressor(num_kernels=20, random_state=0).fit(long_frame(X, targets))
    by_array = AttentionRidgeRegressor(num_kernels=20, random_state=0).fit(X, targets)
    np.testing.assert_allclose(by_frame.predict(long_frame(X)), by_array.predict(X))


def test_other_channels_than_in_fit_are_named():
    X, y = series(), labels()
    fitted = classifier().fit(long_frame(X, y))
    with pytest.raises(
        DataError, match="X must have the channels height, width, as in fit; got height, depth"
    ):
        fitted.predict(long_frame(X, names=("height", "depth")))
    fitted = classifier().fit(X, y)
    assert fitted.channel_names_ is None
    assert fitted.predict(long_frame(X)).shape == (24,)


@pytest.mark.parametrize("make", [classifier, ridge])
def test_labels_that_are_missing(make):
    with pytest.raises(
        DataError, match="y is missing; give a label for every case, or a data frame with a column label"
    ):
        make().fit(series())
    with pytest.raises(DataError, match="y is missing"):
        make().fit(long_frame(series()))


@pytest.mark.parametrize("make", [classifier, ridge, regressor])
def test_cases_without_weight_are_left_out(make):
    X, y = series(), np.arange(24) % 3
    weights = np.where(y == 2, 0.0, 1.0)
    found = make().fit(X, y, sample_weight=weights)
    alone = make().fit(X[y != 2], y[y != 2])
    np.testing.assert_allclose(found.predict(X), alone.predict(X))


@pytest.mark.parametrize(
    "make", [lambda: classifier(validation_fraction=0, epochs=40, learning_rate=1e-2), ridge]
)
def test_heavy_cases_are_believed(make):
    X = np.concatenate([series()[:6]] * 2)
    y = np.repeat(["first", "second"], 6)  # every series has both labels
    first = np.where(y == "first", 10.0, 1.0)
    assert (make().fit(X, y, sample_weight=first).predict(X) == "first").all()
    assert (make().fit(X, y, sample_weight=11 - first).predict(X) == "second").all()


def test_heavy_targets_are_believed():
    X = np.concatenate([series()[:6]] * 2)
    y, weights = np.repeat([0.0, 1.0], 6), np.repeat([9.0, 1.0], 6)
    ridge_mean = (
        AttentionRidgeRegressor(num_kernels=20, random_state=0).fit(X, y, sample_weight=weights).predict(X)
    )
    np.testing.assert_allclose(ridge_mean, 0.1, atol=0.02)
    trained = regressor(validation_fraction=0, epochs=60, learning_rate=1e-2, dropout=0.0)
    np.testing.assert_allclose(trained.fit(X, y, sample_weight=weights).predict(X), 0.1, atol=0.1)
    svr = AttentionSVR(C=1.0).fit(X[:, :, 0], y, sample_weight=weights)
    assert np.abs(svr.predict(X[:, :, 0])).max() < 0.1


def test_support_vectors_are_numbered_as_the_cases_were_given():
    X, y = series()[:, :, 0], np.arange(24.0)
    weights = np.repeat([0.0, 1.0], 12)
    fitted = AttentionSVR().fit(X, y, sample_weight=weights)
    assert fitted.support_.min() >= 12
    np.testing.assert_allclose(fitted.predict(X), AttentionSVR().fit(X[12:], y[12:]).predict(X), rtol=1e-5)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([1, 2], ShapeError, r"sample_weight must hold 3 weights, one for each case; got shape \(2,\)"),
        ([1, -1, 1], ArgumentError, "sample_weight must hold finite numbers of at least 0"),
        ([1, np.nan, 1], ArgumentError, "sample_weight must hold finite numbers"),
        ([0, 0, 0], ArgumentError, "sample_weight must hold a weight above zero"),
        (["a", "b", "c"], ArgumentError, "sample_weight must hold numbers; got list"),
    ],
)
def test_weights_that_are_refused(weights, error, message):
    with pytest.raises(error, match=message):
        read_weights(weights, 3)
