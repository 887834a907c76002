"""What a grid needs to know of a classifier."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from primaldual.data import Dataset
from primaldual.errors import ArgumentError, did_you_mean
from primaldual.experiments.code_version import OURS, code_version

Hear = Callable[[Mapping[str, Any]], None]
"""Called with the history entry of each finished epoch."""


class Method(ABC):
    """A classifier with all its settings, trained and tested alike for every seed. Pickles.

    Attributes:
        label: what tables call it.
        estimator: name of the classifier's class.
        sentence: what it is, in one plain sentence.
        equation: the primal that it is derived from, with the values that are used; "" where there is none.
        by_epochs: whether it trains epoch by epoch.
    """

    label: str
    estimator: str
    sentence: str
    equation: str = ""
    by_epochs: bool = False

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """Every argument of the classifier but the seed, defaults too."""

    @abstractmethod
    def build(self, seed: int, threads: int) -> Any:
        """The classifier, untrained."""

    @abstractmethod
    def tuned(self, changes: Mapping[str, Any]) -> Method:
        """The same method with other arguments."""

    def fit(self, train: Dataset, seed: int, threads: int, hear: Hear, chooser: Dataset | None = None) -> Any:
        """Train.

        Args:
            train: training part.
            seed: of everything random.
            threads: threads to use.
            hear: hears of every epoch, where there are epochs.
            chooser: data that chooses the epoch in place of a validation part, where there are epochs.

        Returns:
            The fitted classifier.
        """
        del hear, chooser
        return self.build(seed, threads).fit(self.series(train, train), train.y)

    def series(self, part: Dataset, train: Dataset) -> Any:
        """The series of a part in the form that the classifier takes."""
        del train
        return part.X

    def check(self, train: Dataset) -> None:
        """Refuse arguments that do not fit together or do not fit the data, before anything is trained.

        Raises:
            PrimalDualError: they do not fit.
        """
        del train

    def warm_up(self) -> None:
        """Do what only the first use in a process costs, such as compiling."""
        return

    def measures(self, fitted: Any, test: Dataset) -> dict[str, float]:
        """What is measured of a fitted classifier besides accuracy and time, by name."""
        del fitted, test
        return {}

    def code(self) -> str:
        """The code that results depend on."""
        return code_version(OURS, ("torch",))


def use_once(classifier: Any) -> None:
    """Train and test a classifier on a little noise."""
    cases = np.random.default_rng(0).normal(size=(8, 2, 20))
    classifier.fit(cases, np.arange(8) % 2).predict(cases)


def check_arguments(given: Mapping[str, Any], accepted: Mapping[str, Any], owner: str) -> None:
    """Refuse arguments that a classifier does not have.

    Raises:
        ArgumentError: an unknown argument.
    """
    for name in given:
        if name not in accepted:
            names = ", ".join(sorted(accepted))
            raise ArgumentError(
                f"{owner} has no argument {name!r}{did_you_mean(name, accepted)}; accepted: {names}"
            )
