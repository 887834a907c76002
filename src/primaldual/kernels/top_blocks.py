"""Which blocks of keys have the largest mean scores, query by query."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.layout import ceil_div
from primaldual.kernels.masks import Attendable, keep_attendable
from primaldual.kernels.modes import in_graph
from primaldual.kernels.statistics import widest

GRID = 2.0**30
"""Steps between 0 and the largest score of a query; scores of one step are equal, and the earlier block comes first."""
BLOCK_NUMBERS = 2**18
"""Scores of single keys that are formed at a time, few enough for the caches of a CPU."""


def top_blocks(
    query: Tensor, key: Tensor, attendable: Attendable, size: int, count: int, last: bool = False
) -> Tensor:
    """The positions in the ``count`` blocks with the largest q . mean(k), over what the query may attend in each block.

    A block without such a key is none. Scores are float64 where the device has it, and have no gradient.

    Args:
        query: (batch, heads, Nq, D).
        key: (batch, kv heads, Nk, D), finite.
        attendable: the masks.
        size: positions in a block; the last one may be shorter.
        count: blocks of every query.
        last: the block of the last key that a query may attend is always among them.

    Returns:
        Bool (batch, heads, Nq, Nk), before the masks.

    Example:
        >>> query, key = torch.ones(1, 1, 1, 1), torch.tensor([1.0, 0.0, 5.0, 2.0, 0.0]).view(1, 1, 5, 1)
        >>> top_blocks(query, key, Attendable(), size=2, count=1).int().tolist()
        [[[[0, 0, 1, 1, 0]]]]
    """
    wide = widest(query.device)
    with torch.no_grad():
        query, key = query.to(wide), key.to(wide)
        scores = block_scores(query, key, attendable, size)
        chosen = largest(scores, count, last)
        return chosen.repeat_interleave(size, -1)[..., : key.shape[2]]


def largest(scores: Tensor, count: int, last: bool) -> Tensor:
    """Which of the last axis are the ``count`` largest, the first of equal ones; -inf is none of them."""
    seen = scores > -math.inf
    top = torch.where(seen, scores, 0.0).abs().amax(-1, keepdim=True) if scores.shape[-1] else scores
    steps = torch.where(
        seen, (scores / top.clamp(min=torch.finfo(scores.dtype).tiny) * GRID).round(), -math.inf
    )
    if last:
        place = torch.arange(scores.shape[-1], device=scores.device)
        newest = torch.where(seen, place, -1).amax(-1, keepdim=True) if scores.shape[-1] else place
        steps = torch.where(seen & (place == newest), math.inf, steps)
    order = steps.argsort(dim=-1, descending=True, stable=True)
    return seen & (order.argsort(-1) < count)


def block_scores(query: Tensor, key: Tensor, attendable: Attendable, size: int) -> Tensor:
    """q . mean(k_j) over the keys of every block that the query may attend, -inf where there is none.

    Returns:
        (batch, heads, Nq, blocks).
    """
    length, blocks = key.shape[2], ceil_div(key.shape[2], size)
    kept, heads = attendable.keys, query.shape[1]
    if not length or not query.shape[2]:
        return query.new_empty(*query.shape[:3], blocks)
    if attendable.pairs is not None:
        return _by_pairs(query, for_query_heads(key, heads), attendable, size)
    if kept is not None:
        key = keep_attendable(for_query_heads(key, heads) if kept.shape[1] > 1 else key, kept)
    member = key.new_ones(1, 1, length, 1) if kept is None else kept.transpose(-2, -1).to(key.dtype)
    filler = (0, 0, 0, blocks * size - length)
    rows, counts = (pad(part, filler).unflatten(-2, (blocks, size)) for part in (key, member))
    sums, seen = for_query_heads(rows.sum(-2), heads), counts.sum(-2).transpose(-2, -1)
    scores = query @ sums.transpose(-2, -1) / seen.clamp(min=1)
    scores = torch.where(seen > 0, scores, -math.inf)
    if not attendable.is_causal:
        return scores
    place = torch.arange(length - query.shape[2], length, device=key.device)
    at = place.clamp(min=0)
    own, before = (part.cumsum(-2).flatten(-3, -2)[..., at, :] for part in (rows, counts))
    partial = (query * for_query_heads(own, heads)).sum(-1, keepdim=True) / before.clamp(min=1)
    partial = torch.where((before > 0) & (place >= 0)[:, None], partial, -math.inf)
    number, current = torch.arange(blocks, device=key.device), place.div(size, rounding_mode="floor")[:, None]
    return torch.where(number < current, scores, torch.where(number == current, partial, -math.inf))


def _by_pairs(query: Tensor, key: Tensor, attendable: Attendable, size: int) -> Tensor:
    """The same from the scores of single keys, some queries at a time."""
    length, rows = key.shape[2], query.shape[2]
    allowed = attendable.matrix(rows, length, key.device)
    filler = (0, -length % size)

    def summed(numbers: Tensor) -> Tensor:
        return (pad(numbers, filler) if filler[1] else numbers).unflatten(-1, (-1, size)).sum(-1)

    numbers = query.shape[:2].numel() * max(1, length)
    step = max(1, rows if in_graph() else BLOCK_NUMBERS // max(1, numbers))
    parts = [query.new_empty(*query.shape[:2], 0, ceil_div(length, size))]
    for start in range(0, rows, step):
        seen = allowed if allowed.shape[2] == 1 else allowed[:, :, start : start + step]
        scores = query[:, :, start : start + step] @ key.transpose(-2, -1)
        totals, counts = summed(scores.mul_(seen)), summed(seen).to(query.dtype)
        parts.append(torch.where(counts > 0, totals / counts.clamp(min=1), -math.inf))
    return torch.cat(parts, 2)
