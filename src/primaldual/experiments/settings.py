"""What is compared: the attentions, the seeds, and everything that the runs share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from primaldual.data import Dataset, load_pair
from primaldual.errors import ArgumentError

OnEpoch = Callable[[Mapping[str, Any]], None]
"""Called with the history entry of each finished epoch."""

DEFAULT_ATTENTIONS = ("softmax", "bn", "sh", "bn+sh")


@dataclass(frozen=True)
class Run:
    """One cell of the grid: an attention and a seed."""

    attention: str
    seed: int

    @property
    def folder(self) -> str:
        """Name of the run's model folder."""
        return f"{self.attention}-seed{self.seed}"


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
        >>> len(settings.runs), settings.baseline
        (4, 'softmax')
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
    def runs(self) -> list[Run]:
        """The grid, seed by seed, so that an interrupted comparison has whole rows to show."""
        return [Run(attention, seed) for seed in self.seeds for attention in self.attentions]

    def load(self) -> tuple[Dataset, Dataset]:
        """Train and test part of the data."""
        return load_pair(self.source, self.data_dir)


class Classifier(Protocol):
    """What a comparison needs of an estimator; AttentionClassifier has it."""

    history_: list[dict[str, Any]]
    best_epoch_: int

    def fit(self, X: Any, y: Any) -> Any:
        """Train."""

    def predict(self, X: Any) -> Any:
        """Labels."""

    def save(self, path: Any) -> Any:
        """Write a folder."""


class ClassifierFactory(Protocol):
    """Makes an untrained classifier; must pickle when runs go to other processes."""

    def __call__(self, run: Run, options: Mapping[str, Any], on_epoch: OnEpoch) -> Classifier:
        """The classifier of one run."""


def attention_classifier(run: Run, options: Mapping[str, Any], on_epoch: OnEpoch) -> Classifier:
    """An AttentionClassifier with the run's attention and seed."""
    from primaldual.estimators import AttentionClassifier
    from primaldual.experiments.epoch_report import EpochReport

    watchers = [EpochReport(on_epoch)]
    classifier: Classifier = AttentionClassifier(
        run.attention, random_state=run.seed, callbacks=watchers, **options
    )
    return classifier
