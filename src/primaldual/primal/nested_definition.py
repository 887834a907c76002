"""The attention of a nested solver by definition: two matrices of weights, and what the solver makes of them."""

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
from primaldual.primal.reading import attended_keys
from primaldual.primal.solvers import QUERIES, Solver
from primaldual.primal.token_inputs import Inputs, check_inputs, neutral_where_unattended, with_values


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
    is_causal = in_order(
        choices, _attendable(query, key, mask, is_causal), query.shape[2], key.shape[2]
    ).is_causal
    attendable = _attendable(query, key, mask, is_causal)
    check_call(choices, query.shape[2], key.shape[2], is_causal, attendable.pairs is not None)
    needs = choices.token_inputs
    found = check_inputs(choices, needs, inputs, query, key.shape[2], key.shape[3])
    found = neutral_where_unattended(needs, found, attendable)
    plain, solver = choices.amortized(), choices.solver
    solver.check_inputs(found)
    own = {need.name: found[need.name] for need in plain.token_inputs}
    weights = definition.attention_map(plain, query, key, mask, is_causal, own)
    rows = query if solver.residual == QUERIES else for_query_heads(key, query.shape[1])
    used = attended_keys(attendable)
    if used is not None:
        rows = torch.where(used.mT, rows, 0.0)
    products = definition.attention_map(plain, rows, key, *row_mask(solver, mask, is_causal, key), own)
    if used is not None:
        products = torch.where(used.mT, products, 0.0)
    return weights @ solver.expansion(products, found)


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
