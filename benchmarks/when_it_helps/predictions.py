"""What was predicted before the final runs: which attention beats softmax, or loses to it, on which task."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """A difference in test accuracy to softmax, named in advance.

    Attributes:
        task: name of the task.
        attention: spec.
        sign: 1 = above softmax, -1 = below.
        reason: why.
    """

    task: str
    attention: str
    sign: int
    reason: str


PREDICTIONS: tuple[Prediction, ...] = ()
