"""Pooled pairs of which the most important keys are themselves: the others are pooled over the gaps they leave."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from primaldual.kernels.layout import ceil_div
from primaldual.kernels.modes import in_graph, in_trace, serves_other_lengths
from primaldual.kernels.row_pools import IndexedPools
from primaldual.kernels.statistics import widest

SHORT = 2**16
"""Keys of which half the square is within the range of int32, that takes half the time and memory of int64."""


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
        found = _pair_of(scores.mT, member.unsqueeze(2), scale, share, min_length)
        pair = torch.where(member, found.squeeze(2).long(), pairs)
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
    most = most_pairs(scores.shape[-1], scale, min_length)
    with torch.no_grad():
        pair = _pair_of(scores, allowed, scale, share, min_length).sub_(most)
        return IndexedPools(pair.mul_(allowed).add_(most).long(), most + 1)


def _pair_of(scores: Tensor, member: Tensor, scale: int, share: float, min_length: int) -> Tensor:
    """The pair that each member belongs to, for each query: integers (batch, heads, R, N).

    Scores are those of all queries, so they are sorted once; the rank among the members of a query is how many of them
    stand up to there in this order.

    Args:
        scores: (batch, heads, 1, N).
        member: bool (batch or 1, heads or 1, R, N).
        scale: r.
        share: of the pairs that are one key.
        min_length: fewer members are all alone.
    """
    whole = torch.int64 if in_graph() or scores.shape[-1] >= SHORT else torch.int32
    count = member.sum(-1, keepdim=True, dtype=whole)
    pairs = (count + scale - 1) // scale
    alone = torch.minimum((share * pairs).to(whole), pairs - 1).clamp(min=0)
    if min_length > 1:
        alone = torch.where(count < min_length, count, alone)
    if torch.compiler.is_exporting():  # ONNX has no stable sort, and takes the earlier of equals
        order = scores.sort(dim=-1, descending=True).indices
    else:
        order = scores.sort(dim=-1, descending=True, stable=True).indices
    place = torch.empty_like(order).scatter_(
        -1, order, torch.arange(order.shape[-1], device=order.device).expand_as(order)
    )
    member = member.expand(*order.shape[:2], *member.shape[2:])
    rank = member.gather(-1, order.expand_as(member)).cumsum(-1, dtype=whole)
    rank = rank.gather(-1, place.expand_as(member))
    salient = (rank <= alone).logical_and_(member)
    other = (member ^ salient).cumsum(-1, dtype=whole)
    pair = _windows(other, alone, pairs - alone, (count - alone).clamp(min=1))
    return pair.add_(rank.sub_(1).sub_(pair).mul_(salient))  # where() takes three times as long


def _windows(number: Tensor, start: Tensor, windows: Tensor, others: Tensor) -> Tensor:
    """start + floor((number - 1) windows / others), for whole numbers below 2^24.

    In float64, which takes half the time of a division of whole numbers, half a step keeps rounding from the next one.
    """
    if (wide := widest(number.device)) != torch.float64 or in_graph():
        return start + (number - 1) * windows // others
    step = windows.to(wide) / others
    return number.to(wide).mul_(step).add_(start + 0.5 / others.to(wide) - step).to(number.dtype)
