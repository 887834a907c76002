"""Solve the primal by its dual: the regression, its certificate, and the attention that comes out."""

from primaldual.svr.expansion import SupportVectorExpansion
from primaldual.svr.hinge import HingeExpansion
from primaldual.svr.implied import ImpliedRegression, implied_regression
from primaldual.svr.least_squares import LeastSquaresExpansion
from primaldual.svr.solve import kernel_scale, solve, solve_path

__all__ = [
    "HingeExpansion",
    "ImpliedRegression",
    "LeastSquaresExpansion",
    "SupportVectorExpansion",
    "implied_regression",
    "kernel_scale",
    "solve",
    "solve_path",
]
