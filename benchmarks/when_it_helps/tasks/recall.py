"""Associative recall: the last token asks for the value that was stored beside its key."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.when_it_helps.tasks.patterns import unit_vectors


@dataclass(frozen=True)
class Recall:
    """Items in random order, each a key and a value over some neighbouring tokens; then a key that asks.

    Channels: the key, the value (one channel for each), and a mark at the tokens that ask.

    Attributes:
        items: with different keys.
        spread: neighbouring tokens that repeat an item, and that ask.
        width: channels of a key.
        values: different values; the label is one of them.
        noise: deviation of the noise on every channel of keys and values.
        gain: deviation of the logarithm of a factor of each key channel, drawn for every sequence.
        offset: deviation of what is added to each key channel, drawn for every sequence.
    """

    items: int = 8
    spread: int = 1
    width: int = 8
    values: int = 4
    noise: float = 0.0
    gain: float = 0.0
    offset: float = 0.0

    def __call__(
        self, generator: np.random.Generator, cases: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Tokens (cases, channels, length) and the value that is asked for."""
        keys = np.sqrt(self.width) * unit_vectors(generator, self.items, self.width)
        order = np.argsort(generator.random((cases, self.items)), axis=1)
        stored = generator.integers(self.values, size=(cases, self.items))
        asked = generator.integers(self.items, size=cases)
        rows = np.arange(cases)
        places = np.concatenate([order, order[rows, asked, None]], axis=1).repeat(self.spread, axis=1)
        shown = np.concatenate([np.eye(self.values)[stored], np.zeros((cases, 1, self.values))], axis=1)
        found, shown = keys[places], shown.repeat(self.spread, axis=1)
        found = found + self.noise * generator.normal(size=found.shape)
        shown = shown + self.noise * generator.normal(size=shown.shape)
        factor = np.exp(self.gain * generator.normal(size=(cases, 1, self.width)))
        added = self.offset * generator.normal(size=(cases, 1, self.width))
        mark = np.zeros((*places.shape, 1))
        mark[:, -self.spread :] = 1.0
        tokens = np.concatenate([found * factor + added, shown, mark], axis=2)
        return tokens.transpose(0, 2, 1), stored[rows, asked]
