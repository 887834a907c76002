"""Softmax attention of heads that pool at their own scales, batch-normalised or not, as one differentiable operation."""

from typing import Any

import torch
from torch import Tensor

from primaldual.kernels.gpu import batch_norm
from primaldual.kernels.gpu.cudnn import Outcome, cudnn_attend_pools, cudnn_pool_gradients, cudnn_serves
from primaldual.kernels.gpu.keys import Pools
from primaldual.kernels.gpu.pools import CHUNK, pool, spread
from primaldual.kernels.gpu.softmax import Shape, attend
from primaldual.kernels.gpu.softmax_gradients import gradients
from primaldual.kernels.precision import differentiated_once

LONG = 8192
"""Queries from which a call of cuDNN for each scale is faster than one launch for all."""


def unit_stride(tensor: Tensor) -> Tensor:
    """The tensor with features side by side in memory."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def normalized(query: Tensor, key: Tensor, beta: float | Tensor, eps: float | None) -> tuple[Tensor, Tensor]:
    """(q - beta mu) / s and (k - mu) / s, s = sqrt(sigma^2 + eps), for scores of a softmax; differentiable once.

    Args:
        query: (batch, heads, Nq, D).
        key: (batch, kv heads, Nk, D).
        beta: a number, or (heads,).
        eps: added to the variance; None = s is 1.
    """
    outputs: tuple[Tensor, Tensor] = _Normalized.apply(query, key, beta, eps)
    return outputs


class _Normalized(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, beta: float | Tensor, eps: float | None
    ) -> tuple[Tensor, Tensor]:
        query, key = unit_stride(query), unit_stride(key)
        *_, moments = pool(key, key, None, True)
        assert moments is not None
        changed, keys, found = batch_norm.normalize(query, key, moments, None, beta, eps, CHUNK)
        ctx.beta, learned = (None, beta) if isinstance(beta, Tensor) else (beta, None)
        ctx.divides = eps is not None
        ctx.save_for_backward(changed, keys, found, learned)
        return changed, keys

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, grad_query: Tensor, grad_key: Tensor) -> tuple[Tensor | None, ...]:
        changed, keys, found, learned = ctx.saved_tensors
        beta = ctx.beta if learned is None else learned
        return (
            *batch_norm.normalize_backward(
                unit_stride(grad_query), unit_stride(grad_key), changed, keys, found, None, beta, ctx.divides
            ),
            None,
        )


def scaled_heads(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    pools: Pools,
    normalization: tuple[float | Tensor, float | None] | None = None,
    is_causal: bool = False,
) -> Tensor:
    """The attention of every query head to its key head's pools, (batch, heads, Nq, Dv); differentiable once.

    Args:
        query: (batch, heads, Nq, D).
        key: (batch, kv heads, Nk, D).
        value: (batch, kv heads, Nk, Dv).
        scale: factor on the scores.
        pools: the windows of every key head.
        normalization: beta and eps of :func:`normalized` by the statistics of each head's pools; None = none.
        is_causal: every query attends the windows before its own and the mean of its own so far; Nq = Nk then, and
            without normalization.
    """
    beta, eps = normalization or (None, None)
    out: Tensor = _ScaledHeads.apply(query, key, value, scale, pools, beta, eps, is_causal)
    return out


class _ScaledHeads(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scale: float,
        pools: Pools,
        beta: float | Tensor | None,
        eps: float | None,
        is_causal: bool,
    ) -> Tensor:
        query, key, value = unit_stride(query), unit_stride(key), unit_stride(value)
        ctx.shape = Shape(scale, is_causal, None, pools)
        pooled_key, pooled_value, moments = pool(key, value, pools, beta is not None)
        changed, found = query, None
        if beta is not None:
            assert moments is not None
            changed, _, found = batch_norm.normalize(
                query, key, moments, (pools, pooled_key), beta, eps, CHUNK
            )
        raw = (key, value) if is_causal else None
        outcome: tuple[Tensor, ...]
        ctx.long = not is_causal and query.shape[2] >= LONG and cudnn_serves(changed, key, value, False)
        if ctx.long:
            out, found_parts = cudnn_attend_pools(changed, pooled_key, pooled_value, pools.runs, scale)
            outcome = tuple(tensor for part in found_parts for tensor in part)
        else:
            outcome = out, _ = attend(changed, pooled_key, pooled_value, ctx.shape, raw)
        ctx.beta, learned = (None, beta) if isinstance(beta, Tensor) else (beta, None)
        ctx.divides = eps is not None
        ctx.save_for_backward(changed, key, value, pooled_key, pooled_value, found, learned, *outcome)
        return out

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, pooled_key, pooled_value, found, learned, *outcome = ctx.saved_tensors
        gradient, shape = unit_stride(gradient), ctx.shape
        raw = (key, value) if shape.is_causal else None
        parts = None
        if ctx.long:
            outcomes = [Outcome(*outcome[place : place + 4]) for place in range(0, len(outcome), 4)]
            grad_query, grad_pooled_key, grad_pooled_value = cudnn_pool_gradients(
                gradient, query, pooled_key, pooled_value, outcomes, shape.pools.runs, shape.scale
            )
        else:
            grad_query, grad_pooled_key, grad_pooled_value, parts = gradients(
                gradient, query, pooled_key, pooled_value, (outcome[0], outcome[1]), shape, raw
            )
        grad_beta = None
        if found is not None:
            beta = ctx.beta if learned is None else learned
            grad_query, grad_pooled_key, grad_beta = batch_norm.normalize_backward(
                grad_query, grad_pooled_key, query, pooled_key, found, shape.pools, beta, ctx.divides
            )
        own = None if parts is None else (query, gradient, parts)
        grad_key, grad_value = spread(grad_pooled_key, grad_pooled_value, (key, value), shape.pools, own)
        return grad_query, grad_key, grad_value, None, None, grad_beta, None, None
