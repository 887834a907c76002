"""Softmax over pairs that every query forms of the keys it may attend, from scores of the keys themselves."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import dropout

from primaldual.kernels.layout import Layout
from primaldual.kernels.row_pools import Pools, Shares, excluding


class Filter(NamedTuple):
    """Depthwise taps over the pairs of a query: T(k)_t = sum_s w_s * k_(t+s), pairs that it does not have being 0.

    Attributes:
        weight: (heads, D, rows, columns).
        layout: how the pairs lie; those of the prefix stay as they are and are seen by no other.
        left_padded: the last column belongs to s = 0, not the middle one.
    """

    weight: Tensor
    layout: Layout
    left_padded: bool


def row_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    shares: Shares,
    pools: Pools | None,
    taps: Filter | None,
    dropout_p: float,
) -> Tensor:
    """sum_t softmax_t(q . T(k)_t + w_t) v_t, pairs t being means of keys and values: (batch, heads, R, Dv).

    Rows without a pair give 0. The matrices formed are (batch, heads, R, N).

    Args:
        query: (batch, heads, R, D), times the scale of the scores.
        key: (batch, heads, N, D).
        value: (batch, heads, N, Dv).
        shares: what each position counts in its pair.
        pools: which pair it belongs to; None = each is one by itself.
        taps: the filter T; None = T(k) = k.
        dropout_p: probability of dropping a weight.
    """
    scores = (
        _pooled(query, key, shares, pools) if taps is None else _filtered(query, key, shares, pools, taps)
    )
    weights = softmax_of_pairs(scores, shares)
    if dropout_p:
        weights = dropout(weights, dropout_p)
    if pools is not None:
        weights = pools.spread(weights) * shares.share
    return weights @ value


def softmax_of_pairs(scores: Tensor, shares: Shares) -> Tensor:
    """Softmax of scores (batch, heads, R, Nt) over the pairs that a query has, each by its weight; 0 where it has none."""
    if shares.log_weight is not None:
        scores = scores + shares.log_weight
    weights = (scores + excluding(shares.valid, scores.dtype)).softmax(-1)
    return weights * shares.valid.any(-1, keepdim=True)


def _pooled(query: Tensor, key: Tensor, shares: Shares, pools: Pools | None) -> Tensor:
    """q . k_t: the means of the scores."""
    scores = query @ key.transpose(-2, -1)
    return scores if pools is None else pools.sums(scores * shares.share)


def _filtered(query: Tensor, key: Tensor, shares: Shares, pools: Pools | None, taps: Filter) -> Tensor:
    """q . T(k)_t: for every tap the scores of q * w, moved to where the tap belongs."""
    weight, layout, prefix = taps.weight.to(query.dtype), taps.layout, taps.layout.prefix
    pairs = shares.valid.shape[-1]
    if pairs <= prefix:
        return _pooled(query, key, shares, pools)
    grid = layout.grid or (1, pairs - prefix)
    rows, columns = weight.shape[-2:]
    before = columns - 1 if taps.left_padded else columns // 2
    present = shares.valid[..., prefix:].to(query.dtype).unflatten(-1, grid)
    total = query.new_zeros(*query.shape[:3], *grid)
    for down in range(rows):
        for right in range(columns):
            moved = down - rows // 2, right - before
            if abs(moved[0]) >= grid[0] or abs(moved[1]) >= grid[1]:
                continue
            scores = _pooled(query * weight[:, None, :, down, right], key, shares, pools)
            scores = scores[..., prefix:].unflatten(-1, grid) * present
            into, origin = zip(*map(_overlap, moved, grid), strict=True)
            total[..., into[0], into[1]] += scores[..., origin[0], origin[1]]
    lone = query @ key[..., :prefix, :].transpose(-2, -1)
    return torch.cat([lone, total.flatten(-2)], -1) if prefix else total.flatten(-2)


def _overlap(moved: int, length: int) -> tuple[slice, slice]:
    """Where t and t + moved both lie within a length."""
    return slice(max(0, -moved), length - max(0, moved)), slice(max(0, moved), length + min(0, moved))
