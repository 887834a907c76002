"""Solvers: how the coefficients of the support vector expansion follow from the targets."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from torch import Tensor

from primaldual.errors import ArgumentError
from primaldual.primal.parts import Part
from primaldual.primal.token_inputs import Inputs

QUERIES, KEYS = "queries", "keys"
"""At which rows the residual of a position is taken: its query, or its key."""

RATE = "beta"
"""The input per token that holds the steps of a delta rule."""


class RowSystem(NamedTuple):
    """What a solver by row fits every query to.

    Attributes:
        rows: kappa(T x_i, T k_j), 0 where hidden, (batch, heads, Nq, Nt).
        matrix: kappa of the training keys, (batch, heads, Nq or 1, Nt, Nt).
        roots: sqrt(w_ij), 0 where hidden, (batch, heads, Nq or 1, Nt).
        value: training values, (batch, heads, Nq or 1, Nt, Dv).
    """

    rows: Tensor
    matrix: Tensor
    roots: Tensor
    value: Tensor


class Solver(Part):
    """A solver; the base class is the amortised one, which takes the values for the coefficients.

    f(x) = sum_j A(x, k_j) c_j,  c_j = v_j

    A are the weights that all other choices make, kappa / h on the training pairs.

    Example:
        >>> from primaldual import preset
        >>> [type(preset(spec).solver).__name__ for spec in ("softmax", "mesanet(1)", "twicing")]
        ['Solver', 'Ridge', 'Boost']
    """

    choice = "solver"
    name = ""
    amortized: ClassVar[bool] = True
    """Whether the values are the coefficients."""
    composed: ClassVar[bool] = False
    """Whether outputs are composed of several attentions, see :class:`ComposedSolver`."""
    key_parts: ClassVar[int] = 1
    """Of a composed solver: into how many parts it cuts the features of queries and keys, each for an attention."""
    by_row: ClassVar[bool] = False
    """Whether every query is fitted on its own training set, see :class:`RowSolver`."""
    widest: ClassVar[bool] = False
    """Of a solver by row: whether it is computed in the widest type."""
    has_map: ClassVar[bool] = True
    """Whether one map of positions gives the outputs of all features from the values."""
    at_keys: ClassVar[bool] = False
    """Of a composed solver: whether it attends from the place of every key, so that it needs the whole sequence."""
    attends_means: ClassVar[bool] = False
    """Of a composed solver: whether it attends what it gave, so that weights must be shares of a whole."""
    residual: str = KEYS
    """Of a nested solver: whether x in S = A(x, k) is the queries or the keys."""
    ordered: ClassVar[bool] = False
    """Of a nested solver: tokens have an order, so S is causal, and calls are causal or have one query."""
    strict: ClassVar[bool] = False
    """Of a nested solver: row j of S sees the positions before j alone."""
    triangular: ClassVar[bool] = False
    """Of a nested solver: c solve a triangular system of S, which is formed."""
    delta_rule: ClassVar[bool] = False
    """Whether c are the coefficients of the delta rule with steps ``beta`` on kernels that nothing normalises."""
    unnormalized: ClassVar[bool] = False
    """Whether it fits kappa itself, so that h is 1, which is then the default."""

    @property
    def ridge_penalty(self) -> float | None:
        """Lambda, where the coefficients are those of ridge regression; else None."""
        return None

    @property
    def support_vectors(self) -> tuple[float, float] | None:
        """C and epsilon, where the coefficients are those of support vector regression; else None."""
        return None

    def kernel_dim(self, head_dim: int) -> int:
        """The width of queries and keys for the other choices.

        Raises:
            ArgumentError: a head_dim that ``key_parts`` does not divide.
        """
        if head_dim % self.key_parts:
            raise ArgumentError(
                f"{self.spec()} takes queries and keys in {self.key_parts} parts of equal width; got head_dim {head_dim}"
            )
        return head_dim // self.key_parts

    def procedure(self) -> str | None:
        """What it does with the attention of the other choices, in one sentence; None = nothing."""
        return None

    def call_refusal(self, query_length: int, key_length: int, is_causal: bool, by_query: bool) -> str | None:
        """Why a call of these sizes has no meaning, in words that follow the spec; None if it has one.

        Args:
            query_length: Nq.
            key_length: Nk.
            is_causal: queries attend no later key.
            by_query: a mask differs from query to query.
        """
        del query_length, key_length, is_causal, by_query
        return None

    def objective(self, style: str) -> str:
        """What the regression minimises, in style "text" or "latex"."""
        if style == "latex":
            return r"\tfrac12\|W\|_F^2 + C\sum_j \left|y_j - f(k_j)\right|_\varepsilon"
        return "½ ‖W‖² + C Σ_j |y_j − f(k_j)|_ε"

    def coefficient(self, style: str) -> tuple[str, str]:
        """The coefficient of pair j in the dual, and what it is, in style "text" or "latex"."""
        if style == "latex":
            return "v_j", r"v_j = \frac{\alpha_j - \tilde\alpha_j}{h(k_j)}"
        return "v_j", "v_j = (α_j − α̃_j) / h(k_j)"

    def row_pairs(self, system: RowSystem) -> tuple[Tensor, Tensor]:
        """Of a solver by row, by definition: weights (batch, heads, Nq, Nt), and what they weigh, as ``system.value``."""
        raise NotImplementedError

    def row_operations(self, pairs: int, value_dim: int) -> int:
        """Of a solver by row: operations for the coefficients of one training set."""
        del pairs, value_dim
        return 0

    def check_inputs(self, inputs: Inputs) -> None:
        """Raise ArgumentError for inputs per token that the solver does not accept."""


class RowSolver(Solver):
    """A solver that finds the coefficients of every query on the training set of this query, so the prefix rule holds.

    A subclass states ``row_pairs``.
    """

    amortized = False
    by_row = True
