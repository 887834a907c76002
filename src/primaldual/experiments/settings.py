"""What is compared: the attentions, the seeds, and everything that the runs share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from primaldual.data import Dataset, load_pair
from primaldual.errors import ArgumentError
from primaldual.experiments.methods import AttentionMethod, Method

DEFAULT_ATTENTIONS = ("softmax", "bn", "sh", "bn+sh")
"""The attentions of a comparison that names none."""


@dataclass(frozen=True)
class Settings:
    """A comparison. The first attention is the baseline of the paired differences.

    Args:
        source: data set, a name or a path.
        attentions: specs, each at most once.
        seeds: one run of every attention for each.
        options: arguments of the classifier that differ from its defaults.
        data_dir: folder to look for the data set in.

    Raises:
        ArgumentError: no attention, no seed, or one given twice.

    Example:
        >>> settings = Settings("BasicMotions", ("softmax", "bn"), (0, 1))
        >>> len(settings.methods), settings.baseline
        (2, 'softmax')
    """

    source: str
    attentions: tuple[str, ...] = DEFAULT_ATTENTIONS
    seeds: tuple[int, ...] = (0, 1, 2)
    options: Mapping[str, Any] = field(default_factory=dict)
    data_dir: str | None = None

    def __post_init__(self) -> None:
        for name, values in (("attentions", self.attentions), ("seeds", self.seeds)):
            if not values:
                raise ArgumentError(f"{name} is empty; at least one is needed")
            if len(set(values)) != len(values):
                raise ArgumentError(f"{name} must differ from each other; got {', '.join(map(str, values))}")

    @property
    def baseline(self) -> str:
        """The attention that the others are compared with."""
        return self.attentions[0]

    @property
    def methods(self) -> list[Method]:
        """The classifiers to train, one for each attention."""
        return [AttentionMethod(attention, self.options) for attention in self.attentions]

    def load(self) -> tuple[Dataset, Dataset]:
        """Train and test part of the data."""
        return load_pair(self.source, self.data_dir)
