"""Support vector regression as the solver of an attention."""

from __future__ import annotations

from torch import Tensor

from primaldual.kernels.arguments import finite
from primaldual.kernels.support_vectors.rows import row_coefficients
from primaldual.primal.solvers import RowSolver, RowSystem

TYPICAL_STEPS = 20
"""Factorisations that a regression takes."""


class SupportVectors(RowSolver):
    """Support vector regression on the values, solved: f(q) = sum_j kappa(q, k_j) beta_j.

        min over W of  1/2 |W|^2 + C sum_j w_j |v_j - W Phi(T(k_j))|_epsilon

    by its dual, for every feature of the values with K = kappa(K, K):

        max over beta of  -1/2 beta' K beta + v' beta - epsilon sum_j |beta_j|,   |beta_j| <= C w_j

    Values within epsilon of f have the coefficient 0. Every query is fitted on its own training set: all keys, those that
    its mask leaves, under a causal mask its prefix, which takes a solution for every query. w_j is what pair weights and
    weighted pools count; h is 1 and there is no intercept. 1e-10 of kappa(k_j, k_j) is added to the diagonal of K, so that
    the coefficients are unique. All is computed in float64, and a duality gap below 1e-6 of the objective is
    proved. Gradients are those of the optimality conditions, with the coefficients that are 0 or at a bound held there.

    Each feature of the values has coefficients of its own, so there is no ``attention_map``; ``weights`` are kappa, which
    dropout drops.

    Args:
        C: penalty of errors, above 0.
        epsilon: half width of the tube in which errors are free, 0 or more.

    Raises:
        ArgumentError: C or epsilon out of range; in a call a kernel matrix that is not finite.
        ConvergenceError: in a call, outside of graphs and torch.func, a duality gap above 1e-6 of the objective.

    Reference: Smola, Schölkopf, "A tutorial on support vector regression", 2004; with h and intercept as the regression
        that gives attention, :func:`primaldual.solve`.

    Example:
        >>> from primaldual import preset
        >>> import torch
        >>> key, value = torch.eye(3).view(1, 1, 3, 3), torch.tensor([[3.0], [-0.5], [-2.0]]).view(1, 1, 3, 1)
        >>> preset("dot+svr(2,1)").attend(key, key, value).flatten().round(decimals=4)
        tensor([ 2.,  0., -1.])
    """

    name = "svr"
    summary = "support vector regression on the values, solved on what each query may attend"
    cost = "O(N³) for every feature of the values, tens of times; causal that for every query"
    examples = ("dot+constant+svr(1,0.1)",)
    unnormalized = True
    has_map = False
    widest = True

    def __init__(self, C: float = 1.0, epsilon: float = 0.1) -> None:
        super().__init__()
        self.C = finite("C", C, 0, above=True)
        self.epsilon = finite("epsilon", epsilon, 0)

    def arguments(self) -> tuple[object, ...]:
        return f"{self.C:g}", f"{self.epsilon:g}"

    @property
    def support_vectors(self) -> tuple[float, float]:
        return self.C, self.epsilon

    def row_pairs(self, system: RowSystem) -> tuple[Tensor, Tensor]:
        counts = system.roots.square()
        return system.rows, row_coefficients(system.matrix, counts, system.value, self.C, self.epsilon)

    def row_operations(self, pairs: int, value_dim: int) -> int:
        return TYPICAL_STEPS * value_dim * pairs**3 // 3

    def objective(self, style: str) -> str:
        if style == "latex":
            return (
                rf"\tfrac12\|W\|_F^2 + {self.C:g} \sum_j \left|v_j - f(k_j)\right|_\varepsilon,\quad "
                rf"\varepsilon = {self.epsilon:g}"
            )
        return f"½ ‖W‖² + {self.C:g} Σ_j |v_j − f(k_j)|_ε,  ε = {self.epsilon:g}"

    def coefficient(self, style: str) -> tuple[str, str]:
        if style == "latex":
            return (
                r"\beta_j",
                rf"\beta = \operatorname{{arg}}\max_{{|\beta_j| \le {self.C:g}}} -\tfrac12 \beta^\top K \beta "
                rf"+ v^\top \beta - {self.epsilon:g} \sum_j |\beta_j|,\quad K_{{ij}} = \Phi(T(k_i))\cdot\Phi(T(k_j))",
            )
        return (
            "β_j",
            f"β = argmax over |β_j| ≤ {self.C:g} of −½ βᵀKβ + vᵀβ − {self.epsilon:g} Σ_j |β_j|,  "
            "K_ij = Φ(T(k_i))·Φ(T(k_j))",
        )

    def formula(self, style: str) -> list[str]:
        return [self.coefficient(style)[1]]

    def procedure(self) -> str:
        return (
            f"{self.spec()}: a regression is solved for every feature of the values, under causal and other masks by query "
            "for every query too"
        )
