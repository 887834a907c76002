"""Long noisy sequences: which of several patterns occurs in a row of neighbouring tokens?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Patterns:
    """Noise with a run of one pattern; optionally all other patterns occur as often, but scattered.

    Attributes:
        length: tokens.
        channels: of a token.
        classes: patterns, random unit vectors.
        run: neighbouring tokens that carry the pattern.
        strength: size of the pattern; noise has deviation 1 in every channel.
        scattered: whether the other patterns stand at as many single tokens each, far from one another.
    """

    length: int = 256
    channels: int = 8
    classes: int = 4
    run: int = 16
    strength: float = 1.0
    scattered: bool = False

    def __call__(
        self, generator: np.random.Generator, cases: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Tokens (cases, channels, length) and the pattern of the run."""
        patterns = unit_vectors(generator, self.classes, self.channels)
        labels = generator.integers(self.classes, size=cases)
        places = np.stack([self._places(generator, label) for label in labels])
        known = np.concatenate([self.strength * patterns, np.zeros((1, self.channels))])
        tokens = generator.normal(size=(cases, self.length, self.channels)) + known[places]
        return tokens.transpose(0, 2, 1), labels

    def _places(self, generator: np.random.Generator, label: int) -> NDArray[np.int64]:
        """The pattern at every token, `classes` for none."""
        places = np.full(self.length, self.classes)
        start = generator.integers(self.length - self.run + 1)
        if self.scattered:
            free = np.r_[:start, start + self.run : self.length]
            others = np.repeat([other for other in range(self.classes) if other != label], self.run)
            places[generator.choice(free, len(others), replace=False)] = others
        places[start : start + self.run] = label
        return places


def unit_vectors(generator: np.random.Generator, count: int, width: int) -> NDArray[np.float64]:
    """Random directions; orthogonal to one another where there are no more than dimensions."""
    square = generator.normal(size=(max(count, width), width))
    if count <= width:
        return np.linalg.qr(square.T)[0].T[:count]
    return square[:count] / np.linalg.norm(square[:count], axis=1, keepdims=True)
