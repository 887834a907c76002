"""Losses of the regression: how a solver of epsilon-insensitive regressions serves each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

from primaldual.svr.expansion import SupportVectorExpansion
from primaldual.svr.reading import TrainingData, read_penalty

Regress = Callable[[TrainingData, Tensor, Tensor], SupportVectorExpansion]
"""Solves the epsilon-insensitive regression: data, epsilon (batch, heads, outputs) and coefficients to start from."""


class Loss(ABC):
    """A loss of f(k_j) and y_j, for given training data.

    Args:
        data: the training pairs; the loss checks the targets.
        epsilon: half width of the tube that the caller gave; None = not given.

    Attributes:
        pools: whether the mean of several targets is a target.
    """

    pools = True

    @abstractmethod
    def __init__(self, data: TrainingData, epsilon: float | None) -> None: ...

    @abstractmethod
    def solve(self, regress: Regress, box: Tensor, start: Tensor, tolerance: float) -> SupportVectorExpansion:
        """The solution, with the gap that it has.

        Args:
            regress: solves the epsilon-insensitive regression with the penalties ``box``.
            box: C of every pair, (batch, heads, N, outputs).
            start: coefficients to start from, (batch, heads, N, outputs).
            tolerance: relative duality gap to aim at.
        """


class EpsilonInsensitive(Loss):
    """max(|y - f| - epsilon, 0), of any targets; epsilon is 0.1 where none is given."""

    def __init__(self, data: TrainingData, epsilon: float | None) -> None:
        self._data = data
        self._width = read_penalty("epsilon", 0.1 if epsilon is None else epsilon, data)

    def solve(self, regress: Regress, box: Tensor, start: Tensor, tolerance: float) -> SupportVectorExpansion:
        """One regression."""
        return regress(self._data, self._width, start)
