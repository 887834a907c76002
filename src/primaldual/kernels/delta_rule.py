"""The delta rule on features, in chunks, exactly."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

CHUNK = (
    64  # positions; a chunk takes a triangular system of CHUNK * CHUNK numbers and products of CHUNK * F * Dv
)


def delta_rule(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rate: Tensor,
    sums: Tensor | None = None,
    state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Weights that every token corrects by its own error, read by its query.

        W_t = f_t W_(t-1) + beta_t (v_t - f_t W_(t-1) g_t) g_t',  out_t = W_t q_t,  f_t = exp(c_t - c_(t-1))

    With u_t = beta_t (v_t - f_t W_(t-1) g_t) the rows U of a chunk solve a unit triangular system,
    (I + B tril(D K K', -1)) U = B (V - d K W), D_ij = exp(c_i - c_j), d_i = exp(c_i) over that of the chunk before: the
    systems of all chunks are solved at once, against V and K, and the states follow one after the other.

    Args:
        query: q at the last positions, (batch, heads, Nq, F).
        key: g, (batch, heads, Nk, F), Nk at least Nq.
        value: v, (batch, heads, Nk, Dv).
        rate: beta, (batch, heads, Nk).
        sums: c, falling, (batch or 1, heads, Nk), in float64 where there is one; None = nothing is forgotten.
        state: W' before the first key, (batch, heads, F, Dv); None = 0.

    Returns:
        Outputs (batch, heads, Nq, Dv), and W' after the last key.

    Example:
        >>> ones, value = torch.ones(1, 1, 2, 1), torch.tensor([3.0, 6.0]).reshape(1, 1, 2, 1)
        >>> delta_rule(ones, ones, value, torch.full((1, 1, 2), 0.5))[0].flatten().tolist()
        [1.5, 3.75]
    """
    rows, length, count = query.shape[2], key.shape[2], key.shape[3]
    queries, keys, values = (_chunks(tensor, length) for tensor in (query, key, value))
    rates = _chunks(rate.unsqueeze(-1), length)
    rated = rates * keys
    scores, products = queries @ keys.mT, rated @ keys.mT
    if sums is not None:
        within, from_before, to_end, whole = _decays(sums, length, key.dtype)
        scores, products, rated = scores * within, products * within, rated * from_before
        queries, keys = queries * from_before, keys * to_end
    both = torch.cat([rated, rates * values], -1)
    both = torch.linalg.solve_triangular(products, both, upper=False, unitriangular=True)
    moved, targets = both.split([count, value.shape[3]], -1)
    moved_rows, target_rows, key_rows = moved.unbind(), targets.unbind(), keys.unbind()
    if state is None:
        state = value.new_zeros(*key.shape[:2], count, value.shape[3])
    states, corrections = [], []
    for place in range(len(keys)):
        correction = target_rows[place] - moved_rows[place] @ state
        states.append(state)
        corrections.append(correction)
        state = (state if sums is None else state * whole[place]) + key_rows[place].mT @ correction
    out = queries @ torch.stack(states) + scores.tril() @ torch.stack(corrections)
    out = out.movedim(0, 2).flatten(2, 3)
    return out[:, :, length - rows : length], state


def _chunks(tensor: Tensor, length: int) -> Tensor:
    """(batch, heads, n, D) at the last of ``length`` positions as (chunks, batch, heads, CHUNK, D), 0 elsewhere."""
    chunks = -(-length // CHUNK)
    whole = pad(tensor, (0, 0, length - tensor.shape[2], chunks * CHUNK - length))
    return whole.unflatten(2, (chunks, CHUNK)).movedim(2, 0)


def _decays(sums: Tensor, length: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What is left of earlier tokens, as numbers up to 1; positions behind the end forget nothing.

    Returns:
        exp(c_i - c_j) in every chunk; at every token, of the state before the chunk; at the end of the chunk, of every
        token, and of the state before.
    """
    chunks = -(-length // CHUNK)
    whole = torch.cat([sums, sums[..., -1:].expand(*sums.shape[:2], chunks * CHUNK - length)], -1)
    pieces = whole.unflatten(2, (chunks, CHUNK)).movedim(2, 0)
    last = pieces[..., -1:]
    before = torch.cat([torch.zeros_like(last[:1]), last[:-1]])
    later = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=sums.device).triu(1)
    within = (pieces.unsqueeze(-1) - pieces.unsqueeze(-2)).masked_fill(later, 0.0)
    parts = (
        within,
        (pieces - before).unsqueeze(-1),
        (last - pieces).unsqueeze(-1),
        (last - before).unsqueeze(-1),
    )
    found = [part.exp().to(dtype) for part in parts]
    return found[0], found[1], found[2], found[3]
