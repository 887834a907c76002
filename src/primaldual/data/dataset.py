"""One part of a data set: series, labels, and what to call them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from primaldual.data.labels import label_text, one_spelling
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
        channel_names: a name for each channel, or None where the file gives none.
        case_names: a name for each case, or None where the file gives none.

    Example:
        >>> import numpy as np
        >>> Dataset("toy", np.zeros((2, 1, 5)), np.array(["a", "b"]), "two flat lines").summary
        '2 cases, 1 channel, length 5, 2 classes'
    """

    name: str
    X: Cases
    y: Labels | None
    description: str
    channel_names: tuple[str, ...] | None = None
    case_names: tuple[str, ...] | None = None

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
        """Short hash of every value, label and channel name: two data sets share it only if they are the same."""
        digest = hashlib.sha256()
        for series in self.X:
            digest.update(_bytes(series))
        if self.y is not None:
            digest.update("\x1f".join(self.y.tolist()).encode())
        if self.channel_names is not None:
            digest.update("\x1f".join(self.channel_names).encode())
        return digest.hexdigest()[:16]

    def case_fingerprints(self) -> list[str]:
        """Short hash of the values of every case."""
        return [hashlib.sha256(_bytes(series)).hexdigest()[:16] for series in self.X]

    def take(self, indices: Sequence[int]) -> Dataset:
        """The cases at ``indices``, in that order."""
        if isinstance(self.X, np.ndarray):
            cases: Cases = self.X[list(indices)]
        else:
            cases = [self.X[index] for index in indices]
        return replace(
            self,
            X=cases,
            y=None if self.y is None else self.y[list(indices)],
            case_names=None
            if self.case_names is None
            else tuple(self.case_names[index] for index in indices),
        )

    def followed_by(self, other: Dataset) -> Dataset:
        """The cases of both; labels and names of cases only where both have them."""
        cases = [*self.X, *other.X]
        equal = len({series.shape for series in cases}) == 1
        names = (
            None
            if self.case_names is None or other.case_names is None
            else self.case_names + other.case_names
        )
        return replace(
            self,
            X=np.stack(cases) if equal else cases,
            y=None if self.y is None or other.y is None else np.concatenate([self.y, other.y]),
            case_names=names,
        )

    def with_channels(self, names: Sequence[str]) -> Dataset:
        """The same cases with their channels in the order of ``names``.

        Raises:
            DataError: a channel is missing, or there are others.
        """
        own = self.channel_names
        if own is None or own == tuple(names):
            return self
        missing = [name for name in names if name not in own]
        others = [name for name in own if name not in names]
        if missing or others:
            told = [f"lacks {', '.join(missing)}"] * bool(missing)
            told += [f"has {', '.join(others)} besides"] * bool(others)
            raise DataError(
                f"{self.name}: the channels needed are {', '.join(names)}; the data {' and '.join(told)}"
            )
        order = [own.index(name) for name in names]
        if isinstance(self.X, np.ndarray):
            cases: Cases = self.X[:, order]
        else:
            cases = [series[order] for series in self.X]
        return replace(self, X=cases, channel_names=tuple(names))

    def spelled(self, classes: Sequence[str]) -> Dataset:
        """The same cases, with the labels spelled as in ``classes``: 1.0 becomes 1 where that is a class."""
        if self.y is None:
            return self
        return replace(self, y=np.array(one_spelling(self.y.tolist(), classes), dtype=np.str_))


def build(
    name: str,
    cases: Sequence[Series],
    labels: Sequence[object] | None,
    description: str,
    *,
    channel_names: tuple[str, ...] | None = None,
    case_names: tuple[str, ...] | None = None,
    classes: Sequence[str] = (),
) -> Dataset:
    """Check cases and labels and make a `Dataset` of them.

    Args:
        name: what to call the data.
        cases: (channels, time points) each.
        labels: one for each case, of any type that labels have; None without labels.
        description: where the data came from.
        channel_names: a name for each channel.
        case_names: a name for each case.
        classes: labels known beforehand, whose spelling holds.

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
    texts = None if labels is None else _texts(name, labels, classes)
    if texts is not None and len(texts) != len(cases):
        raise DataError(f"{name}: {len(cases)} cases but {len(texts)} labels; each case needs one label")
    equal = len({series.shape[1] for series in cases}) == 1
    found = np.stack(cases) if equal else list(cases)
    return Dataset(name, found, texts, description, channel_names, case_names)


def _bytes(series: Series) -> bytes:
    return repr(series.shape).encode() + np.ascontiguousarray(series).tobytes()


def _texts(name: str, labels: Sequence[object], classes: Sequence[str]) -> Labels:
    texts = []
    for index, label in enumerate(labels):
        try:
            texts.append(label if isinstance(label, str) and label in classes else label_text(label))
        except DataError as error:
            raise DataError(f"{name}: the label of case {index} {error}") from None
    return np.array(one_spelling(texts, classes), dtype=np.str_)
