"""The query of causal batch-normalised attention, every query by the statistics of its own prefix of keys."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from primaldual.kernels.heads import for_query_heads, sum_over_query_heads
from primaldual.kernels.precision import backward_in_own_precision
from primaldual.kernels.scans import prefix_sums_, suffix_sums_, whole_blocks
from primaldual.kernels.statistics import centre


def prefix_normalized_query(
    query: Tensor, key: Tensor, key_mask: Tensor | None, beta: float | Tensor, eps: float | None
) -> tuple[Tensor, Tensor]:
    """(q_i - beta mu_i) / (sigma_i^2 + eps) with mu_i and sigma_i^2 over the keys 0..i, and the keys less their mean.

    Sums of the keys less one constant vector and of their squares, by one scan for both; the constant cancels.
    Can be differentiated once.

    Args:
        query: (batch, heads, N, D), float32 or wider.
        key: (batch, kv heads, N, D), finite where masked.
        key_mask: bool broadcastable to (batch, kv heads, 1, N), or None.
        beta: a number, or (heads, 1, 1).
        eps: added to the variance; None leaves the variance out.
    """
    slope = beta if isinstance(beta, Tensor) else query.new_tensor(beta)
    outputs: tuple[Tensor, Tensor] = _PrefixNormalizedQuery.apply(query, key, key_mask, slope, eps)
    return outputs


class _PrefixNormalizedQuery(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, key_mask: Tensor | None, beta: Tensor, eps: float | None
    ) -> tuple[Tensor, Tensor]:
        shift, centred = centre(key, key_mask)
        counts = _counts(centred, key_mask)
        share = counts.clamp(min=1).reciprocal()
        mean, *squares = (sums.mul_(share) for sums in _sums(centred, with_squares=eps is not None))
        full_mean = mean + shift
        if key_mask is not None:
            full_mean = torch.where(counts > 0, full_mean, 0.0)
        full_mean = for_query_heads(full_mean, query.shape[1])
        changed = query - beta * full_mean
        inverse = None
        if eps is not None:
            variance = squares[0].addcmul_(mean, mean, value=-1).clamp_(min=0)
            inverse = for_query_heads(variance.add_(eps).reciprocal_(), query.shape[1])
            changed *= inverse
        kept_mean = full_mean if ctx.needs_input_grad[3] else None
        ctx.save_for_backward(centred, mean, inverse, changed, kept_mean, beta, counts, key_mask)
        return changed, centred

    @staticmethod
    @backward_in_own_precision
    @once_differentiable
    def backward(ctx: Any, grad_changed: Tensor, grad_centred: Tensor) -> tuple[Tensor | None, ...]:
        centred, mean, inverse, changed, full_mean, beta, counts, key_mask = ctx.saved_tensors
        kv_heads = centred.shape[1]
        share = counts.clamp(min=1).reciprocal()
        grad_query = grad_changed if inverse is None else grad_changed * inverse
        grad_beta = None
        if ctx.needs_input_grad[3]:
            grad_beta = -(grad_query * full_mean).sum_to_size(beta.shape)
        grad_mean = sum_over_query_heads(grad_query * -beta, kv_heads)
        if inverse is None:
            grad_sums = _scan(suffix_sums_, grad_mean * share)
            grad_key = grad_centred + grad_sums[0]
        else:
            grad_variance = (grad_changed * changed).mul_(inverse).neg_()
            # A single key has no variance, whatever its gradient is.
            grad_variance = sum_over_query_heads(grad_variance, kv_heads).mul_((counts > 1) * share)
            grad_mean = torch.addcmul(grad_mean * share, mean, grad_variance, value=-2)
            grad_sums = _scan(suffix_sums_, grad_mean, grad_variance)
            grad_key = torch.addcmul(grad_centred, centred, grad_sums[1], value=2).add_(grad_sums[0])
        if key_mask is not None:
            grad_key = torch.where(key_mask.transpose(-2, -1), grad_key, 0.0)
        return grad_query, grad_key, None, grad_beta, None


def _counts(centred: Tensor, key_mask: Tensor | None) -> Tensor:
    """How many keys there are up to each: (batch or 1, heads or 1, N, 1), or (N, 1)."""
    if key_mask is None:
        length = centred.shape[2]
        return torch.arange(1, length + 1, dtype=centred.dtype, device=centred.device).unsqueeze(-1)
    return key_mask.transpose(-2, -1).cumsum(-2).to(centred.dtype)


def _sums(centred: Tensor, with_squares: bool) -> Tensor:
    """Running sums of the keys, and of their squares: (1 or 2, batch, heads, N, D)."""
    return _scan(prefix_sums_, centred, *([centred * centred] if with_squares else []))


def _scan(scan: Callable[[Tensor, int], Tensor], *parts: Tensor) -> Tensor:
    """Sums of all parts by one scan."""
    *leading, length, width = parts[0].shape
    padded = whole_blocks(length)
    stacked = parts[0].new_empty(len(parts), *leading, padded, width)
    for place, part in zip(stacked, parts, strict=True):
        place[..., :length, :] = part
    stacked[..., length:, :] = 0
    return scan(stacked, length)[..., :length, :]
