"""The attention of a nested solver, fast: every product is an attention by the form that serves the other choices."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import dropout

from primaldual.errors import ArgumentError
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.masks import Attendable
from primaldual.kernels.modes import in_graph, in_transform
from primaldual.kernels.precision import own_precision
from primaldual.primal import definition
from primaldual.primal.call import Call
from primaldual.primal.choices import Choices
from primaldual.primal.forms.choice import asked
from primaldual.primal.forms.choice import run as run_amortized
from primaldual.primal.forms.delta import ChunkedDelta
from primaldual.primal.nested_definition import check_call, in_order
from primaldual.primal.reading import attended_keys
from primaldual.primal.solvers import QUERIES, Solver
from primaldual.primal.sources import KeyValueSource, TensorSource
from primaldual.primal.token_inputs import Inputs, check_inputs, neutral_where_unattended, with_values

CHUNKED = ChunkedDelta()
"""Which serves delta rules whole; other nested solvers combine attentions."""


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
    attendable = in_order(choices, attendable, query_length, source.length)
    is_causal, by_query = attendable.is_causal, attendable.pairs is not None
    check_call(choices, query_length, source.length, is_causal, by_query)
    key, value = source.tensors or source.take(list(range(heads)))
    needs = choices.token_inputs
    inputs = with_values(needs, inputs, heads, value)
    given = check_inputs(choices, needs, inputs, query, source.length, value.shape[3])
    given = neutral_where_unattended(needs, given, attendable)
    solver = choices.solver
    solver.check_inputs(given)
    sets = choices.subset.head_sets(heads)
    question = asked(query, key, value, source.length, len(sets), attendable, dropout_p)
    if len(sets) == 1 and CHUNKED.refusal(choices, sets[0], question) is None:
        tensors = TensorSource(key, value, heads)
        out = CHUNKED.attend(Call(choices, query, tensors, attendable, dropout_p, given), sets[0])
        check_range(choices, out)
        return out
    used, plain = attended_keys(attendable), choices.amortized()
    rows = query if solver.residual == QUERIES else for_query_heads(key, heads)
    if used is not None:
        rows = torch.where(used.mT, rows, 0.0)
    of_rows = Attendable(attendable.keys, attendable.pairs, is_causal or solver.ordered)
    products = Products(plain, key, of_rows, dropout_p, given)
    found = solver.coefficients(for_query_heads(value, heads), _Whole(products, solver, rows))
    check_range(choices, found[-1])
    return Products(plain, key, attendable, dropout_p, given).of(query, found[-1])


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
        """(batch, heads, rows, Dv), from coefficients of all query heads."""
        key = for_query_heads(self.key, coefficients.shape[1])
        source = TensorSource(key, coefficients, rows.shape[1])
        return run_amortized(self.choices, rows, source, self.attendable, self.dropout_p, self.own)

    def weights(self, rows: Tensor, solver: Solver) -> Tensor:
        """A(x, k) itself, (batch, heads, rows, Nk), with dropout."""
        attendable, count, length = self.attendable, rows.shape[2], self.key.shape[2]
        mask = attendable.matrix(count, length, rows.device)
        if solver.strict:
            place = torch.arange(length, device=rows.device)
            mask = mask & (place < place[length - count :, None])
        with own_precision(rows.device):
            found = definition.attention_map(self.choices, rows, self.key, mask, False, self.own)
        return dropout(found, self.dropout_p) if self.dropout_p else found


def check_range(choices: Choices, coefficients: Tensor) -> None:
    """Raise ArgumentError where an ordered solver's coefficients have left the range of their type."""
    solver = choices.solver
    if not solver.ordered or in_graph() or in_transform() or bool(coefficients.isfinite().all()):
        return
    finite = coefficients.isfinite().all(-1).flatten(0, 1).all(0)
    raise ArgumentError(
        f"{choices.spec()} diverges in {coefficients.dtype}: its numbers are not finite from position "
        f"{int(finite.to(torch.uint8).argmin())} on; accepted are steps beta and keys with beta kappa(k, k) below 2, and "
        "finite inputs"
    )


class _Whole:
    """The rows of all positions at once."""

    def __init__(self, attention: Products, solver: Solver, rows: Tensor) -> None:
        self.attention = attention
        self.solver = solver
        self.rows = rows
        self.inputs = attention.inputs
        self.length = rows.shape[2]

    def product(self, number: int, coefficients: Tensor) -> Tensor:
        """S c; what stands at keys that nobody attends has no weight anywhere."""
        del number
        return self.attention.of(self.rows, coefficients)

    def weights(self) -> Tensor:
        return self.attention.weights(self.rows, self.solver)

    def former(self, number: int) -> Tensor:
        """There are none."""
        raise NotImplementedError
