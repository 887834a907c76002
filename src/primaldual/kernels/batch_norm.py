"""The query of batch-normalised attention where one set of keys serves all queries, forward and backward fused."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from primaldual.kernels.heads import for_query_heads, sum_over_query_heads
from primaldual.kernels.precision import backward_in_own_precision
from primaldual.kernels.statistics import centre


def batch_normalized_query(
    query: Tensor, key: Tensor, key_mask: Tensor | None, beta: float | Tensor, eps: float | None
) -> tuple[Tensor, Tensor]:
    """(q - beta mu) / (sigma^2 + eps) and k - mu: their products are those of T(q) and T(k) up to a constant in j.

    One autograd node in the place of a dozen: the passes over keys and queries are what
    batch-normalised attention costs beyond softmax. It can be differentiated once.

    Args:
        query: (batch, heads, Nq, D), float32 or wider.
        key: (batch, kv heads, Nk, D), finite where masked.
        key_mask: bool broadcastable to (batch, kv heads, 1, Nk), or None.
        beta: a number, or (heads, 1, 1).
        eps: added to the variance; None leaves the variance out.

    Returns:
        The changed query and the centred keys.
    """
    slope = beta if isinstance(beta, Tensor) else query.new_tensor(beta)
    outputs: tuple[Tensor, Tensor] = _BatchNormalizedQuery.apply(query, key, key_mask, slope, eps)
    return outputs


class _BatchNormalizedQuery(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, key_mask: Tensor | None, beta: Tensor, eps: float | None
    ) -> tuple[Tensor, Tensor]:
        mean, centred = centre(key, key_mask)
        mean_of_queries = for_query_heads(mean, query.shape[1])
        inverse = scratch = None
        if eps is not None:
            scratch = centred * centred
            variance = scratch.sum(-2, keepdim=True) / _count(centred, key_mask)
            inverse = for_query_heads(variance + eps, query.shape[1]).reciprocal_()
        # Fresh memory costs as much as the arithmetic here, so the squares' place is used again.
        reusable = scratch is not None and scratch.shape == query.shape
        changed = torch.sub(query, beta * mean_of_queries, out=scratch if reusable else None)
        if inverse is not None:
            changed.mul_(inverse)
        ctx.save_for_backward(centred, inverse, changed, mean_of_queries, beta, key_mask)
        return changed, centred

    @staticmethod
    @backward_in_own_precision
    @once_differentiable
    def backward(ctx: Any, grad_changed: Tensor, grad_centred: Tensor) -> tuple[Tensor | None, ...]:
        centred, inverse, changed, mean, beta, key_mask = ctx.saved_tensors
        grad_query = grad_changed if inverse is None else grad_changed * inverse
        grad_offset = -grad_query.sum(-2, keepdim=True)
        count = _count(centred, key_mask)
        grad_mean = sum_over_query_heads(beta * grad_offset, centred.shape[1]) / count
        if inverse is None:
            grad_key = grad_centred + grad_mean
        else:
            grad_variance = -(grad_changed * changed).sum(-2, keepdim=True) * inverse
            slope = 2 * sum_over_query_heads(grad_variance, centred.shape[1]) / count
            grad_key = torch.addcmul(grad_centred, centred, slope).add_(grad_mean)
        if key_mask is not None:
            grad_key = torch.where(key_mask.transpose(-2, -1), grad_key, 0.0)
        grad_beta = (grad_offset * mean).sum_to_size(beta.shape) if ctx.needs_input_grad[3] else None
        return grad_query, grad_key, None, grad_beta, None


def _count(centred: Tensor, key_mask: Tensor | None) -> int | Tensor:
    return centred.shape[-2] if key_mask is None else key_mask.sum(-1, keepdim=True).clamp(min=1)
