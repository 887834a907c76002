"""Pooled pairs of which the most important keys are themselves: the others are pooled over the gaps they leave."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from primaldual.kernels.layout import ceil_div
from primaldual.kernels.modes import in_trace, serves_other_lengths
from primaldual.kernels.row_pools import IndexedPools


def salient_pool(
    key: Tensor,
    value: Tensor,
    scores: Tensor,
    scale: int,
    share: float,
    key_mask: Tensor | None,
    min_length: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """T = ceil(n / r) pairs from n attendable keys: the m with the largest scores alone, the others pooled.

    m = min(floor(share T), T - 1), of equal scores the earlier key; the i-th of the others, in order of position,
    goes to window floor(i (T - m) / (n - m)). Pools are those of
    :func:`primaldual.kernels.weighted_pooling.anchored_pool`. Which keys are alone is not differentiated.

    Args:
        key: (batch, heads, N, D), finite everywhere.
        value: (batch, heads, N, Dv), finite everywhere.
        scores: s_j, of key j at the head's anchor, (batch, heads, N, 1).
        scale: r, 2 or more.
        share: of the pairs that are one key, 0 to below 1.
        key_mask: bool (batch or 1, heads or 1, 1, N), or None.
        min_length: fewer attendable keys are all alone, n pairs.

    Returns:
        Keys and values (batch, heads, Nt, D), biases (batch, heads, 1, Nt), bool (batch, heads, 1, Nt): the pairs
        that there are.
    """
    flat = scores.squeeze(-1)
    length = key.shape[2]
    member = (
        torch.ones_like(flat, dtype=torch.bool) if key_mask is None else key_mask.squeeze(2).expand_as(flat)
    )
    pairs = most_pairs(length, scale, min_length if key_mask is not None or serves_other_lengths() else 0)
    with torch.no_grad():
        pair = torch.where(member, _pair_of(flat, member, scale, share, min_length), pairs)
    slots = (*flat.shape[:2], pairs + 1)
    largest = flat.new_full(slots, -torch.inf).scatter_reduce(2, pair, flat.detach(), "amax")
    shifted = torch.where(member, (flat - largest.gather(2, pair)).exp(), 0.0)
    total = flat.new_zeros(slots).scatter_add(2, pair, shifted)
    shares = (shifted / total.gather(2, pair).clamp_min(torch.finfo(flat.dtype).tiny)).unsqueeze(-1)

    rows = (
        torch.arange(slots[0] * slots[1], device=pair.device)[:, None] * slots[2] + pair.flatten(0, 1)
    ).flatten()

    def mean(tensor: Tensor) -> Tensor:  # by rows: scattering single numbers takes ten times as long
        width = tensor.shape[-1]
        sums = shares.new_zeros(slots[0] * slots[1] * slots[2], width)
        sums = sums.index_add(0, rows, (shares * tensor).reshape(-1, width))
        return sums.view(*slots, width)[:, :, :-1].to(tensor.dtype)

    present = total[..., :-1] > 0
    logsumexp = torch.where(
        present, largest[..., :-1] + torch.where(present, total[..., :-1], 1.0).log(), 0.0
    )
    bias = logsumexp - mean(scores).squeeze(-1)
    return mean(key), mean(value), bias.unsqueeze(2), present.unsqueeze(2)


def most_pairs(length: int, scale: int, min_length: int) -> int:
    """The most pairs that a sequence of up to ``length`` keys has, if fewer than ``min_length`` are not pooled."""
    pooled = ceil_div(length, scale)
    if min_length <= 1:
        return pooled
    if in_trace():  # pairs too many are masked
        return pooled + min_length - 1
    return cast("int", torch.sym_max(pooled, torch.sym_min(length, min_length - 1)))


def salient_pools(
    scores: Tensor, allowed: Tensor, scale: int, share: float, min_length: int = 0
) -> IndexedPools:
    """The pools of :func:`salient_pool` that every query forms of what it may attend; the last one holds the rest.

    Args:
        scores: (batch, heads, 1, N).
        allowed: bool (batch or 1, heads or 1, Nq or 1, N).
        scale: r.
        share: of the pairs that are one key.
        min_length: fewer attendable keys are all alone.
    """
    flat = scores.detach()
    allowed = allowed.expand(*flat.shape[:2], *allowed.shape[2:])
    pairs = most_pairs(flat.shape[-1], scale, min_length)
    pool = _pair_of(flat.expand_as(allowed), allowed, scale, share, min_length)
    return IndexedPools(torch.where(allowed, pool, pairs), pairs + 1)


def _pair_of(scores: Tensor, member: Tensor, scale: int, share: float, min_length: int) -> Tensor:
    """Long (batch, heads, N): the pair that each key belongs to."""
    count = member.sum(-1, keepdim=True)
    pairs = (count + scale - 1) // scale
    alone = torch.minimum((share * pairs).long(), pairs - 1).clamp(min=0)
    if min_length > 1:
        alone = torch.where(count < min_length, count, alone)
    ranked = scores.masked_fill(~member, -torch.inf)
    if torch.compiler.is_exporting():  # ONNX has no stable sort, and takes the earlier of equals
        order = ranked.sort(dim=-1, descending=True).indices
    else:
        order = ranked.sort(dim=-1, descending=True, stable=True).indices
    places = torch.arange(scores.shape[-1], device=scores.device).expand_as(order)
    rank = torch.empty_like(order).scatter_(-1, order, places)
    salient = member & (rank < alone)
    others = (member & ~salient).cumsum(-1) - 1
    return torch.where(salient, rank, alone + others * (pairs - alone) // (count - alone).clamp(min=1))
