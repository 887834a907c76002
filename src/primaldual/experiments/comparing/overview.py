"""One row per method: the numbers that a table, a page and an export show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from primaldual.experiments.comparing.differences import SetDifference, differences, win_draw_loss
from primaldual.experiments.comparing.groups import Groups, interval
from primaldual.experiments.comparing.significance import Ranking, ranking

Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Row:
    """One method.

    Attributes:
        method: its label.
        accuracy: mean test accuracy over the common data sets; None without one.
        accuracy_interval: bootstrap over data sets; over seeds when there is one data set.
        rank: mean rank; None for fewer than two data sets or methods.
        difference: mean over data sets of the difference to the baseline; None for the baseline.
        difference_interval: bootstrap over data sets; t interval over seeds when there is one data set.
        wins: data sets won, drawn and lost against the baseline.
        p_value: Wilcoxon's signed-rank test against the baseline over data sets, by Holm over all pairs of methods.
        seconds: processor time of training once on every common data set.
        predict_seconds: processor time of predicting all common test parts; None where it was not kept.
        operations: of one series of each common data set, together; None where the method has none.
        head_distance: mean over the common data sets of the distance between heads; None where there are no heads.
        sets: the differences, data set by data set.
    """

    method: str
    accuracy: float | None
    accuracy_interval: Interval
    rank: float | None
    difference: float | None
    difference_interval: Interval
    wins: tuple[int, int, int] | None
    p_value: float | None
    seconds: float
    predict_seconds: float | None
    operations: float | None
    head_distance: float | None
    sets: tuple[SetDifference, ...]

    @property
    def cost(self) -> float:
        """Processor time of training and predicting."""
        return self.seconds + (self.predict_seconds or 0.0)

    def on(self, data: str) -> SetDifference | None:
        """The difference on one data set."""
        return next((one for one in self.sets if one.data == data), None)


@dataclass(frozen=True)
class Overview:
    """What finished cells say about their methods.

    Attributes:
        groups: the cells.
        rows: the methods, highest accuracy first.
        ranking: tests over data sets, where there are enough.
        baseline: what differences are taken to.
    """

    groups: Groups
    rows: tuple[Row, ...]
    ranking: Ranking | None
    baseline: str


def overview(groups: Groups, baseline: str | None = None) -> Overview:
    """Put the numbers of all methods together.

    Args:
        groups: finished cells.
        baseline: what differences are taken to; the first method by default.
    """
    base = baseline if baseline in groups.methods else groups.methods[0]
    ranked = ranking(groups)
    rows = [_row(groups, method, base, ranked) for method in groups.methods]
    rows.sort(key=lambda row: -np.inf if row.accuracy is None else -row.accuracy)
    return Overview(groups, tuple(rows), ranked, base)


def _row(groups: Groups, method: str, baseline: str, ranked: Ranking | None) -> Row:
    found = [] if method == baseline else differences(groups, method, baseline)
    means = [one.over_seeds.mean for one in found]
    distance = groups.total_measure(method, "head_distance")
    return Row(
        method,
        groups.mean_accuracy(method),
        groups.mean_interval(method) if groups.common else None,
        None if ranked is None else ranked.ranks[ranked.methods.index(method)],
        float(np.mean(means)) if means else None,
        _difference_interval(found),
        win_draw_loss(found) if found else None,
        None if ranked is None or method == baseline else ranked.holm[frozenset({method, baseline})],
        groups.total_seconds(method),
        groups.total_predict_seconds(method),
        groups.total_measure(method, "operations"),
        None if distance is None else distance / len(groups.common),
        tuple(found),
    )


def _difference_interval(found: list[SetDifference]) -> Interval:
    if len(found) == 1:
        only = found[0].over_seeds
        return None if only.low is None or only.high is None else (only.low, only.high)
    return interval([one.over_seeds.mean for one in found])
