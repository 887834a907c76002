"""Boosting: regressions on the residuals of those before."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.kernels.arguments import whole
from primaldual.primal.head_shares import HeadShares
from primaldual.primal.nested_solvers import NestedSolver, Rows, residual_word
from primaldual.primal.solvers import KEYS, QUERIES
from primaldual.primal.token_inputs import Inputs

MOST_STEPS = 64
"""Of boosting; each is an attention of its own."""


class Boost(NestedSolver):
    """L2 boosting: each step fits what the steps before left over.

        out = A(q, k) (r_0 + ... + r_(m-1)),  r_0 = v,  r_(t+1) = r_t - S r_t

    With ``residual=queries`` S is the attention of the layer's own queries, S = A(q, k): m = 2 gives (2A - A^2) v as
    published, in specs ``twicing``. It needs one query per key, and may diverge as m grows. With ``residual=keys``
    S = A(k, k), and r_t is the residual of the regression at its training inputs: where queries are keys the outputs tend
    to the values, if the eigenvalues of S lie in (0, 2). m = 1 does not boost. Each of the m products drops weights of
    its own.

    Args:
        steps: m, from 1 to 64.
        residual: "queries" or "keys".

    Raises:
        ArgumentError: other steps, or another word.

    Reference: Abdullaev, Nguyen, "Transformer Meets Twicing: Harnessing Unattended Residual Information", ICLR 2025
        (m = 2); Bühlmann, Yu, "Boosting with the L2 loss", JASA 2003.

    Example:
        >>> from primaldual import preset
        >>> query, key, value = torch.randn(3, 1, 2, 5, 8, dtype=torch.float64).unbind(0)
        >>> weights = preset("softmax").weights(query, key)
        >>> twice = preset("boost(2)").attend(query, key, value)
        >>> bool(torch.allclose(twice, (2 * weights - weights @ weights) @ value))
        True
    """

    name = "boost"
    summary = "boosting: each of m attentions fits the residual of those before; m = 2 is Twicing"
    cost = "m times that without"
    examples = ("boost(2)", "boost(3,residual=keys)")

    def __init__(self, steps: int = 2, *, residual: str = QUERIES) -> None:
        super().__init__()
        self.steps = whole("steps", steps, 1, MOST_STEPS)
        self.residual = residual_word(residual)

    @property
    def sequences(self) -> int:  # type: ignore[override] # follows from the steps
        return self.steps

    def arguments(self) -> tuple[object, ...]:
        return (self.steps,)

    def coefficients(self, value: Tensor, rows: Rows) -> list[Tensor]:
        kept, residual, total = [], value, value
        for number in range(self.steps - 1):
            kept.append(residual)
            residual = residual - rows.product(number, residual)
            total = total + residual
        return [*kept, total]

    def expansion(self, products: Tensor, inputs: Inputs) -> Tensor:
        identity = torch.eye(products.shape[-1], dtype=products.dtype, device=products.device)
        left = identity - products
        total = identity.expand_as(products)
        for _ in range(self.steps - 1):
            total = identity + left @ total
        return total

    def formula(self, style: str) -> list[str]:
        at = "k" if self.residual == KEYS else "q"
        if style == "latex":
            return [rf"c = \sum_{{t < {self.steps}}} (I - S)^t v,\quad S = A({at}, k)"]
        return [f"c = Σ_(t < {self.steps}) (I − S)^t v,  S = A({at}, k)"]


class Scaled(HeadShares, NestedSolver):
    """Scaled attention: targets less a learned share of their own fit, out = A(q, k) (v - a A(k, k) v).

    Args:
        start: a at first, one number for every head; 0 is the attention without.

    Raises:
        ArgumentError: a start that is not a finite number, or use before ``bind``.

    Reference: Teo, Nguyen, "Unveiling the Hidden Structure of Self-Attention via Kernel Principal Component Analysis",
        NeurIPS 2024 (arXiv 2406.13762).

    Example:
        >>> from primaldual import preset
        >>> query, key, value = torch.randn(3, 1, 2, 5, 8).unbind(0)
        >>> problem = preset("scaled(0)").bind(heads=2, head_dim=8)
        >>> bool(torch.allclose(problem.attend(query, key, value), preset("softmax").attend(query, key, value)))
        True
    """

    name = "scaled"
    summary = "targets less a learned share of their own fit, per head"
    cost = "twice that without"
    examples = ("scaled(0.5)",)
    residual = KEYS
    sequences = 2

    def __init__(self, start: float = 0.0) -> None:
        super().__init__(start)

    def coefficients(self, value: Tensor, rows: Rows) -> list[Tensor]:
        return [value, value - self.shares(value) * rows.product(0, value)]

    def expansion(self, products: Tensor, inputs: Inputs) -> Tensor:
        identity = torch.eye(products.shape[-1], dtype=products.dtype, device=products.device)
        return identity - self.shares(products) * products

    def formula(self, style: str) -> list[str]:
        return [r"c = v - a_h A(k, k)\, v"] if style == "latex" else ["c = v − a_h A(k, k) v"]
