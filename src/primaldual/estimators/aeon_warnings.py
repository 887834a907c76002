"""Warnings of aeon that do not concern estimators that scale their input and fill its gaps."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_variance_warnings() -> Iterator[None]:
    """Drop aeon's remarks on constant series and NumPy's on series that are all missing; both are handled."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Data seen by instance of .* has one or more", UserWarning)
        warnings.filterwarnings("ignore", "All-NaN|Degrees of freedom", RuntimeWarning)
        yield
