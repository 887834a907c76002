"""The attention of a composed solver by definition: matrices of weights, and what the solver makes of them."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.errors import UnsupportedError
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.masks import Attendable, causal_mask, read_mask
from primaldual.kernels.modes import in_graph, in_transform
from primaldual.primal import definition
from primaldual.primal.checks import check_shapes
from primaldual.primal.choices import Choices
from primaldual.primal.composed_solvers import check_composed
from primaldual.primal.reading import attended_keys
from primaldual.primal.solvers import Solver
from primaldual.primal.token_inputs import Inputs, read_inputs, value_width, with_values


def outputs(
    choices: Choices,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    is_causal: bool,
    inputs: Inputs | None = None,
) -> Tensor:
    """See :meth:`PrimalProblem.dense`."""
    check_shapes(query, key, value)
    inputs = with_values(choices.token_inputs, inputs, query.shape[1], value)
    weights = attention_map(choices, query, key, mask, is_causal, inputs)
    values = for_query_heads(value, query.shape[1])
    used = attended_keys(_attendable(query, key, mask, is_causal))
    return weights @ (values if used is None else torch.where(used.mT, values, 0.0))


def attention_map(
    choices: Choices,
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    is_causal: bool,
    inputs: Inputs | None = None,
) -> Tensor:
    """See :meth:`PrimalProblem.attention_map`."""
    check_shapes(query, key)
    attendable = in_order(choices, _attendable(query, key, mask, is_causal), query.shape[2], key.shape[2])
    is_causal = attendable.is_causal
    check_call(choices, query.shape[2], key.shape[2], is_causal, attendable.pairs is not None)
    needs = choices.token_inputs
    width = value_width(needs, inputs, key.shape[3])
    found = read_inputs(choices, needs, inputs, query, key.shape[2], width, attendable)
    solver = choices.composed
    solver.check_inputs(found)
    keys = for_query_heads(key, query.shape[1])
    maps = DenseMaps(choices, query, keys, mask, is_causal, found)
    weights = solver.attention_map(query, maps.attended(keys), maps)
    return check_composed(solver, "attention_map", weights, query, key.shape[2])


class DenseMaps:
    """See :class:`Maps`."""

    def __init__(
        self,
        choices: Choices,
        query: Tensor,
        key: Tensor,
        mask: Tensor | None,
        is_causal: bool,
        inputs: Inputs,
    ) -> None:
        self.plain = choices.amortized()
        self.inputs = inputs
        self.own = {need.name: inputs[need.name] for need in self.plain.token_inputs}
        self.used = attended_keys(_attendable(query, key, mask, is_causal))
        self.of_queries = mask, is_causal
        self.of_keys = row_mask(choices.solver, mask, is_causal, key)
        self.query, self.key = query, key

    def at_queries(self, rows: Tensor, key: Tensor) -> Tensor:
        return definition.attention_map(self.plain, rows, key, *self.of_queries, self.own)

    def at_keys(self, rows: Tensor, key: Tensor) -> Tensor:
        return self.attended(
            definition.attention_map(self.plain, self.attended(rows), key, *self.of_keys, self.own)
        )

    def attended(self, numbers: Tensor) -> Tensor:
        return numbers if self.used is None else torch.where(self.used.mT, numbers, 0.0)

    def allowed_to_queries(self) -> Tensor:
        return self._allowed(self.query, *self.of_queries)

    def allowed_to_keys(self) -> Tensor:
        return self._allowed(self.key, *self.of_keys)

    def _allowed(self, rows: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        attendable = _attendable(rows, self.key, mask, is_causal)
        return attendable.matrix(rows.shape[2], self.key.shape[2], rows.device)


def in_order(choices: Choices, attendable: Attendable, query_length: int, key_length: int) -> Attendable:
    """The same masks, causal where tokens have an order and a mask by query leaves no later key."""
    solver, pairs = choices.solver, attendable.pairs
    if not solver.ordered or attendable.is_causal or pairs is None or in_graph() or in_transform():
        return attendable
    causal = causal_mask(query_length, key_length, pairs.device)
    if bool((pairs & ~causal).any()):
        return attendable
    return Attendable(attendable.keys, None if bool((pairs == causal).all()) else pairs, True)


def row_mask(solver: Solver, mask: Tensor | None, is_causal: bool, key: Tensor) -> tuple[Tensor | None, bool]:
    """What the rows of S may attend: mask, and whether they are causal."""
    if solver.strict:
        length = key.shape[2]
        earlier = torch.ones(length, length, dtype=torch.bool, device=key.device).tril(-1)
        mask = earlier if mask is None else mask & earlier
    return mask, is_causal or solver.ordered


def check_call(choices: Choices, query_length: int, key_length: int, is_causal: bool, by_query: bool) -> None:
    """Raise UnsupportedError for a call that has no meaning, see :meth:`Solver.call_refusal`."""
    refused = choices.solver.call_refusal(query_length, key_length, is_causal, by_query)
    if refused:
        raise UnsupportedError(
            f"{choices.spec()} {refused}; got {query_length} queries and {key_length} keys, is_causal {is_causal}"
        )


def _attendable(query: Tensor, key: Tensor, mask: Tensor | None, is_causal: bool) -> Attendable:
    batch, heads, length, _ = query.shape
    return read_mask(mask, is_causal, batch, heads, length, key.shape[2])
