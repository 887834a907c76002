"""Checks of series and labels before anything is computed: one clear line for each mistake."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from primaldual.errors import DataError, ShapeError

Array = npt.NDArray[np.generic]


def check_series(X: object) -> None:
    """Check arrays and lists of arrays; other collections that aeon accepts are left to aeon.

    Raises:
        DataError: no cases, a series without time points, values that are infinite or no numbers.
        ShapeError: an array that is not 2-D or 3-D, or series with different numbers of channels.

    Example:
        >>> check_series([np.zeros((2, 5)), np.zeros((3, 5))])
        Traceback (most recent call last):
        primaldual.errors.ShapeError: X must have the same channels in every series; got 2 ...
    """
    if isinstance(X, np.ndarray):
        if X.ndim not in (2, 3):
            raise ShapeError(
                "X must be (cases, channels, time points), (cases, time points) or a list of "
                f"(channels, time points); got an array of shape {X.shape}"
            )
        _check_not_empty(len(X))
        _check_values("X", X)
    elif isinstance(X, list):
        _check_not_empty(len(X))
        if all(isinstance(series, np.ndarray) for series in X):
            _check_list(X)


def check_labels(y: object) -> Array:
    """Labels as a 1-D array.

    Raises:
        DataError: labels that are missing (NaN or None), of several types or one that cannot be saved, fractional, or
            none at all.
        ShapeError: labels that are not 1-D.
    """
    labels = one_dimensional(y)
    missing = np.flatnonzero(pd.isna(labels))
    if len(missing):
        raise DataError(
            f"y must have a label for every case; got {labels[missing[0]]} at position {missing[0]} "
            f"({len(missing)} missing)"
        )
    if labels.dtype == object and len({type(label) for label in labels}) > 1:
        kinds = ", ".join(sorted({type(label).__name__ for label in labels}))
        raise DataError(f"y must hold labels of one type; got {kinds}")
    if labels.dtype == object and not isinstance(labels[0], str | bytes | int | float | np.generic):
        raise DataError(
            f"y must hold strings, bytes, whole numbers or NumPy dates; got {type(labels[0]).__name__} (give str(label))"
        )
    if labels.dtype.kind == "f" and not np.equal(np.mod(labels, 1), 0).all():
        raise DataError(
            "y must hold class labels: strings or whole numbers; got fractions (use AttentionRegressor)"
        )
    return labels


def check_targets(y: object) -> npt.NDArray[np.float64]:
    """Targets of a regression as a 1-D array of float64.

    Raises:
        DataError: targets that are not finite numbers, or none at all.
        ShapeError: targets that are not 1-D.
    """
    given = one_dimensional(y)
    try:
        targets = given.astype(np.float64) if given.dtype.kind in "fiubO" else None
    except (TypeError, ValueError):
        targets = None
    if targets is None:
        raise DataError(f"y must hold numbers; got {given[0]!r} (use AttentionClassifier for labels)")
    if not np.isfinite(targets).all():
        place = int(np.flatnonzero(~np.isfinite(targets))[0])
        raise DataError(f"y must be finite; got {targets[place]} at position {place}")
    return targets


def check_case_count(cases: int, labels: int) -> None:
    """Check that every case has one label.

    Raises:
        ShapeError: the counts differ.
    """
    if cases != labels:
        raise ShapeError(f"X and y must have as many entries as each other; got {cases} and {labels}")


def one_dimensional(y: object) -> Array:
    """Labels or targets as a 1-D array.

    Raises:
        DataError: none at all.
        ShapeError: several columns.
    """
    if y is None:
        raise DataError("y is missing; give a label for every case, or a data frame with a column label")
    labels: Array = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ShapeError(f"y must be 1-D, one entry per case; got shape {labels.shape}")
    if len(labels) == 0:
        raise DataError("y is empty; at least one case is needed")
    return labels


def _check_not_empty(cases: int) -> None:
    if cases == 0:
        raise DataError("X is empty; at least one case is needed")


def _check_list(X: Sequence[Array]) -> None:
    channels = []
    for place, series in enumerate(X):
        if series.ndim not in (1, 2):
            raise ShapeError(f"X[{place}] must be (channels, time points); got shape {series.shape}")
        _check_values(f"X[{place}]", series)
        channels.append(1 if series.ndim == 1 else series.shape[0])
        if channels[place] != channels[0]:
            raise ShapeError(
                "X must have the same channels in every series; "
                f"got {channels[0]} in X[0] and {channels[place]} in X[{place}]"
            )


def _check_values(name: str, values: Array) -> None:
    if values.dtype.kind not in "fiub":
        raise DataError(f"{name} must hold numbers; got dtype {values.dtype}")
    if values.size == 0:
        raise DataError(f"{name} has no values; got shape {values.shape}, at least one time point is needed")
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise DataError(f"{name} must be finite or NaN (missing); got infinite values")
