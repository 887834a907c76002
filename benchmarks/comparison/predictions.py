"""What was expected before the final runs: attentions above, below or about level with softmax."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """A difference in score to softmax, named in advance.

    Attributes:
        task: name.
        attention: spec.
        sign: 1 = above softmax, -1 = below, 0 = no clear difference.
        reason: why.
    """

    task: str
    attention: str
    sign: int
    reason: str


_LARGE_POSITIONS = "its scores start large, which costs nothing clear where positions start large too"
_POOLED = "neighbouring patches are alike, so pooled keys lose little and gain little"

PREDICTIONS = (
    Prediction("CIFAR-10", "bn", 0, _LARGE_POSITIONS),
    Prediction("CIFAR-10", "sh(1,1,2,4)", 0, _POOLED),
    Prediction("CIFAR-10", "conv2d(3)", 0, "filters start as the identity and have few steps to leave it"),
    Prediction("Fashion-MNIST", "bn", 0, _LARGE_POSITIONS),
    Prediction("Fashion-MNIST", "bn(gain=0.2)", 0, "scores start small, nearly those of softmax"),
    Prediction("Fashion-MNIST", "sh(1,1,2,4)", 0, _POOLED),
    Prediction("ListOps, short", "linear", -1, "its weights are too even to look up single tokens"),
    Prediction("ListOps, short", "bn", 0, "LayerNorm in front of attention leaves it little to correct"),
    Prediction(
        "ListOps, short", "sh(1,1,2,4)", 0, "two heads keep single tokens; means of words tell little"
    ),
    Prediction("tiny Shakespeare", "linear", -1, "its weights are too even to pick the last characters"),
    Prediction("tiny Shakespeare", "bn", -1, "scores start large before the small positions are learned"),
    Prediction("tiny Shakespeare", "sh(1,1,2,4)", -1, "pools blur which character came last"),
    Prediction(
        "tiny Shakespeare",
        "window(8)|sh(4)",
        1,
        "most of what a short run learns lies within eight characters",
    ),
)
"""Committed before the final runs. The reasons are those of docs/when_it_helps.md; nothing but softmax had been trained."""
