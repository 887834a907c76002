"""sum_{j <= i} (f_i . g_j) v_j in chunks: a running state between chunks, a masked product inside."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels.precision import differentiated_once

CHUNK = 64  # positions; the states take N / CHUNK * F * Dv numbers, the products inside N * CHUNK


def plain_causal_sums(
    query: Tensor, key: Tensor, value: Tensor, former: Tensor, former_total: Tensor
) -> tuple[Tensor, Tensor]:
    """Causal sums, unnormalised, and the sums of the kernels.

        sums_i = f_i S_0 + sum_{j <= i} (f_i . g_j) v_j,    totals_i = f_i . z_0 + sum_{j <= i} f_i . g_j

    Args:
        query: f, (batch, kv heads, group, N, F).
        key: g, (batch, kv heads, N, F).
        value: (batch, kv heads, N, Dv).
        former: S_0 (batch, kv heads, F, Dv), the state before the first position.
        former_total: z_0 (batch, kv heads, F).

    Returns:
        sums (batch, kv heads, group, N, Dv) and totals (batch, kv heads, group, N, 1).
    """
    queries, keys, values = _gather(query), _gather(key[:, :, None]), _gather(value[:, :, None])
    states = _before(keys.transpose(-2, -1) @ values, former)
    running = _before(keys.sum(-2), former_total)
    scores = _masked(queries @ keys.transpose(-2, -1), query.shape[2])
    sums = queries @ states + scores @ values
    totals = (queries * running.unsqueeze(-2)).sum(-1, keepdim=True) + scores.sum(-1, keepdim=True)
    return _ungather(sums, query), _ungather(totals, query)


def _gather(tensor: Tensor) -> Tensor:
    """:func:`_chunks` by indices, so that a compiler need not reason about lengths.

    Behind the end the last row repeats: no query before it sees it.
    """
    # One chunk more than needed: never 1, which a compiler would treat apart. Written without a sum outside the
    # quotient, so that it sees that CHUNK divides the positions.
    chunks = (tensor.shape[3] + 2 * CHUNK - 1) // CHUNK
    position = torch.arange(chunks * CHUNK, device=tensor.device)
    taken = tensor.index_select(3, position.clamp(max=tensor.shape[3] - 1))
    return torch.unflatten(taken, 3, (-1, CHUNK)).movedim(3, 0).flatten(3, 4)


def _ungather(tensor: Tensor, like: Tensor) -> Tensor:
    whole = torch.unflatten(tensor, 3, (like.shape[2], CHUNK)).movedim(0, 3).flatten(3, 4)
    return whole.index_select(3, torch.arange(like.shape[3], device=like.device))


def _chunks(tensor: Tensor) -> Tensor:
    """(batch, kv heads, group, N, D) to (chunks, batch, kv heads, group * CHUNK, D).

    What stands behind the end is zero.
    """
    chunks = (tensor.shape[3] + CHUNK - 1) // CHUNK
    whole = pad(tensor, (0, 0, 0, chunks * CHUNK - tensor.shape[3]))
    # Contiguous, because every product would copy it otherwise.
    return torch.unflatten(whole, 3, (chunks, CHUNK)).movedim(3, 0).flatten(3, 4).contiguous()


def _unchunk(tensor: Tensor, like: Tensor) -> Tensor:
    """The inverse of :func:`_chunks`, with the group and length of ``like``."""
    whole = torch.unflatten(tensor, 3, (like.shape[2], CHUNK)).movedim(0, 3).flatten(3, 4)
    return whole[:, :, :, : like.shape[3]]


def _masked(scores: Tensor, group: int) -> Tensor:
    """Zero where the key stands after the query, in every chunk (..., group * CHUNK, CHUNK)."""
    return torch.unflatten(scores, -2, (group, CHUNK)).tril().flatten(-3, -2)


def _before(parts: Tensor, former: Tensor) -> Tensor:
    """Former plus the parts of all earlier chunks."""
    running = torch.cat([former.unsqueeze(0), parts]).cumsum(0)
    return running.index_select(0, torch.arange(parts.shape[0], device=parts.device))


def causal_sums(
    query: Tensor, key: Tensor, value: Tensor, former: Tensor, former_total: Tensor
) -> tuple[Tensor, Tensor]:
    """:func:`plain_causal_sums` that keeps only its inputs for backward."""
    sums, totals = _CausalSums.apply(query, key, value, former, former_total)
    return sums, totals


class _CausalSums(torch.autograd.Function):
    """:func:`plain_causal_sums` with in-place sums, keeping nothing but its inputs for backward.

    With A_ij = f_i . g_j and G_ij = dsums_i . v_j + dtotals_i for j <= i:
    df = G g, dg = G^T f, dv = A^T dsums, each in chunks again; g and v see the chunks after theirs.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, former: Tensor, former_total: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(query, key, value, former, former_total)
        queries, keys, values = _chunks(query), _chunks(key[:, :, None]), _chunks(value[:, :, None])
        states = _states_before(keys, values, former)
        running = _before(keys.sum(-2), former_total)
        scores = _masked(queries @ keys.transpose(-2, -1), query.shape[2])
        totals = (queries * running.unsqueeze(-2)).sum(-1, keepdim=True)
        totals += scores.sum(-1, keepdim=True)
        sums = _add_product(scores @ values, queries, states[:-1])
        return _unchunk(sums, query), _unchunk(totals, query)

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, grad_sums: Tensor, grad_totals: Tensor) -> tuple[Tensor, ...]:
        query, key, value, former, former_total = ctx.saved_tensors
        queries, keys, values = _chunks(query), _chunks(key[:, :, None]), _chunks(value[:, :, None])
        sums, totals = _chunks(grad_sums), _chunks(grad_totals)
        states = _states_before(keys, values, former)
        running = _before(keys.sum(-2), former_total)
        pulls = _states_from(queries, sums)
        weights = (queries * totals).sum(-2)
        # Of the chunks after each: without its own, whose weights may be larger by many digits.
        later = torch.cat([weights[1:], torch.zeros_like(weights[:1])]).flip(0).cumsum(0).flip(0)

        scores = _masked(queries @ keys.transpose(-2, -1), query.shape[2])
        grad_scores = _masked(sums @ values.transpose(-2, -1) + totals, query.shape[2])
        grad_query = _add_product(grad_scores @ keys, sums, states[:-1].transpose(-2, -1))
        grad_query += totals * running.unsqueeze(-2)
        grad_key = _add_product(grad_scores.transpose(-2, -1) @ queries, values, pulls[1:].transpose(-2, -1))
        grad_key += later.unsqueeze(-2)
        grad_value = _add_product(scores.transpose(-2, -1) @ sums, keys, pulls[1:])
        return (
            _unchunk(grad_query, query),
            _unchunk(grad_key, key[:, :, None]).squeeze(2),
            _unchunk(grad_value, value[:, :, None]).squeeze(2),
            pulls[0],
            later[0] + weights[0],
        )


def _states_before(keys: Tensor, values: Tensor, former: Tensor) -> Tensor:
    """(chunks + 1, batch, kv heads, F, Dv): former plus keys^T values of all chunks before each."""
    states = _products(keys, values, first=1)
    states[0] = former
    _accumulate(states.unbind())
    return states


def _states_from(queries: Tensor, grads: Tensor) -> Tensor:
    """(chunks + 1, batch, kv heads, F, Dv): queries^T grads of each chunk and all after it."""
    states = _products(queries, grads, first=0)
    states[-1] = 0
    _accumulate(states.unbind()[::-1])
    return states


def _products(left: Tensor, right: Tensor, first: int) -> Tensor:
    """left^T right of every chunk, with one free place in front (first = 1) or behind (first = 0)."""
    chunks, batch, kv_heads = left.shape[:3]
    states = left.new_empty(chunks + 1, batch, kv_heads, left.shape[4], right.shape[4])
    out = states[first : first + chunks].flatten(0, 2)
    torch.bmm(left.flatten(0, 2).transpose(-2, -1), right.flatten(0, 2), out=out)
    return states


def _accumulate(states: tuple[Tensor, ...]) -> None:
    """Running sums in place: several times faster than cumsum over an outer dimension."""
    for earlier, later in pairwise(states):
        later.add_(earlier)


def _add_product(base: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Base += left @ right, without a tensor for the product."""
    base.flatten(0, 2).baddbmm_(left.flatten(0, 2), right.flatten(0, 2))
    return base
