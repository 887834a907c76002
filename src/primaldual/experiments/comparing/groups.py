"""Finished cells by data set and method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from primaldual.experiments.statistics import CONFIDENCE, Spread, spread
from primaldual.experiments.store import Result

_RESAMPLES = 2000
_LEAST = 3
"""Fewer values than these have no bootstrap interval."""


@dataclass(frozen=True)
class Group:
    """All seeds of one method on one data set."""

    data: str
    method: str
    results: tuple[Result, ...]

    @cached_property
    def accuracy(self) -> Spread:
        """Test accuracy over seeds."""
        return spread([result.accuracy for result in self.results])

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """Bootstrap interval of the mean accuracy, over seeds."""
        return interval([result.accuracy for result in self.results])

    @property
    def seconds(self) -> float:
        """Mean processor time of training; wall clock where only that was kept."""
        return float(
            np.mean([one.seconds if one.cpu_seconds is None else one.cpu_seconds for one in self.results])
        )

    @property
    def predict_seconds(self) -> float | None:
        """Mean processor time of predicting the test part; None where it was not kept."""
        return self._mean([result.predict_seconds for result in self.results])

    def measure(self, name: str) -> float | None:
        """Mean of a measure; None where a result lacks it."""
        return self._mean([result.measures.get(name) for result in self.results])

    @staticmethod
    def _mean(values: Sequence[float | None]) -> float | None:
        total = _total(values)
        return None if total is None else total / len(values)


class Groups:
    """The groups of some results.

    Args:
        results: finished cells, each at most once.
        methods: their order; that of the results by default. The first is the baseline of differences.
        data: likewise.
    """

    def __init__(
        self,
        results: Sequence[Result],
        methods: Sequence[str] | None = None,
        data: Sequence[str] | None = None,
    ) -> None:
        found: dict[tuple[str, str], list[Result]] = {}
        for result in results:
            found.setdefault((result.data, result.method), []).append(result)
        self._groups = {key: Group(*key, tuple(cells)) for key, cells in found.items()}
        named = methods or list(dict.fromkeys(result.method for result in results))
        self.methods = [method for method in named if any(key[1] == method for key in found)]
        self.data = list(data or dict.fromkeys(result.data for result in results))
        self.optimistic = any(result.optimistic for result in results)

    def of(self, data: str, method: str) -> Group | None:
        """The group of a method on a data set, if it has results."""
        return self._groups.get((data, method))

    @cached_property
    def common(self) -> list[str]:
        """Data sets on which every method has results."""
        return [
            data
            for data in self.data
            if self.methods and all(self.of(data, method) for method in self.methods)
        ]

    @cached_property
    def means(self) -> np.ndarray:
        """Mean accuracies, (common data sets, methods)."""
        return np.array(
            [[self._groups[data, method].accuracy.mean for method in self.methods] for data in self.common]
        ).reshape(len(self.common), len(self.methods))

    def mean_accuracy(self, method: str) -> float | None:
        """Mean over the common data sets."""
        return float(self.means[:, self.methods.index(method)].mean()) if self.common else None

    def mean_interval(self, method: str) -> tuple[float, float] | None:
        """Bootstrap interval of `mean_accuracy` over data sets; over seeds when there is one data set."""
        if len(self.common) == 1:
            return self._groups[self.common[0], method].interval
        return interval(self.means[:, self.methods.index(method)].tolist())

    def total_seconds(self, method: str) -> float:
        """Processor time of training once on every common data set."""
        return sum(self._groups[data, method].seconds for data in self.common)

    def total_predict_seconds(self, method: str) -> float | None:
        """Processor time of predicting all common test parts; None where it is missing."""
        return _total([self._groups[data, method].predict_seconds for data in self.common])

    def total_measure(self, method: str, name: str) -> float | None:
        """Sum of a measure over the common data sets; None where it is missing."""
        return _total([self._groups[data, method].measure(name) for data in self.common])


def _total(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) if found and len(found) == len(values) else None


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the mean at `CONFIDENCE`; None for fewer than three values.

    Example:
        >>> interval([0.5, 0.5, 0.5]), interval([0.5, 0.7])
        ((0.5, 0.5), None)
    """
    from scipy import stats

    if len(values) < _LEAST:
        return None
    if len(set(values)) == 1:
        return values[0], values[0]
    found = stats.bootstrap(
        (np.asarray(values),),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=100,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)
