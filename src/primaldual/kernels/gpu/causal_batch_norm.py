"""Causal batch-normalised attention: prefix statistics, one causal softmax, and the first rows apart, as one operation."""

from typing import Any

import torch
from torch import Tensor

from primaldual.kernels.gpu.batch_norm import parameters
from primaldual.kernels.gpu.cudnn import Outcome, cudnn_attend, cudnn_gradients, cudnn_serves
from primaldual.kernels.gpu.first_rows import first_rows, first_rows_backward
from primaldual.kernels.gpu.prefix_batch_norm import prefix_normalized, prefix_normalized_backward
from primaldual.kernels.gpu.scaled_heads import unit_stride
from primaldual.kernels.gpu.softmax import Shape, attend
from primaldual.kernels.gpu.softmax_gradients import gradients
from primaldual.kernels.precision import differentiated_once


def causal_batch_norm(
    query: Tensor, key: Tensor, value: Tensor, beta: float | Tensor, eps: float | None, scale: float
) -> Tensor:
    """Softmax of scale (q_i - beta mu_i) / (sigma_i^2 + eps) . k_j over j <= i, (batch, heads, N, Dv); differentiable once.

    Args:
        query: (batch, heads, N, D), bfloat16.
        key: (batch, kv heads, N, D).
        value: (batch, kv heads, N, Dv).
        beta: a number, or (heads,).
        eps: added to the variance; None = no division.
        scale: factor on the scores.
    """
    out: Tensor = _CausalBatchNorm.apply(query, key, value, beta, eps, scale)
    return out


class _CausalBatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        beta: float | Tensor,
        eps: float | None,
        scale: float,
    ) -> Tensor:
        query, key, value = unit_stride(query), unit_stride(key), unit_stride(value)
        changed, keys, moments = prefix_normalized(query, key, beta, eps)
        seeds: list[Tensor] = []
        if cudnn_serves(query, key, value):
            out, logsumexp, *seeds = cudnn_attend(changed, keys, value, True, scale)
        else:
            out, logsumexp = attend(changed, keys, value, Shape(scale, True))
        first_rows((query, key, value), parameters(beta, query), eps, scale, (out, logsumexp))
        ctx.beta, learned = (None, beta) if isinstance(beta, Tensor) else (beta, None)
        ctx.eps, ctx.scale = eps, scale
        ctx.save_for_backward(query, key, value, changed, keys, moments, learned, out, logsumexp, *seeds)
        return out

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, changed, keys, moments, learned, out, logsumexp, *seeds = ctx.saved_tensors
        beta, gradient = ctx.beta if learned is None else learned, unit_stride(gradient)
        if seeds:
            found = cudnn_gradients(
                gradient, changed, keys, value, Outcome(out, logsumexp, *seeds), True, ctx.scale
            )
        else:
            found = gradients(gradient, changed, keys, value, (out, logsumexp), Shape(ctx.scale, True))[:3]
        grad_query, grad_key, of_beta = prefix_normalized_backward(
            unit_stride(found[0]), unit_stride(found[1]), changed, key, moments, beta, ctx.eps
        )
        grad_value = unit_stride(found[2])
        first = first_rows_backward(
            gradient, (query, key, value), parameters(beta, query), ctx.eps, ctx.scale,
            (grad_query, grad_key, grad_value),
        )  # fmt: skip
        grad_beta = (of_beta + first.sum(0)).to(learned.dtype) if ctx.needs_input_grad[3] else None
        return grad_query, grad_key, grad_value, grad_beta, None, None
