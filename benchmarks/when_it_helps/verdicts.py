"""Paired differences to softmax, with intervals, and what became of the predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.when_it_helps.predictions import Prediction
from benchmarks.when_it_helps.records import Record
from primaldual.experiments.comparing.groups import interval
from primaldual.experiments.statistics import Difference, paired_difference

BASELINE = "softmax"


@dataclass(frozen=True)
class Gain:
    """An attention minus softmax on one task, paired by seed, which fixes data and initial weights.

    Attributes:
        task: name.
        attention: spec.
        difference: mean and t interval.
        bootstrap: percentile interval over the seeds; narrower, and with few seeds too narrow.
    """

    task: str
    attention: str
    difference: Difference
    bootstrap: tuple[float, float] | None

    @property
    def sign(self) -> int:
        """1 or -1 where both intervals exclude zero, else 0."""
        low, high = self.difference.low, self.difference.high
        if low is None or high is None or self.bootstrap is None:
            return 0
        return int(min(low, self.bootstrap[0]) > 0) - int(max(high, self.bootstrap[1]) < 0)


def accuracies(records: Sequence[Record], task: str, attention: str) -> dict[int, float]:
    """By seed."""
    return {one.seed: one.accuracy for one in records if (one.task, one.attention) == (task, attention)}


def gain(records: Sequence[Record], task: str, attention: str, against: str | None = None) -> Gain | None:
    """The difference on the seeds that both have; None where there are none.

    Args:
        records: of the final runs.
        task: of the attention.
        attention: spec.
        against: the task on which softmax was trained, where it is another one on the same data.
    """
    ours, theirs = accuracies(records, task, attention), accuracies(records, against or task, BASELINE)
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    one, other = [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]
    differences = np.round(np.subtract(one, other), 12).tolist()
    return Gain(task, attention, paired_difference(one, other), interval(differences))


def p_value(records: Sequence[Record], prediction: Prediction) -> float:
    """Two-sided paired t test; 1 where all differences are 0, and where there are fewer than two."""
    from scipy import stats

    ours = accuracies(records, prediction.task, prediction.attention)
    theirs = accuracies(records, prediction.task, BASELINE)
    differences = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    if len(differences) < 2:
        return 1.0
    if len(set(differences)) == 1:
        return 0.0 if differences[0] else 1.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def holm(values: Mapping[str, float]) -> dict[str, float]:
    """p-values of several tests, corrected.

    Example:
        >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
        {'a': 0.03, 'c': 0.06, 'b': 0.06}
    """
    corrected, largest = {}, 0.0
    for place, (name, value) in enumerate(sorted(values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, value * (len(values) - place)))
        corrected[name] = largest
    return corrected
