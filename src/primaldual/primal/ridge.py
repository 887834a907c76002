"""Kernel ridge regression as the solver of an attention."""

from __future__ import annotations

from torch import Tensor

from primaldual.kernels.arguments import finite
from primaldual.kernels.ridge import ridge_weights
from primaldual.primal.solvers import RowSolver, RowSystem


class Ridge(RowSolver):
    """Kernel ridge regression, solved exactly: f(q) = kappa(q, K) (kappa(K, K) + lambda I)^-1 v.

        min over W of  1/2 sum_j w_j |v_j - W Phi(T(k_j))|^2 + lambda / 2 |W|^2

    Every query is fitted on its own training set: all keys, those that its mask leaves, under a causal mask its prefix.
    w_j is what pair weights and weighted pools count. h is 1. Finite features take O(N F^2), causal ones exactly and in
    chunks. MesaNet's layer is ``dot+constant+ridge(lambda)``, in specs ``mesanet``; the published one has gates beside it.

    Args:
        penalty: lambda, 0 or more; with 0 the kernel matrix itself must be positive definite.

    Raises:
        ArgumentError: a negative penalty; in a call a matrix that is not positive definite in its type.

    Reference: Saunders, Gammerman, Vovk, "Ridge Regression Learning Algorithm in Dual Variables", ICML 1998;
        von Oswald et al., "MesaNet: Sequence Modeling by Locally Optimal Test-Time Training", 2025 (arXiv 2506.05233).

    Example:
        >>> from primaldual import preset
        >>> import torch
        >>> key, value = torch.randn(2, 1, 1, 5, 8, dtype=torch.float64).unbind(0)
        >>> kernel = key @ key.mT
        >>> wanted = kernel @ torch.linalg.solve(kernel + 0.1 * torch.eye(5, dtype=torch.float64), value)
        >>> bool(torch.allclose(preset("dot+constant+ridge(0.1)").attend(key, key, value), wanted))
        True
    """

    name = "ridge"
    summary = "kernel ridge regression, solved exactly on what each query may attend"
    cost = "with F features O(N F²), else O(N³)"
    examples = ("dot+constant+ridge(0.5)", "linear+constant+ridge(10)")
    unnormalized = True

    def __init__(self, penalty: float = 1.0) -> None:
        super().__init__()
        self.penalty = finite("penalty", penalty, 0)

    def arguments(self) -> tuple[object, ...]:
        return (f"{self.penalty:g}",)

    @property
    def ridge_penalty(self) -> float:
        return self.penalty

    def row_pairs(self, system: RowSystem) -> tuple[Tensor, Tensor]:
        rows, matrix, roots, value = system
        return ridge_weights(rows * roots, matrix, roots, self.penalty), value

    def row_operations(self, pairs: int, value_dim: int) -> int:
        return 2 * pairs**3 // 3

    def objective(self, style: str) -> str:
        if style == "latex":
            return rf"\tfrac12\sum_j \left\|v_j - f(k_j)\right\|^2 + \tfrac{{{self.penalty:g}}}{{2}}\|W\|_F^2"
        return f"½ Σ_j ‖v_j − f(k_j)‖² + {self.penalty:g} / 2 ‖W‖²"

    def coefficient(self, style: str) -> tuple[str, str]:
        if style == "latex":
            return (
                "c_j",
                rf"c = (K + {self.penalty:g} I)^{{-1}} v,\quad K_{{ij}} = \Phi(T(k_i))\cdot\Phi(T(k_j))",
            )
        return "c_j", f"c = (K + {self.penalty:g} I)⁻¹ v,  K_ij = Φ(T(k_i))·Φ(T(k_j))"

    def formula(self, style: str) -> list[str]:
        return [self.coefficient(style)[1]]

    def procedure(self) -> str:
        return f"{self.spec()}: every query is fitted exactly on what it may attend"
