"""Solvers whose outputs are composed of several attentions by the other choices."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

from torch import Tensor

from primaldual.errors import ShapeError
from primaldual.primal.solvers import Solver
from primaldual.primal.token_inputs import Inputs


class Maps(Protocol):
    """The weights of rows on keys by definition, which a composed solver combines.

    Attributes:
        inputs: what ``token_inputs`` names.
    """

    inputs: Inputs

    def at_queries(self, rows: Tensor, key: Tensor) -> Tensor:
        """A(x, k), (batch, heads, Nq, Nk), of rows in the places of the queries."""

    def at_keys(self, rows: Tensor, key: Tensor) -> Tensor:
        """A(x, k), (batch, heads, Nk, Nk), of rows in the places of the keys; 0 at keys that nobody attends."""

    def attended(self, numbers: Tensor) -> Tensor:
        """Numbers of all keys, (batch, heads, Nk, width), 0 at those that nobody attends."""

    def allowed_to_queries(self) -> Tensor:
        """Bool, broadcastable to (batch, heads, Nq, Nk): the keys that each query may attend."""

    def allowed_to_keys(self) -> Tensor:
        """The same of rows in the places of the keys, (batch, heads, Nk, Nk)."""


class Attentions(Protocol):
    """The same, fast: sums by these weights, which are not formed.

    Attributes:
        inputs: what ``token_inputs`` names.
        length: how many keys there are.
    """

    inputs: Inputs
    length: int

    def at_queries(self, rows: Tensor, key: Tensor, coefficients: Tensor) -> Tensor:
        """A(x, k) c, (batch, heads, Nq, Dv), of rows in the places of the queries."""

    def at_keys(self, rows: Tensor, key: Tensor, coefficients: Tensor) -> Tensor:
        """A(x, k) c, (batch, heads, Nk, Dv), of rows in the places of the keys."""

    def weights_at_keys(self, rows: Tensor, key: Tensor) -> Tensor:
        """A(x, k) itself, of rows in the places of the keys."""

    def attended(self, numbers: Tensor) -> Tensor:
        """Numbers of all keys, (batch, heads, Nk, width), 0 at those that nobody attends."""

    def mean_at_queries(self, numbers: Tensor) -> Tensor:
        """The mean of numbers (batch, heads, Nk, 1) over the keys that each query may attend, (batch, heads, Nq or 1, 1)."""

    def mean_at_keys(self, numbers: Tensor) -> Tensor:
        """The same of rows in the places of the keys."""

    def checked(self, coefficients: Tensor) -> Tensor:
        """The coefficients, (batch, heads, Nk, Dv), which must be in the range of their type.

        Raises:
            ArgumentError: coefficients of a solver that reads tokens in order are not finite.
        """


class ComposedSolver(Solver):
    """A solver whose outputs are composed of several attentions by the other choices.

    A subclass states ``outputs`` by sums and ``attention_map`` by matrices, which share no formula.
    """

    amortized = False
    composed = True
    magnifies: bool = False
    """Outputs become queries again, so that errors of one attention's gradients grow in the next: keys are kept around 0."""

    @property
    def query_products(self) -> int:
        """How many attentions there are in the places of the queries."""
        return 1

    @property
    def key_products(self) -> int:
        """How many attentions there are in the places of the keys, or of the queries in their stead."""
        return 0

    @abstractmethod
    def outputs(self, query: Tensor, key: Tensor, value: Tensor, attentions: Attentions) -> Tensor:
        """The outputs (batch, heads, Nq, Dv).

        Args:
            query: (batch, heads, Nq, D).
            key: (batch, kv heads, Nk, D).
            value: (batch, kv heads, Nk, Dv).
            attentions: by the other choices.
        """

    @abstractmethod
    def attention_map(self, query: Tensor, key: Tensor, maps: Maps) -> Tensor:
        """The matrix (batch, heads, Nq, Nk) that gives the outputs from the values, by definition.

        Args:
            query: (batch, heads, Nq, D).
            key: (batch, heads, Nk, D).
            maps: by the other choices.
        """


def check_composed(solver: Solver, method: str, found: object, query: Tensor, width: int) -> Tensor:
    """What a method of a composed solver gave for some queries.

    Raises:
        ShapeError: no tensor (batch, heads, Nq, width), as of a method that a subclass did not state.
    """
    wanted = *query.shape[:3], width
    if not isinstance(found, Tensor):
        raise ShapeError(
            f"{method} of {solver.spec()} must return a tensor of shape {wanted}; got {type(found).__name__}"
        )
    if found.shape != wanted:
        raise ShapeError(f"{method} of {solver.spec()} must be of shape {wanted}; got {tuple(found.shape)}")
    return found
