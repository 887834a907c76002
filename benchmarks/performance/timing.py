"""Interleaved timing: every round runs each task once, so that drift of the machine hits all alike."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TypeVar

Clock = Callable[[], float]
Name = TypeVar("Name", bound=Hashable)

SAMPLE_SECONDS = 0.002
"""Shorter tasks are repeated within a sample until it takes this long."""

LONG_SECONDS = 0.1
"""First runs above this say enough about how long a task takes."""


@dataclass(frozen=True)
class Budget:
    """How long a measurement goes on.

    Attributes:
        seconds: rounds begin until so much time has passed.
        least: rounds that are made in any case.
        most: rounds at which it ends.
    """

    seconds: float
    least: int = 3
    most: int = 31


@dataclass(frozen=True)
class Spread:
    """Median and quartiles.

    Attributes:
        median: half of the rounds were below.
        lower: first quartile.
        upper: third quartile.
        rounds: how many there were.
    """

    median: float
    lower: float
    upper: float
    rounds: int

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Of one value per round.

        Example:
            >>> Spread.of([1.0, 2.0, 3.0])
            Spread(median=2.0, lower=1.5, upper=2.5, rounds=3)
        """
        if len(values) == 1:
            return cls(values[0], values[0], values[0], 1)
        lower, _, upper = quantiles(values, n=4, method="inclusive")
        return cls(median(values), lower, upper, len(values))


def interleaved(
    tasks: Mapping[Name, Callable[[], object]], budget: Budget, clock: Clock = time.perf_counter
) -> dict[Name, list[float]]:
    """Seconds of one run of every task, a list over rounds; rounds alternate between two orders.

    Each task runs once to warm up, and once more if that was short, to see how often it must be repeated within a
    sample.

    Args:
        tasks: what to run, by name.
        budget: when to stop.
        clock: seconds.

    Example:
        >>> ticks = iter(range(1000))
        >>> found = interleaved({"one": lambda: None}, Budget(5, least=2, most=2), lambda: float(next(ticks)))
        >>> found
        {'one': [1.0, 1.0]}
    """
    repeats = {name: _repeats(task, clock) for name, task in tasks.items()}
    found: dict[Name, list[float]] = {name: [] for name in tasks}
    names = list(tasks)
    with _no_collection():
        start = clock()
        for turn in range(budget.most):
            if turn >= budget.least and clock() - start >= budget.seconds:
                break
            for name in names if turn % 2 == 0 else reversed(names):
                found[name].append(_once(tasks[name], repeats[name], clock))
    return found


def ratio(above: list[float], below: list[float]) -> Spread:
    """Of the ratios within each round.

    Example:
        >>> ratio([2.0, 4.0, 9.0], [1.0, 2.0, 3.0]).median
        2.0
    """
    return Spread.of([one / other for one, other in zip(above, below, strict=True)])


def _repeats(task: Callable[[], object], clock: Clock) -> int:
    """How many runs make a sample."""
    if _once(task, 1, clock) > LONG_SECONDS:
        return 1
    return max(1, math.ceil(SAMPLE_SECONDS / max(_once(task, 1, clock), 1e-9)))


def _once(task: Callable[[], object], repeats: int, clock: Clock) -> float:
    start = clock()
    for _ in range(repeats):
        task()
    return (clock() - start) / repeats


@contextmanager
def _no_collection() -> Iterator[None]:
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
