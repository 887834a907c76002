"""The results of a comparison, put together per attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from primaldual.experiments.profile import Profile
from primaldual.experiments.statistics import Difference, Spread, paired_difference, spread
from primaldual.experiments.store import Result


@dataclass(frozen=True)
class Summary:
    """One attention's runs and what was measured of its models."""

    attention: str
    results: tuple[Result, ...]
    baseline: tuple[Result, ...]
    profile: Profile | None = None

    @cached_property
    def accuracy(self) -> Spread:
        """Test accuracy over seeds."""
        return spread([result.accuracy for result in self.results])

    @cached_property
    def balanced_accuracy(self) -> Spread:
        """Balanced test accuracy over seeds."""
        return spread([result.balanced_accuracy for result in self.results])

    @cached_property
    def seconds(self) -> Spread:
        """Training time over seeds."""
        return spread([result.seconds for result in self.results])

    @cached_property
    def epoch_seconds(self) -> float | None:
        """Median time of one epoch over all runs; None where the classifier kept no times."""
        times = [time for curve in self.curve("seconds") for time in curve]
        return float(np.median(times)) if times else None

    @cached_property
    def difference(self) -> Difference | None:
        """Accuracy minus the baseline's, paired by seed; None for the baseline or without common seeds."""
        other = {result.seed: result.accuracy for result in self.baseline}
        pairs = [(result.accuracy, other[result.seed]) for result in self.results if result.seed in other]
        if self.results == self.baseline or not pairs:
            return None
        return paired_difference([pair[0] for pair in pairs], [pair[1] for pair in pairs])

    def curve(self, key: str) -> list[list[float]]:
        """One list over epochs per run; empty where the classifier kept no such number."""
        curves = []
        for result in self.results:
            values = [epoch.get(key) for epoch in result.history]
            if values and None not in values:
                curves.append([float(value) for value in values if value is not None])
        return curves

    @cached_property
    def redundancy(self) -> list[Spread]:
        """Distance between heads, per layer, over seeds; empty without a profile or with one head."""
        if self.profile is None or not self.profile.redundancy:
            return []
        layers = np.array(self.profile.redundancy).T
        return [] if np.isnan(layers).any() else [spread(layer.tolist()) for layer in layers]


def summarise(
    attentions: Sequence[str], results: Sequence[Result], profiles: Mapping[str, Profile]
) -> list[Summary]:
    """A summary of every attention that has a finished run, in the given order; the first is the baseline."""
    by_attention = {
        attention: tuple(result for result in results if result.method == attention)
        for attention in attentions
    }
    baseline = by_attention[attentions[0]]
    return [
        Summary(attention, found, baseline, profiles.get(attention))
        for attention, found in by_attention.items()
        if found
    ]
