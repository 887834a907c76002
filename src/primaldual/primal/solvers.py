"""Solvers: how the coefficients of the support vector expansion follow from the targets."""

from __future__ import annotations

from typing import ClassVar, Protocol

from torch import Tensor

from primaldual.errors import ArgumentError
from primaldual.kernels.arguments import shown
from primaldual.primal.parts import Part
from primaldual.primal.token_inputs import Inputs

QUERIES, KEYS = "queries", "keys"
"""At which rows the residual of a position is taken: its query, or its key."""

RATE = "beta"
"""The input per token that holds the steps of a delta rule."""


class Rows(Protocol):
    """The attention of some positions' rows to all positions, which a nested solver combines.

    Attributes:
        inputs: what ``token_inputs`` names, of all positions.
        length: how many positions there are, of which these are the last.
    """

    inputs: Inputs
    length: int

    def product(self, number: int, coefficients: Tensor) -> Tensor:
        """S c of sequence ``number``, (batch, heads, rows, Dv), from its coefficients at these positions."""

    def weights(self) -> Tensor:
        """S itself, (batch, heads, rows, length)."""

    def former(self, number: int) -> Tensor:
        """Sequence ``number`` at the positions before these."""


class Solver(Part):
    """A solver; the base class is the amortised one, which takes the values for the coefficients.

    f(x) = sum_j A(x, k_j) c_j,  c_j = v_j

    A are the weights that all other choices make, kappa / h on the training pairs.
    """

    choice = "solver"
    name = ""
    amortized: ClassVar[bool] = True
    """Whether the values are the coefficients."""
    nested: ClassVar[bool] = False
    """Whether coefficients of one position follow from attention to those of others, see :class:`NestedSolver`."""
    by_row: ClassVar[bool] = False
    """Whether every query is fitted on its own training set, see :class:`RowSolver`."""
    residual: str = KEYS
    """Of a nested solver: whether x in S = A(x, k) is the queries or the keys."""
    sequences: int = 1
    """Of a nested solver: how many numbers per value decoding keeps of every position."""
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

    def weights(self, rows: Tensor, matrix: Tensor, roots: Tensor) -> Tensor:
        """Of a solver by row: the weights on the training values by definition, (batch, heads, Nq, Nt).

        Args:
            rows: kappa(T x_i, T k_j) sqrt(w_ij) / h(x_i), 0 where hidden, (batch, heads, Nq, Nt).
            matrix: kappa of the training keys, (batch, heads, Nq or 1, Nt, Nt).
            roots: sqrt(w_ij), 0 where hidden, (batch, heads, Nq or 1, Nt).
        """
        raise NotImplementedError

    def coefficients(self, value: Tensor, rows: Rows) -> list[Tensor]:
        """Of a nested solver: sequences (batch, heads, rows, Dv).

        ``rows.product`` multiplies all but the last, which is c.

        Args:
            value: v at some positions, (batch, heads, rows, Dv).
            rows: S at these positions.
        """
        raise NotImplementedError

    def expansion(self, products: Tensor, inputs: Inputs) -> Tensor:
        """Of a nested solver: the matrix C with c = C v, by definition, (batch, heads, Nk, Nk).

        Args:
            products: S, (batch, heads, Nk, Nk).
            inputs: what ``token_inputs`` names.
        """
        raise NotImplementedError

    def check_inputs(self, inputs: Inputs) -> None:
        """Raise ArgumentError for inputs per token that the solver does not accept."""


class RowSolver(Solver):
    """A solver that finds the coefficients of every query on the training set of this query, so the prefix rule holds.

    A subclass states ``weights``.
    """

    amortized = False
    by_row = True


class NestedSolver(Solver):
    """A solver whose coefficients follow from attention to targets and earlier coefficients.

        out = A(q, k) c,  c from the values v by products with S = A(x, k), x the queries or the keys

    The prefix rule: under a causal mask row j of S sees positions up to j alone. Whatever is computed of position j is
    then final; later queries use it as it is.

    A subclass states ``coefficients``, ``expansion``, ``residual`` and ``sequences``.
    """

    amortized = False
    nested = True

    def procedure(self) -> str:
        count = self.sequences - 1
        products = "no product" if not count else "one product" if count == 1 else f"{count} products"
        return f"{self.spec()}: {products} at the {self.residual} give the coefficients, one more the outputs"

    def objective(self, style: str) -> str:
        if style == "latex":
            return r"\tfrac12\sum_j \left\|v_j - f(k_j)\right\|^2"
        return "½ Σ_j ‖v_j − f(k_j)‖²"

    def coefficient(self, style: str) -> tuple[str, str]:
        return "c_j", self.formula(style)[-1]

    def call_refusal(self, query_length: int, key_length: int, is_causal: bool, by_query: bool) -> str | None:
        if self.ordered and not is_causal and query_length > 1:
            return "reads the keys in order, so every query needs its place: accepted is is_causal=True"
        if query_length == key_length:
            return None
        if self.residual == QUERIES:
            return (
                "takes residuals at the queries and needs one for every key (init_state and step keep them; "
                "residual=keys needs none)"
            )
        if by_query:
            return "takes residuals at the keys, and a mask that differs by query says nothing of keys without one"
        return None


def residual_word(word: str) -> str:
    """QUERIES or KEYS, as given.

    Raises:
        ArgumentError: another word.
    """
    if word not in (QUERIES, KEYS):
        raise ArgumentError(f"residual must be {QUERIES!r} or {KEYS!r}; got {shown(word)}")
    return word
