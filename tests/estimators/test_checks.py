import numpy as np
import pandas as pd
import pytest

from primaldual.errors import DataError, ShapeError
from primaldual.estimators.checks import check_case_count, check_labels, check_series, check_targets


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ([], DataError, "X is empty"),
        (np.empty((0, 2, 5)), DataError, "X is empty"),
        (np.empty((3, 2, 0)), DataError, r"X has no values; got shape \(3, 2, 0\)"),
        ([np.ones((2, 5)), np.empty((2, 0))], DataError, r"X\[1\] has no values"),
        (np.ones(5), ShapeError, r"got an array of shape \(5,\)"),
        (np.ones((2, 2, 2, 2)), ShapeError, "X must be"),
        ([np.ones((1, 2, 3))], ShapeError, r"X\[0\] must be \(channels, time points\)"),
        ([np.ones((2, 5)), np.ones((3, 5))], ShapeError, r"got 2 in X\[0\] and 3 in X\[1\]"),
        (np.full((2, 1, 3), np.inf), DataError, "infinite"),
        ([np.array([[1.0, -np.inf]])], DataError, r"X\[0\] must be finite"),
        (np.array([[["a", "b"]]]), DataError, "X must hold numbers"),
    ],
)
def test_bad_series_are_named(X, error, message):
    with pytest.raises(error, match=message):
        check_series(X)


@pytest.mark.parametrize(
    "X", [np.ones((2, 3, 4)), np.ones((2, 4)), [np.ones(3), np.ones((1, 5))], np.full((2, 1, 3), np.nan)]
)
def test_good_series_pass(X):
    check_series(X)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (np.array([1.0, np.nan, np.nan]), DataError, r"got nan at position 1 \(2 missing\)"),
        (np.array(["a", None], dtype=object), DataError, "got None at position 1"),
        (pd.Series(["a", pd.NA], dtype="string"), DataError, "got <NA> at position 1"),
        (np.array(["a", 1], dtype=object), DataError, "y must hold labels of one type; got int, str"),
        ([0.5, 1.5], DataError, "class labels"),
        ([], DataError, "y is empty"),
        (np.ones((2, 2)), ShapeError, r"y must be 1-D, one entry per case; got shape \(2, 2\)"),
    ],
)
def test_bad_labels_are_named(y, error, message):
    with pytest.raises(error, match=message):
        check_labels(y)


def test_labels_may_be_lists_and_columns():
    assert check_labels(["a", "b"]).tolist() == ["a", "b"]
    assert check_labels(np.array([[1], [2]])).tolist() == [1, 2]
    assert check_labels([1.0, 2.0]).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([1.0, np.nan], "y must be finite; got nan at position 1"),
        ([np.inf, 1.0], "y must be finite; got inf at position 0"),
        (["a", "b"], "y must hold numbers; got 'a'|y must hold numbers; got np.str_"),
        (np.array([1.0, None], dtype=object), "y must be finite"),
    ],
)
def test_bad_targets_are_named(y, message):
    with pytest.raises(DataError, match=message):
        check_targets(y)


def test_case_counts_must_agree():
    check_case_count(3, 3)
    with pytest.raises(ShapeError, match="got 3 and 2"):
        check_case_count(3, 2)
