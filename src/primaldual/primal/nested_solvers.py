"""Nested solvers: coefficients that follow from attention to targets and earlier coefficients."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

from torch import Tensor

from primaldual.errors import ArgumentError
from primaldual.kernels.arguments import shown
from primaldual.kernels.heads import for_query_heads
from primaldual.primal.composed_solvers import Attentions, ComposedSolver, Maps
from primaldual.primal.solvers import KEYS, QUERIES
from primaldual.primal.token_inputs import Inputs


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


class NestedSolver(ComposedSolver):
    """A solver whose coefficients follow from attention to targets and earlier coefficients.

        out = A(q, k) c,  c from the values v by products with S = A(x, k), x the queries or the keys

    The prefix rule: under a causal mask row j of S sees positions up to j alone. Whatever is computed of position j is
    then final; later queries use it as it is.

    A subclass states ``coefficients``, ``expansion``, ``residual`` and ``sequences``.
    """

    at_keys = True
    sequences: int = 1
    """How many numbers per value decoding keeps of every position."""

    @property
    def key_products(self) -> int:
        return self.sequences - 1

    @abstractmethod
    def coefficients(self, value: Tensor, rows: Rows) -> list[Tensor]:
        """Sequences (batch, heads, rows, Dv).

        ``rows.product`` multiplies all but the last, which is c.

        Args:
            value: v at some positions, (batch, heads, rows, Dv).
            rows: S at these positions.
        """

    @abstractmethod
    def expansion(self, products: Tensor, inputs: Inputs) -> Tensor:
        """The matrix C with c = C v, by definition, (batch, heads, Nk, Nk).

        Args:
            products: S, (batch, heads, Nk, Nk).
            inputs: what ``token_inputs`` names.
        """

    def outputs(self, query: Tensor, key: Tensor, value: Tensor, attentions: Attentions) -> Tensor:
        rows = query if self.residual == QUERIES else for_query_heads(key, query.shape[1])
        found = self.coefficients(for_query_heads(value, query.shape[1]), _Whole(attentions, rows, key))
        return attentions.at_queries(query, key, attentions.checked(found[-1]))

    def attention_map(self, query: Tensor, key: Tensor, maps: Maps) -> Tensor:
        rows = query if self.residual == QUERIES else key
        products = maps.at_keys(rows, key)
        return maps.at_queries(query, key) @ self.expansion(products, maps.inputs)

    def procedure(self) -> str:
        count = self.key_products
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


class _Whole:
    """The rows of all positions at once."""

    def __init__(self, attentions: Attentions, rows: Tensor, key: Tensor) -> None:
        self.attentions = attentions
        self.rows = rows
        self.key = key
        self.inputs = attentions.inputs
        self.length = attentions.length

    def product(self, number: int, coefficients: Tensor) -> Tensor:
        """S c; what stands at keys that nobody attends has no weight anywhere."""
        del number
        return self.attentions.at_keys(self.rows, self.key, coefficients)

    def weights(self) -> Tensor:
        return self.attentions.weights_at_keys(self.rows, self.key)

    def former(self, number: int) -> Tensor:
        """There are none."""
        raise NotImplementedError


def residual_word(word: str) -> str:
    """QUERIES or KEYS, as given.

    Raises:
        ArgumentError: another word.
    """
    if word not in (QUERIES, KEYS):
        raise ArgumentError(f"residual must be {QUERIES!r} or {KEYS!r}; got {shown(word)}")
    return word
