"""The attention of a nested solver, fast: every product is an attention by the form that serves the other choices."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.masks import Attendable
from primaldual.primal.choices import Choices
from primaldual.primal.forms.choice import run as run_amortized
from primaldual.primal.nested_definition import check_call
from primaldual.primal.reading import attended_keys
from primaldual.primal.solvers import QUERIES, NestedSolver
from primaldual.primal.sources import KeyValueSource, TensorSource
from primaldual.primal.token_inputs import Inputs, check_inputs, neutral_where_unattended


def run(
    choices: Choices,
    query: Tensor,
    source: KeyValueSource,
    attendable: Attendable,
    dropout_p: float,
    inputs: Inputs | None = None,
) -> Tensor:
    """A(q, k) c with the coefficients of the solver; arguments as :func:`primaldual.primal.forms.choice.run`.

    Raises:
        UnsupportedError: a call that has no meaning, such as residuals at queries that are not given.
    """
    heads, query_length = query.shape[1:3]
    is_causal, by_query = attendable.is_causal, attendable.pairs is not None
    check_call(choices, query_length, source.length, is_causal, by_query)
    key, value = source.tensors or source.take(list(range(heads)))
    needs = choices.token_inputs
    given = check_inputs(choices, needs, inputs, query, source.length, value.shape[3])
    given = neutral_where_unattended(needs, given, attendable)
    solver = choices.solver
    assert isinstance(solver, NestedSolver)
    used = attended_keys(attendable)
    rows = query if solver.residual == QUERIES else for_query_heads(key, heads)
    if used is not None:
        rows = torch.where(used.mT, rows, 0.0)
    attention = Products(choices.amortized(), key, attendable, dropout_p, given)
    found = solver.coefficients(for_query_heads(value, heads), _Whole(attention, rows, used))
    return attention.of(query, found[-1])


class Products:
    """A(x, k) c for rows x at the last positions, by the fast forms.

    Args:
        choices: the parts, amortised.
        key: (batch, kv heads, Nk, D).
        attendable: the masks.
        dropout_p: probability of dropping a weight.
        inputs: what the parts need of every token, by name; others are left out.
    """

    def __init__(
        self, choices: Choices, key: Tensor, attendable: Attendable, dropout_p: float, inputs: Inputs
    ) -> None:
        self.choices = choices
        self.key = key
        self.attendable = attendable
        self.dropout_p = dropout_p
        self.inputs = inputs
        self.own = {need.name: inputs[need.name] for need in choices.token_inputs}

    def of(self, rows: Tensor, coefficients: Tensor) -> Tensor:
        """(batch, heads, rows, Dv), from coefficients of query heads or, as values are, of key heads."""
        key = (
            for_query_heads(self.key, coefficients.shape[1])
            if coefficients.shape[1] > self.key.shape[1]
            else self.key
        )
        source = TensorSource(key, coefficients, rows.shape[1])
        return run_amortized(self.choices, rows, source, self.attendable, self.dropout_p, self.own)


class _Whole:
    """The rows of all positions at once."""

    def __init__(self, attention: Products, rows: Tensor, used: Tensor | None) -> None:
        self.attention = attention
        self.rows = rows
        self.used = used
        self.inputs = attention.inputs

    def product(self, number: int, coefficients: Tensor) -> Tensor:
        """S c, 0 at keys that nobody attends."""
        del number
        out = self.attention.of(self.rows, coefficients)
        return out if self.used is None else torch.where(self.used.mT, out, 0.0)
