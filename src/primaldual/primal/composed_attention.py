"""The attention of a composed solver, fast: every product is an attention by the form that serves the other choices."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import dropout

from primaldual.errors import ArgumentError
from primaldual.kernels.attended_means import attended_means
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.masks import Attendable
from primaldual.kernels.modes import in_graph, in_transform
from primaldual.kernels.precision import own_precision
from primaldual.primal import definition
from primaldual.primal.call import Call
from primaldual.primal.choices import Choices
from primaldual.primal.composed_definition import check_call, in_order
from primaldual.primal.composed_solvers import check_composed
from primaldual.primal.forms.choice import asked
from primaldual.primal.forms.choice import run as run_amortized
from primaldual.primal.forms.delta import ChunkedDelta
from primaldual.primal.reading import attended_keys
from primaldual.primal.recentred import recentred
from primaldual.primal.sources import KeyValueSource, TensorSource
from primaldual.primal.token_inputs import Inputs, read_inputs, with_values

CHUNKED = ChunkedDelta()
"""Which serves delta rules whole; other composed solvers combine attentions."""


def run(
    choices: Choices,
    query: Tensor,
    source: KeyValueSource,
    attendable: Attendable,
    dropout_p: float,
    inputs: Inputs | None = None,
) -> Tensor:
    """The outputs of the solver; arguments as :func:`primaldual.primal.forms.choice.run`.

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
    given = read_inputs(choices, needs, inputs, query, source.length, value.shape[3], attendable)
    choices.solver.check_inputs(given)
    sets = choices.subset.head_sets(heads)
    question = asked(query, key, value, source.length, len(sets), attendable, dropout_p)
    if len(sets) == 1 and CHUNKED.refusal(choices, sets[0], question) is None:
        tensors = TensorSource(key, value, heads)
        out = CHUNKED.attend(Call(choices, query, tensors, attendable, dropout_p, given), sets[0])
        check_range(choices, out)
        return out
    attentions = FastAttentions(choices, query, key, attendable, dropout_p, given)
    out = choices.composed.outputs(query, key, value, attentions)
    return check_composed(choices.composed, "outputs", out, query, value.shape[3]).to(value.dtype)


class FastAttentions:
    """See :class:`Attentions`."""

    def __init__(
        self,
        choices: Choices,
        query: Tensor,
        key: Tensor,
        attendable: Attendable,
        dropout_p: float,
        inputs: Inputs,
    ) -> None:
        self.choices = choices
        self.inputs = inputs
        self.length = key.shape[2]
        self.query_length = query.shape[2]
        of_keys = Attendable(
            attendable.keys, attendable.pairs, attendable.is_causal or choices.solver.ordered
        )
        plain = choices.amortized()
        if choices.composed.magnifies and attendable.pairs is None:
            plain = recentred(plain, *query.shape[1::2])
        self.queries, self.keys = (Products(plain, each, dropout_p, inputs) for each in (attendable, of_keys))
        self.used = attended_keys(attendable)

    def at_queries(self, rows: Tensor, key: Tensor, coefficients: Tensor) -> Tensor:
        return self.queries.of(rows, key, coefficients)

    def at_keys(self, rows: Tensor, key: Tensor, coefficients: Tensor) -> Tensor:
        return self.keys.of(self.attended(rows), key, coefficients)

    def weights_at_keys(self, rows: Tensor, key: Tensor) -> Tensor:
        return self.keys.weights(self.attended(rows), key, self.choices.solver.strict)

    def mean_at_queries(self, numbers: Tensor) -> Tensor:
        return attended_means(numbers, self.queries.attendable, self.query_length)

    def mean_at_keys(self, numbers: Tensor) -> Tensor:
        return attended_means(numbers, self.keys.attendable, self.length)

    def checked(self, coefficients: Tensor) -> Tensor:
        check_range(self.choices, coefficients)
        return coefficients

    def attended(self, numbers: Tensor) -> Tensor:
        return numbers if self.used is None else torch.where(self.used.mT, numbers, 0.0)


class Products:
    """A(x, k) c for rows x at the last positions, by the fast forms.

    Args:
        choices: the parts, amortised.
        attendable: the masks.
        dropout_p: probability of dropping a weight.
        inputs: what the parts need of every token, by name; others are left out.
    """

    def __init__(self, choices: Choices, attendable: Attendable, dropout_p: float, inputs: Inputs) -> None:
        self.choices = choices
        self.attendable = attendable
        self.dropout_p = dropout_p
        self.inputs = inputs
        self.own = {need.name: inputs[need.name] for need in choices.token_inputs}

    def of(self, rows: Tensor, key: Tensor, coefficients: Tensor) -> Tensor:
        """(batch, heads, rows, Dv), from coefficients of as many heads as there are of the keys, or of all query heads."""
        key = for_query_heads(key, coefficients.shape[1])
        source = TensorSource(key, coefficients, rows.shape[1])
        return run_amortized(self.choices, rows, source, self.attendable, self.dropout_p, self.own)

    def weights(self, rows: Tensor, key: Tensor, strict: bool) -> Tensor:
        """A(x, k) itself, (batch, heads, rows, Nk), with dropout.

        Args:
            rows: x, (batch, heads, rows, D).
            key: (batch, kv heads, Nk, D).
            strict: whether rows see the positions before their own alone.
        """
        attendable, count, length = self.attendable, rows.shape[2], key.shape[2]
        mask = attendable.matrix(count, length, rows.device)
        if strict:
            place = torch.arange(length, device=rows.device)
            mask = mask & (place < place[length - count :, None])
        with own_precision(rows.device):
            found = definition.attention_map(self.choices, rows, key, mask, False, self.own)
        return dropout(found, self.dropout_p) if self.dropout_p else found


def check_range(choices: Choices, coefficients: Tensor) -> None:
    """Raise ArgumentError where an ordered solver's coefficients have left the range of their type."""
    solver = choices.solver
    unseen = coefficients.is_meta or in_graph() or in_transform()
    if not solver.ordered or unseen or bool(coefficients.isfinite().all()):
        return
    finite = coefficients.isfinite().all(-1).flatten(0, 1).all(0)
    raise ArgumentError(
        f"{choices.spec()} diverges in {coefficients.dtype}: its numbers are not finite from position "
        f"{int(finite.to(torch.uint8).argmin())} on; accepted are steps beta and keys with beta kappa(k, k) below 2, and "
        "finite inputs"
    )
