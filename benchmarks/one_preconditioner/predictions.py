"""What was expected before the final runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """An attention that should score above another one on a task.

    Attributes:
        task: name.
        attention: spec.
        baseline: spec of the one that should be below.
    """

    task: str
    attention: str
    baseline: str = "softmax"


PREDICTIONS = (
    Prediction("recall, scaled", "bn"),
    Prediction("recall, scaled", "whiten"),
    Prediction("recall, mixed", "whiten"),
    Prediction("recall, mixed", "whiten", "bn"),
    Prediction("regression, alike", "lla(1)"),
    Prediction("regression, alike", "mesanet"),
    Prediction("regression, mixed", "lla(1)"),
    Prediction("regression, mixed", "mesanet"),
    Prediction("regression, mixed", "whiten", "bn"),
)
"""From the table of moments in docs/family.md: a diagonal metric undoes scales, a full one rotations too; local linear
attention and MesaNet hold linear functions exactly, a weighted mean does not."""
