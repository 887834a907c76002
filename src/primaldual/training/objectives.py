"""What training minimises and what validation reports, case by case."""

import math
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from torch.nn.functional import cross_entropy

from primaldual.errors import ArgumentError


class Objective(Protocol):
    """A loss and a score; both give one number per case, so that any weighting can follow."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(batch, outputs), (batch,) -> (batch,), to be minimised."""

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(batch, outputs), (batch,) -> (batch,), to be averaged over the validation part."""

    def metric(self, mean_score: float) -> float:
        """The reported metric, higher is better, from the mean score."""


@dataclass(frozen=True)
class Classification:
    """Cross-entropy and accuracy.

    Args:
        label_smoothing: share of the target probability spread evenly over all classes, in [0, 1).

    Raises:
        ArgumentError: a smoothing outside [0, 1).

    Example:
        >>> import torch
        >>> Classification().score(torch.tensor([[2.0, 1.0]]), torch.tensor([0]))
        tensor([1.])
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        smoothing = self.label_smoothing
        if isinstance(smoothing, bool) or not isinstance(smoothing, int | float) or not 0 <= smoothing < 1:
            raise ArgumentError(f"label_smoothing must lie in [0, 1); got {smoothing!r}")

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of the logits."""
        return cross_entropy(outputs, targets, label_smoothing=self.label_smoothing, reduction="none")

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """1 where the largest logit is the label, else 0."""
        return (outputs.argmax(1) == targets).float()

    def metric(self, mean_score: float) -> float:
        """Accuracy."""
        return mean_score


@dataclass(frozen=True)
class Regression:
    """Squared error, and minus the root mean squared error in the units of the target.

    Args:
        target_scale: units of the target per unit of the model's output.

    Example:
        >>> import torch
        >>> Regression(target_scale=10.0).metric(0.25)
        -5.0
    """

    target_scale: float = 1.0

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(output - target)^2."""
        return (outputs.squeeze(1) - targets).square()

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(output - target)^2."""
        return self.loss(outputs, targets)

    def metric(self, mean_score: float) -> float:
        """Minus the root mean squared error."""
        return -self.target_scale * math.sqrt(mean_score)
