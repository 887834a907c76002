"""Choose among results, and compare two sets of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from primaldual.errors import ArgumentError, did_you_mean
from primaldual.experiments.comparing.groups import Groups
from primaldual.experiments.statistics import Difference, paired_difference
from primaldual.experiments.store import Result


@dataclass(frozen=True)
class Change:
    """One group here and there.

    Attributes:
        data: name of the data set.
        method: label of the method.
        here: mean accuracy here, over the common seeds.
        there: mean accuracy there.
        difference: here minus there, paired by seed.
    """

    data: str
    method: str
    here: float
    there: float
    difference: Difference


def newest(results: Sequence[Result]) -> list[Result]:
    """The last one finished for each data set, method and seed; others had other settings or other code."""
    return list({(one.data, one.method, one.seed): one for one in results}.values())


def chosen(results: Sequence[Result], data: Sequence[str], methods: Sequence[str]) -> list[Result]:
    """The results of some data sets and methods; all where none is named.

    Raises:
        ArgumentError: a name that no result has.
    """
    for wanted, names, flag in (
        (data, {one.data for one in results}, "data"),
        (methods, {one.method for one in results}, "method"),
    ):
        for name in wanted:
            if name not in names:
                accepted = ", ".join(sorted(names)) or "nothing is finished"
                raise ArgumentError(
                    f"{flag} {name!r} has no results{did_you_mean(name, names)}; there are: {accepted}"
                )
    return [
        one for one in results if (not data or one.data in data) and (not methods or one.method in methods)
    ]


def changes(here: Sequence[Result], there: Sequence[Result]) -> list[Change]:
    """Every data set and method with common seeds, here against there."""
    ours, theirs = Groups(here), Groups(there)
    found = []
    for data in ours.data:
        for method in ours.methods:
            one, other = ours.of(data, method), theirs.of(data, method)
            if one is None or other is None:
                continue
            old = {result.seed: result.accuracy for result in other.results}
            pairs = [(result.accuracy, old[result.seed]) for result in one.results if result.seed in old]
            if pairs:
                now, before = zip(*pairs, strict=True)
                difference = paired_difference(now, before)
                count = len(pairs)
                found.append(Change(data, method, sum(now) / count, sum(before) / count, difference))
    return found
