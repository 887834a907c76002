"""A task: data for every seed, and the recipe that all attentions share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.when_it_helps.recipe import Recipe
from primaldual.data import Dataset
from primaldual.experiments.methods import AttentionMethod, Method

FORMER_DEFAULTS = {"embedding": "linear", "augmentation": "none"}
"""Of AttentionClassifier, when the committed runs of time series were made."""

EXPLORATION = 100
"""Seeds from here on are for exploration: they never read the test part of a real data set."""

Pair = tuple[Dataset, Dataset]
Draw = Callable[[np.random.Generator, int], tuple[NDArray[np.float64], NDArray[np.int64]]]


@dataclass(frozen=True)
class Task:
    """What is learned, from which data, and how.

    Attributes:
        name: what tables call it.
        sentence: what it is, in one or two plain sentences.
        load: train and test part for a seed; from `EXPLORATION` on the second is validation data.
        recipe: model and training; None = AttentionClassifier at its defaults.
        attentions: specs, the baseline first.
        seeds: of the final runs.
    """

    name: str
    sentence: str
    load: Callable[[int], Pair]
    recipe: Recipe | None
    attentions: tuple[str, ...]
    seeds: tuple[int, ...]

    def method(self, attention: str) -> Method:
        """What is trained."""
        from benchmarks.when_it_helps.method import TransformerMethod

        return (
            AttentionMethod(attention, FORMER_DEFAULTS)
            if self.recipe is None
            else TransformerMethod(attention, self.recipe)
        )


def drawn(name: str, draw: Draw, train: int, test: int) -> Callable[[int], Pair]:
    """Both parts from a generator of its own for every seed: other seeds are other data and other patterns.

    Args:
        name: of the task.
        draw: tokens (cases, channels, length) and labels, from a generator and a number of cases.
        train: cases to learn from.
        test: cases to be tested on.
    """

    def load(seed: int) -> Pair:
        tokens, labels = draw(np.random.default_rng([seed, *name.encode()]), train + test)
        texts = labels.astype(str)
        return (
            Dataset(name, tokens[:train], texts[:train], "drawn"),
            Dataset(name, tokens[train:], texts[train:], "drawn"),
        )

    return load
