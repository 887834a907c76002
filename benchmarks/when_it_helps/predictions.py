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


PREDICTIONS: tuple[Prediction, ...] = (
    Prediction(
        "recall, gains",
        "bn(gain=0.2)",
        1,
        "Division by the deviation undoes the factors of a sequence; softmax has to learn around them.",
    ),
    Prediction("recall, gains", "bn", 1, "As above; its scores start large, which this task forgives."),
    Prediction(
        "recall, offsets",
        "bn(gain=0.2)",
        1,
        "Keys and queries lose the offsets of a sequence, which otherwise make up most of the scores.",
    ),
    Prediction(
        "recall, offsets, norm first",
        "bn",
        -1,
        "LayerNorm removes most of the harm, and scores that start large leave queries stuck on few keys.",
    ),
    Prediction(
        "recall, spread",
        "sh(1,2,4,8)",
        1,
        "Means over neighbouring tokens lower the noise of keys and values before they are compared.",
    ),
    Prediction("recall, spread", "bn(gain=0.2)+sh(1,2,4,8)", 1, "As above."),
    Prediction("patterns", "sh(1,4,8,16)", 1, "As above; windows of sixteen tokens are as long as the runs."),
    Prediction(
        "Fashion-MNIST, small positions",
        "bn",
        -1,
        "Scores that start at deviation 1 give peaked attention by content before positions are learned.",
    ),
    Prediction(
        "Fashion-MNIST, small positions",
        "softmax(scale=4)",
        -1,
        "The same peaked start without batch normalisation.",
    ),
    Prediction(
        "Fashion-MNIST",
        "bn(gain=0.2)",
        1,
        "A point above in one run of exploration; the least certain of all.",
    ),
)
"""Committed before the final runs were started."""
