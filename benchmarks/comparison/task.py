"""A task: which model learns what, with which attentions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.comparison.trial import Trial

Prepare = Callable[[str, int, float, Path], Trial]
"""Attention, seed, learning rate and the folder of the data -> a trial."""

ATTENTIONS = (
    "softmax",
    "linear",
    "linear+bn",
    "window(8)|sh(4)",
    "bn",
    "bn(gain=0.2)",
    "sh(1,1,2,4)",
    "bn+sh(1,1,2,4)",
)
BASELINE = ATTENTIONS[0]


@dataclass(frozen=True)
class Task:
    """What is learned; page.in says it in words.

    Attributes:
        name: what tables call it.
        unit: of the score, which is better when higher.
        factor: from the objective's metric to that unit.
        digits: behind the point of a score.
        learning_rate: the one at which softmax did best on validation data of another seed.
        prepare: makes a trial.
        attentions: that are trained.
    """

    name: str
    unit: str
    factor: float
    digits: int
    learning_rate: float
    prepare: Prepare
    attentions: tuple[str, ...] = ATTENTIONS
