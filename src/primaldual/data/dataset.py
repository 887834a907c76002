"""One part of a data set: series, labels, and what to call them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from primaldual.errors import DataError

Series = NDArray[np.float64]
Cases = NDArray[np.float64] | list[Series]
Labels = NDArray[np.str_]


@dataclass(frozen=True)
class Dataset:
    """Labelled (or unlabelled) time series, as the estimators take them.

    Args:
        name: what tables and reports call the data.
        X: (n_cases, n_channels, n_timepoints) array, or a list of (n_channels, n_t) arrays when the
            lengths differ. NaN marks a missing value.
        y: (n_cases,) labels as text, or None for series to be predicted.
        description: where the data came from, one sentence.

    Example:
        >>> import numpy as np
        >>> Dataset("toy", np.zeros((2, 1, 5)), np.array(["a", "b"]), "two flat lines").summary
        '2 cases, 1 channel, length 5, 2 classes'
    """

    name: str
    X: Cases
    y: Labels | None
    description: str

    @property
    def class_names(self) -> tuple[str, ...]:
        """The labels that occur, sorted; empty without labels."""
        return () if self.y is None else tuple(str(label) for label in np.unique(self.y))

    @property
    def lengths(self) -> tuple[int, int]:
        """Shortest and longest series, in time points."""
        counts = [series.shape[-1] for series in self.X]
        return min(counts), max(counts)

    @property
    def summary(self) -> str:
        """Size in words."""
        shortest, longest = self.lengths
        channels = self.X[0].shape[0]
        length = f"length {shortest}" if shortest == longest else f"lengths {shortest} to {longest}"
        text = f"{len(self.X)} cases, {channels} channel{'s'[: channels != 1]}, {length}"
        return text if self.y is None else f"{text}, {len(self.class_names)} classes"

    def fingerprint(self) -> str:
        """Short hash of every value and label: two data sets share it only if they are the same."""
        digest = hashlib.sha256()
        for series in self.X:
            digest.update(repr(series.shape).encode())
            digest.update(np.ascontiguousarray(series).tobytes())
        if self.y is not None:
            digest.update("\x1f".join(self.y.tolist()).encode())
        return digest.hexdigest()[:16]

    def take(self, indices: Sequence[int]) -> Dataset:
        """The cases at ``indices``, in that order."""
        if isinstance(self.X, np.ndarray):
            cases: Cases = self.X[list(indices)]
        else:
            cases = [self.X[index] for index in indices]
        labels = None if self.y is None else self.y[list(indices)]
        return Dataset(self.name, cases, labels, self.description)


def build(name: str, cases: Sequence[Series], labels: Sequence[object] | None, description: str) -> Dataset:
    """Check cases and labels and make a `Dataset` of them.

    Raises:
        DataError: no cases, a series without channels or time points, channels that differ between
            cases, infinite values, or labels that are missing, NaN, real numbers or too few.
    """
    if len(cases) == 0:
        raise DataError(f"{name}: holds no cases; at least one series is needed")
    channels = cases[0].shape[0]
    for index, series in enumerate(cases):
        if series.ndim != 2 or 0 in series.shape:
            raise DataError(
                f"{name}: case {index} is empty or not (channels, time); its shape is {series.shape}"
            )
        if series.shape[0] != channels:
            raise DataError(
                f"{name}: case {index} has {series.shape[0]} channels, but case 0 has {channels}; "
                "every case needs the same channels"
            )
        if np.isinf(series).any():
            raise DataError(f"{name}: case {index} holds an infinite value; use NaN for a missing value")
    texts = None if labels is None else _texts(name, labels)
    if texts is not None and len(texts) != len(cases):
        raise DataError(f"{name}: {len(cases)} cases but {len(texts)} labels; each case needs one label")
    equal = len({series.shape[1] for series in cases}) == 1
    return Dataset(name, np.stack(cases) if equal else list(cases), texts, description)


def _texts(name: str, labels: Sequence[object]) -> Labels:
    """Labels as text, so that 1, 1.0 and "1" are the same class in every file format."""
    texts = []
    for index, label in enumerate(labels):
        if isinstance(label, (float, np.floating)):
            if np.isnan(label):
                raise DataError(f"{name}: the label of case {index} is NaN; every case needs a class label")
            if not float(label).is_integer():
                raise DataError(
                    f"{name}: the label of case {index} is {float(label):g}, a real number; "
                    "class labels are whole numbers or text"
                )
        text = str(int(label) if isinstance(label, (float, np.floating)) else label).strip()
        if text.lower() in {"", "nan", "none"}:
            raise DataError(f"{name}: the label of case {index} is missing; every case needs a class label")
        texts.append(text)
    return np.array(texts, dtype=np.str_)
