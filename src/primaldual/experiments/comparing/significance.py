"""Tests over data sets: ranks, Friedman, Wilcoxon with Holm's correction, and groups that cannot be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from primaldual.experiments.comparing.groups import Groups

ALPHA = 0.05
LEAST_SETS = 2


@dataclass(frozen=True)
class Ranking:
    """Methods over the data sets that all of them have.

    Attributes:
        methods: from the lowest (best) mean rank to the highest.
        ranks: their mean ranks.
        data: number of data sets.
        friedman: p-value of "all methods rank alike"; None for fewer than three methods or two data sets.
        holm: for each pair of methods the p-value of Wilcoxon's signed-rank test, corrected by Holm over all pairs.
        critical_difference: Nemenyi's, of mean ranks.
        cliques: runs of neighbours in which no pair differs by ``holm``, longest possible, of two or more.
    """

    methods: tuple[str, ...]
    ranks: tuple[float, ...]
    data: int
    friedman: float | None
    holm: dict[frozenset[str], float]
    critical_difference: float | None
    cliques: tuple[tuple[int, int], ...]


def ranking(groups: Groups) -> Ranking | None:
    """Rank the methods; None for fewer than two methods or data sets."""
    from scipy import stats

    count, sets = len(groups.methods), len(groups.common)
    if count < 2 or sets < LEAST_SETS:
        return None
    means = groups.means.round(12)
    ranks = stats.rankdata(-means, axis=1).mean(0)
    order = np.argsort(ranks, kind="stable")
    methods = tuple(groups.methods[place] for place in order)
    holm = _wilcoxon_holm(means, groups.methods)
    different = len(np.unique(means)) > 1
    friedman = float(stats.friedmanchisquare(*means.T).pvalue) if count > 2 and different else None
    critical = float(
        stats.studentized_range.ppf(1 - ALPHA, count, np.inf) * np.sqrt(count * (count + 1) / (12 * sets))
    )
    return Ranking(
        methods,
        tuple(float(ranks[place]) for place in order),
        sets,
        friedman,
        holm,
        critical,
        _cliques(methods, holm),
    )


def holm_correction(values: Sequence[float]) -> list[float]:
    """P-values corrected for their number: the i-th smallest of m times m - i + 1, never falling.

    Example:
        >>> [round(value, 3) for value in holm_correction([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    corrected = np.empty(len(values))
    highest = 0.0
    for place, index in enumerate(np.argsort(values, kind="stable")):
        highest = max(highest, min(1.0, (len(values) - place) * values[index]))
        corrected[index] = highest
    return corrected.tolist()


def _wilcoxon_holm(means: np.ndarray[Any, Any], methods: Sequence[str]) -> dict[frozenset[str], float]:
    pairs = list(combinations(range(len(methods)), 2))
    corrected = holm_correction(
        [_wilcoxon((means[:, one] - means[:, other]).round(12)) for one, other in pairs]
    )
    return {
        frozenset({methods[one], methods[other]}): value
        for (one, other), value in zip(pairs, corrected, strict=True)
    }


def _wilcoxon(differences: np.ndarray[Any, Any]) -> float:
    from scipy import stats

    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences, zero_method="pratt").pvalue)


def _cliques(methods: Sequence[str], holm: dict[frozenset[str], float]) -> tuple[tuple[int, int], ...]:
    """First and last place of every maximal run of neighbours that no test tells apart."""
    found: list[tuple[int, int]] = []
    for first in range(len(methods)):
        last = first
        while last + 1 < len(methods) and all(
            holm[frozenset({methods[last + 1], methods[place]})] >= ALPHA for place in range(first, last + 1)
        ):
            last += 1
        if last > first and not any(last <= end for _, end in found):
            found.append((first, last))
    return tuple(found)
