"""Paired differences between two methods."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from primaldual.experiments.comparing.groups import Group, Groups, interval
from primaldual.experiments.statistics import Difference, paired_difference
from primaldual.experiments.store import Result


@dataclass(frozen=True)
class SetDifference:
    """A method minus the baseline on one data set.

    Attributes:
        data: name of the data set.
        over_seeds: paired by seed, with its t interval; it speaks of other seeds on this test part.
        over_cases: bootstrap interval paired by test case, mean over common seeds; it speaks of other test cases.
    """

    data: str
    over_seeds: Difference
    over_cases: tuple[float, float] | None


def differences(groups: Groups, method: str, baseline: str) -> list[SetDifference]:
    """Differences in accuracy on every data set where both have common seeds."""
    found = []
    for data in groups.data:
        one, other = groups.of(data, method), groups.of(data, baseline)
        if one is None or other is None:
            continue
        pairs = _pairs(one, other)
        if pairs:
            values = [[result.accuracy for result in side] for side in zip(*pairs, strict=True)]
            found.append(SetDifference(data, paired_difference(*values), _over_cases(pairs)))
    return found


def win_draw_loss(found: list[SetDifference]) -> tuple[int, int, int]:
    """On how many data sets the mean difference is above, at, and below zero.

    Example:
        >>> from primaldual.experiments.statistics import paired_difference
        >>> win_draw_loss([SetDifference("toy", paired_difference([0.9], [0.8]), None)])
        (1, 0, 0)
    """
    signs = [int(np.sign(one.over_seeds.mean)) for one in found]
    return signs.count(1), signs.count(0), signs.count(-1)


def _pairs(one: Group, other: Group) -> list[tuple[Result, Result]]:
    by_seed = {result.seed: result for result in other.results}
    return [(result, by_seed[result.seed]) for result in one.results if result.seed in by_seed]


def _over_cases(pairs: list[tuple[Result, Result]]) -> tuple[float, float] | None:
    """Bootstrap over test cases; None where a result does not say which cases were wrong."""
    cases = sum(map(sum, pairs[0][0].confusion))
    gain = np.zeros(cases)
    for one, other in pairs:
        if one.wrong is None or other.wrong is None:
            return None
        gain[other.wrong] += 1 / len(pairs)
        gain[one.wrong] -= 1 / len(pairs)
    return interval(gain.tolist())
