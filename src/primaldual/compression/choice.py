"""Choose one scale for every head under a budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from primaldual.errors import ArgumentError


def choose(losses: Sequence[Sequence[float]], costs: Sequence[Sequence[float]], budget: float) -> list[int]:
    r"""The choice of one option for each head with the least total loss, within the budget; exact.

        minimise sum_h loss[h, s_h]   subject to   sum_h cost[h, s_h] <= budget

    A multiple-choice knapsack, solved as an integer program by SciPy's HiGHS.

    Args:
        losses: (heads, options).
        costs: (heads, options).
        budget: most that the chosen costs may add up to.

    Returns:
        For every head the number of its option.

    Raises:
        ArgumentError: no choice is cheap enough.

    Example:
        >>> choose([[0.0, 1.0], [0.0, 5.0]], [[1.0, 0.5], [1.0, 0.5]], budget=1.5)
        [1, 0]
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    loss, cost = np.asarray(losses, dtype=float), np.asarray(costs, dtype=float)
    heads, options = loss.shape
    least = float(cost.min(1).sum())
    if least > budget * (1 + 1e-12):
        raise ArgumentError(
            f"budget must allow the cheapest choice, which costs {least:.4g}; got {budget:.4g}"
        )
    one_each = np.kron(np.eye(heads), np.ones((1, options)))
    scale = max(float(loss.max()), np.finfo(float).tiny)
    solved = milp(
        (loss / scale).ravel(),
        integrality=np.ones(loss.size),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(one_each, 1, 1),
            LinearConstraint(cost.ravel()[None] / budget, -np.inf, 1),
        ],
        options={"mip_rel_gap": 0.0},
    )
    if solved.x is None:
        raise ArgumentError(f"budget {budget:.4g} left no choice: {solved.message}")
    return [int(row.argmax()) for row in solved.x.reshape(heads, options)]
