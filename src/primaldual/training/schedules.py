"""Learning rate schedules: the factor on the learning rate, from the share of training done."""

import math
from collections.abc import Callable, Mapping

Schedule = Callable[[float], float]
"""Share of training done, in [0, 1] -> factor on the learning rate, in [0, 1]."""


def constant(progress: float) -> float:
    """The same learning rate throughout.

    Example:
        >>> constant(0.7)
        1.0
    """
    del progress
    return 1.0


def cosine(progress: float) -> float:
    """Half a cosine from 1 down to 0: (1 + cos(pi progress)) / 2.

    Example:
        >>> cosine(0.0), round(cosine(0.5), 3), cosine(1.0)
        (1.0, 0.5, 0.0)
    """
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def linear(progress: float) -> float:
    """A straight line from 1 down to 0.

    Example:
        >>> linear(0.0), linear(0.25), linear(1.0)
        (1.0, 0.75, 0.0)
    """
    return 1.0 - progress


SCHEDULES: Mapping[str, Schedule] = {"cosine": cosine, "constant": constant, "linear": linear}
"""Schedules by name."""


def learning_rate_factor(schedule: Schedule, step: int, warmup_steps: int, total_steps: int) -> float:
    """Factor at a step (counted from 0): a linear warm-up, then the schedule over the remaining steps.

    A function of the step alone, so resuming needs no scheduler state.

    Example:
        >>> [round(learning_rate_factor(cosine, step, 2, 6), 2) for step in range(6)]
        [0.5, 1.0, 1.0, 0.85, 0.5, 0.15]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return schedule((step - warmup_steps) / max(total_steps - warmup_steps, 1))
