"""One step of decoding: new tokens of every sequence, and their outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from primaldual.kernels.precision import own_precision
from primaldual.primal.decoding.arrival import Arrival
from primaldual.primal.decoding.engines import Group
from primaldual.primal.decoding.history import History
from primaldual.primal.decoding.sizes import check_step, check_valid
from primaldual.primal.decoding.state import DecodingState

if TYPE_CHECKING:
    from primaldual.primal.problem import PrimalProblem

PIECE = 512
"""Most tokens that are taken in at once behind others: what they see of one another is a square of bits."""


def step(
    problem: PrimalProblem,
    state: DecodingState,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    valid: Tensor | None,
) -> Tensor:
    """See :meth:`PrimalProblem.step`."""
    if torch.is_grad_enabled() or torch.is_autocast_enabled(state.sizes.device.type):
        with torch.no_grad(), own_precision(state.sizes.device):
            return step(problem, state, query, key, value, valid)
    groups = state.groups_for(problem)
    check_step(state.sizes, query, key, value)
    length = state.common
    if valid is None and length and query.shape[2] == 1:
        if len(groups) == 1:
            group = groups[0]
            out = group.engine.one(query, group.keys(key), group.keys(value), state.memories[0], length)
        else:
            out = query.new_empty(*query.shape[:3], value.shape[3])
            for group, memory in zip(groups, state.memories, strict=True):
                out[:, group.members] = group.engine.one(
                    group.queries(query), group.keys(key), group.keys(value), memory, length
                )
        state.common = length + 1
        return out
    if valid is None:
        return _many(problem, state, query, key, value, [query.shape[2]] * state.sizes.batch)
    check_valid(valid, query)
    order = (~valid).to(torch.uint8).argsort(dim=-1, stable=True)
    ordered = valid.gather(1, order)
    query, key, value = (_places(tensor, order, ordered) for tensor in (query, key, value))
    out = _many(problem, state, query, key, value, valid.sum(1).tolist())
    return _places(out, order.argsort(dim=-1), valid)


def _many(
    problem: PrimalProblem, state: DecodingState, query: Tensor, key: Tensor, value: Tensor, counts: list[int]
) -> Tensor:
    """The outputs of the first ``counts[b]`` of n tokens in every row; those of the others mean nothing."""
    batch, _, length, _ = query.shape
    starts = state.lengths
    groups = state.groups_for(problem)
    if length == 0:
        return query.new_zeros(batch, query.shape[1], 0, value.shape[3])
    history = isinstance(groups[0].engine, History)
    if not any(starts) and length > 1 and not history:
        out = problem.compute(query, key, value, None, True, 0.0)
        arrival = Arrival(starts, counts, length, query.device)
        for group, memory in zip(groups, state.memories, strict=True):
            group.engine.absorb(group.keys(key), group.keys(value), memory, arrival)
    else:
        size = length if history else PIECE
        outs = []
        for first in range(0, length, size):
            part = slice(first, min(first + size, length))
            width = part.stop - first
            arrival = Arrival(
                [start + min(count, first) for start, count in zip(starts, counts, strict=True)],
                [min(max(count - first, 0), width) for count in counts],
                width,
                query.device,
            )
            pieces = [
                group.engine.many(
                    group.queries(query)[:, :, part], group.keys(key)[:, :, part], group.keys(value)[:, :, part],
                    memory, arrival,
                )
                for group, memory in zip(groups, state.memories, strict=True)
            ]  # fmt: skip
            outs.append(joined(groups, pieces))
        out = outs[0] if len(outs) == 1 else torch.cat(outs, 2)
    state.lengths = [start + count for start, count in zip(starts, counts, strict=True)]
    return out


def joined(groups: list[Group], outputs: list[Tensor]) -> Tensor:
    """The outputs of all heads, in order."""
    if len(groups) == 1:
        return outputs[0]
    first = outputs[0]
    out = first.new_empty(first.shape[0], sum(part.shape[1] for part in outputs), *first.shape[2:])
    for group, part in zip(groups, outputs, strict=True):
        out[:, group.members] = part
    return out


def _places(tensor: Tensor, order: Tensor, present: Tensor) -> Tensor:
    """Tokens (batch, heads, n, D) in another order within their rows, exactly 0 where there is none."""
    moved = tensor.gather(2, order[:, None, :, None].expand(-1, tensor.shape[1], -1, tensor.shape[3]))
    return torch.where(present[:, None, :, None], moved, 0.0)
