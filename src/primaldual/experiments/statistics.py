"""Means, deviations and paired differences over few seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Spread:
    """Mean and sample deviation of n values; one value has no deviation."""

    mean: float
    deviation: float | None
    count: int

    def text(self, digits: int = 3, factor: float = 1.0) -> str:
        """``mean ± deviation``, both times ``factor``.

        Example:
            >>> spread([0.5, 0.7]).text(1, 100)
            '60.0 ± 14.1'
        """
        mean = f"{self.mean * factor:.{digits}f}"
        return mean if self.deviation is None else f"{mean} ± {self.deviation * factor:.{digits}f}"


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences with its t confidence interval; one pair has no interval."""

    mean: float
    low: float | None
    high: float | None
    count: int

    @property
    def verdict(self) -> str:
        """What the interval allows to say."""
        if self.low is None or self.high is None:
            return "one seed: no interval"
        if self.low == self.high:
            return "the same for every seed: no interval"
        if self.low > 0:
            return "above the baseline"
        return "below the baseline" if self.high < 0 else "no clear difference"


def spread(values: Sequence[float]) -> Spread:
    """Mean and deviation (n - 1 in the denominator).

    Example:
        >>> spread([1.0, 3.0])
        Spread(mean=2.0, deviation=1.4142135623730951, count=2)
    """
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), deviation, len(values))


def paired_difference(values: Sequence[float], baseline: Sequence[float]) -> Difference:
    """Mean of ``values - baseline``, seed by seed, and its 95 % interval.

        d +- t_{n-1, 0.975} s_d / sqrt(n)

    The pairs share data and seed; what varies is initialisation and batch order, not the test set.

    Example:
        >>> paired_difference([0.9, 0.8], [0.8, 0.8]).mean
        0.05
    """
    from scipy import stats

    differences = np.round(np.subtract(values, baseline), 12)
    mean, count = float(differences.mean()), len(differences)
    if count < 2:
        return Difference(mean, None, None, count)
    half = stats.t.ppf(0.5 + CONFIDENCE / 2, count - 1) * differences.std(ddof=1) / np.sqrt(count)
    return Difference(mean, float(mean - half), float(mean + half), count)
