"""The query of causal batch-normalised attention, every query by the statistics of its own prefix of keys."""

from typing import Any

import torch
from torch import Tensor

from primaldual.kernels.heads import for_query_heads, sum_over_query_heads
from primaldual.kernels.masks import keep_attendable
from primaldual.kernels.precision import differentiated_once
from primaldual.kernels.scans import prefix_sums_, suffix_sums_, whole_blocks
from primaldual.kernels.statistics import mean_of_rows, seen_centre


def prefix_normalized_query(
    query: Tensor,
    key: Tensor,
    key_mask: Tensor | None,
    beta: float | Tensor,
    eps: float | None,
    first: int = 0,
) -> tuple[Tensor, Tensor]:
    """(q_i - beta mu_i) / (sigma_i^2 + eps) with mu_i and sigma_i^2 over the keys 0..i, and the keys less one vector.

    Sums of the keys less that vector and of their squares, by one scan for both; the vector cancels. A query that
    sees one key alone becomes 0, which gives that key all the weight whatever the scores are.
    Can be differentiated once.

    Args:
        query: (batch, heads, N, D), float32 or wider.
        key: (batch, kv heads, N, D), finite where masked.
        key_mask: bool broadcastable to (batch, kv heads, 1, N), or None.
        beta: a number, or (heads, 1, 1).
        eps: added to the variance; None leaves the variance out.
        first: row from which on outputs count; the vector is the mean of the keys before, and rows before are 0.
    """
    slope = beta if isinstance(beta, Tensor) else query.new_tensor(beta)
    shift = None
    if key.device.type != "cpu" or key_mask is not None or not _near_origin(key, first):
        shift = seen_centre(key, key_mask, max(first, 1))
        key = keep_attendable(key - shift, key_mask)
    changed: Tensor = _PrefixNormalizedQuery.apply(query, key, shift, key_mask, slope, eps, first)
    return changed, key


NEAR = 0.25
"""Squared mean of early keys, in their variances, up to which keys are not centred: it costs them less than a digit."""


def _near_origin(key: Tensor, first: int) -> bool:
    with torch.no_grad():
        early = key[:, :, : max(first, 1)]
        mean = mean_of_rows(early)
        centred = early - mean
        return bool((mean * mean <= NEAR * mean_of_rows(centred * centred)).all())


class _PrefixNormalizedQuery(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        shift: Tensor | None,
        key_mask: Tensor | None,
        beta: Tensor,
        eps: float | None,
        first: int,
    ) -> Tensor:
        heads, counts = query.shape[1], _counts(key, key_mask)
        share = counts.clamp(min=1).reciprocal()
        sums, room = _room(key, 1 if eps is None else 2)
        room[0].copy_(key)
        if eps is not None:
            torch.mul(key, key, out=room[1])
        prefix_sums_(sums, key.shape[2])
        mean = room[0].mul_(share)
        inverse = None
        if eps is not None:
            inverse = torch.addcmul(share.new_tensor(eps), room[1], share, out=room[1])
            inverse.addcmul_(mean, mean, value=-1).clamp_(min=eps).reciprocal_()
            inverse[..., : max(first, int(key_mask is None)), :] = 0
            if key_mask is not None:
                inverse.masked_fill_(counts <= 1, 0.0)
            inverse = for_query_heads(inverse, heads)
        full_mean = _full_mean(mean, shift, counts, key_mask, heads)
        # Fresh memory costs more than arithmetic: without a backward the place of the means serves.
        scratch = full_mean if full_mean.shape == query.shape and not any(ctx.needs_input_grad) else None
        changed = torch.addcmul(query, full_mean, -beta, out=scratch)
        if inverse is not None:
            changed *= inverse
        ctx.save_for_backward(key, shift, mean, inverse, changed, beta, counts, key_mask)
        return changed

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, grad_changed: Tensor) -> tuple[Tensor | None, ...]:
        key, shift, mean, inverse, changed, beta, counts, key_mask = ctx.saved_tensors
        kv_heads, share = key.shape[1], counts.clamp(min=1).reciprocal()
        grad_query = grad_changed if inverse is None else grad_changed * inverse
        grad_beta = None
        if ctx.needs_input_grad[4]:
            full_mean = _full_mean(mean, shift, counts, key_mask, grad_query.shape[1])
            grad_beta = -(grad_query * full_mean).sum_to_size(beta.shape)
        sums, room = _room(key, 1 if inverse is None else 2)
        torch.mul(sum_over_query_heads(grad_query * -beta, kv_heads), share, out=room[0])
        if inverse is not None:
            torch.mul(sum_over_query_heads(grad_query * changed, kv_heads), -share, out=room[1])
            room[0].addcmul_(mean, room[1], value=-2)
        suffix_sums_(sums, key.shape[2])
        grad_key = room[0] if inverse is None else torch.addcmul(room[0], key, room[1], value=2)
        if key_mask is not None:
            grad_key.masked_fill_(~key_mask.transpose(-2, -1), 0.0)
        return grad_query, grad_key, None, None, grad_beta, None, None


def _counts(centred: Tensor, key_mask: Tensor | None) -> Tensor:
    """How many keys there are up to each: (batch or 1, heads or 1, N, 1), or (N, 1)."""
    if key_mask is None:
        length = centred.shape[2]
        return torch.arange(1, length + 1, dtype=centred.dtype, device=centred.device).unsqueeze(-1)
    return key_mask.transpose(-2, -1).cumsum(-2).to(centred.dtype)


def _full_mean(
    mean: Tensor, shift: Tensor | None, counts: Tensor, key_mask: Tensor | None, heads: int
) -> Tensor:
    """The prefix means of the keys as they were, 0 over empty prefixes, for the query heads."""
    moved = mean if shift is None else mean + shift
    if key_mask is not None:
        moved = moved.masked_fill(counts == 0, 0.0)
    return for_query_heads(moved, heads)


def _room(like: Tensor, parts: int) -> tuple[Tensor, Tensor]:
    """Memory for a scan of so many tensors (batch, heads, N, D): all of it, and the part of the N positions."""
    *leading, length, width = like.shape
    padded = whole_blocks(length)
    sums = like.new_empty(parts, *leading, padded, width)
    sums[..., length:, :] = 0
    return sums, sums[..., :length, :]
