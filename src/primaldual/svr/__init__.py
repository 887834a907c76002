"""Solve the primal by its dual: the regression, its certificate, and the attention that comes out."""

from primaldual.svr.balancing import BalancingWeights, balancing_weights
from primaldual.svr.expansion import SupportVectorExpansion
from primaldual.svr.hinge import HingeExpansion
from primaldual.svr.implied import ImpliedRegression, implied_regression
from primaldual.svr.least_squares import LeastSquaresExpansion
from primaldual.svr.solve import kernel_scale, solve, solve_path

__all__ = [
    "BalancingWeights",
    "HingeExpansion",
    "ImpliedRegression",
    "LeastSquaresExpansion",
    "SupportVectorExpansion",
    "balancing_weights",
    "implied_regression",
    "kernel_scale",
    "solve",
    "solve_path",
]
