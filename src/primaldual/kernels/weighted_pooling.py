"""Pooled pairs that stand for all their members: how many they are, and means that are exact to first order."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels.layout import Layout
from primaldual.kernels.pooling import Parts, cut


def log_counts(length: int, scale: int, key_mask: Tensor | None, layout: Layout, like: Tensor) -> Tensor:
    """log n of every window, n its attendable members, 0 for lone tokens and empty windows: (..., 1, Nt).

    Args:
        length: N.
        scale: window length r, 2 or more.
        key_mask: bool (..., 1, N), or None.
        layout: prefix, grid and suffix.
        like: for dtype and device.
    """
    parts = cut(like.new_ones(length, 1), key_mask, layout)
    members = windows_of(_members(parts), scale, layout).sum(-2)
    lone = [
        like.new_zeros(*members.shape[:-2], count, 1)
        for count in (parts.front.shape[-2], parts.last.shape[-2])
    ]
    return torch.cat([lone[0], members.clamp(min=1).to(like.dtype).log(), lone[1]], -2).transpose(-2, -1)


def anchored_pool(
    key: Tensor, value: Tensor, scores: Tensor, scale: int, key_mask: Tensor | None, layout: Layout
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Pools by which the softmax at a given query, and its derivative there, are those of the members.

        a_j = exp(s_j) / sum_members exp(s),   key = sum a_j k_j,   value = sum a_j v_j,   bias = log sum exp(s) - s(key)

    where s_j is the score of key j at that query, linear in the key. With s = 0 these are means and log n.

    Args:
        key: (batch, heads, N, D).
        value: (batch, heads, N, Dv).
        scores: s_j, (batch, heads, N, 1).
        scale: window length r, 2 or more.
        key_mask: bool (batch or 1, heads or 1, 1, N), or None.
        layout: prefix, grid and suffix.

    Returns:
        Keys, values, biases (batch, heads, 1, Nt) and the mask of the pools, None if none was given.
    """
    parts, value_parts, score_parts = (cut(tensor, key_mask, layout) for tensor in (key, value, scores))
    member = windows_of(_members(parts), scale, layout)
    filled = member.any(-2, keepdim=True)
    local = windows_of(score_parts.body, scale, layout).masked_fill(~member & filled, -torch.inf)
    total = local.logsumexp(-2, keepdim=True).masked_fill(~filled, 0.0)
    shares = torch.where(member, (local - total).exp(), 0.0)

    def mean(part: Parts) -> Tensor:
        return (shares * windows_of(part.body, scale, layout)).sum(-2).to(part.body.dtype)

    inner = total.squeeze(-2) - mean(score_parts)
    lone = [inner.new_zeros(*inner.shape[:-2], part.shape[-2], 1) for part in (parts.front, parts.last)]
    bias = torch.cat([lone[0], inner, lone[1]], -2).transpose(-2, -1)
    kept = None if key_mask is None else parts.join_masks(member.any(-2)).transpose(-2, -1)
    return parts.join(mean(parts)), value_parts.join(mean(value_parts)), bias, kept


def windows_of(body: Tensor, scale: int, layout: Layout) -> Tensor:
    """The members of every window, (..., W, members, D), with zeros (or False) where there are none."""
    if layout.grid is None:
        extra = -body.shape[-2] % scale
        return pad(body, (0, 0, 0, extra)).unflatten(-2, (-1, scale))
    rows, columns = layout.grid
    image = pad(body.unflatten(-2, layout.grid), (0, 0, 0, -columns % scale, 0, -rows % scale))
    patches = image.unflatten(-3, (-1, scale)).unflatten(-2, (-1, scale)).transpose(-4, -3)
    return patches.flatten(-3, -2).flatten(-4, -3)


def _members(parts: Parts) -> Tensor:
    if parts.members is not None:
        return parts.members
    return torch.ones(parts.body.shape[-2], 1, dtype=torch.bool, device=parts.body.device)
