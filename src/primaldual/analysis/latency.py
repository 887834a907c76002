"""How long a forward pass takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Timing:
    """Repeated wall-clock times of one thing, in seconds.

    Attributes:
        median: half of the repeats were faster.
        lower: first quartile.
        upper: third quartile.
        repeats: how often it ran.
    """

    median: float
    lower: float
    upper: float
    repeats: int


def interleaved_latency(
    tasks: Mapping[str, Callable[[], object]], repeats: int = 30, warmup: int = 3
) -> dict[str, Timing]:
    """Time every task ``repeats`` times, one of each per round, so that drift of the machine hits all alike.

    Args:
        tasks: what to run, by name.
        repeats: rounds that count.
        warmup: rounds that do not.

    Example:
        >>> timings = interleaved_latency({"nothing": lambda: None}, repeats=5)
        >>> timings["nothing"].repeats
        5
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(warmup + repeats):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            elapsed = time.perf_counter() - start
            if turn >= warmup:
                seconds[name].append(elapsed)
    quartiles = {name: np.percentile(times, [25, 50, 75]) for name, times in seconds.items()}
    return {name: Timing(float(q[1]), float(q[0]), float(q[2]), repeats) for name, q in quartiles.items()}
