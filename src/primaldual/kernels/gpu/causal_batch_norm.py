"""Causal batch-normalised attention: prefix statistics, one causal softmax, and the first rows apart, as one operation."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from primaldual.kernels.gpu.batch_norm import parameters
from primaldual.kernels.gpu.cudnn import cudnn_attend, cudnn_gradients, cudnn_serves, of_heads
from primaldual.kernels.gpu.first_rows import first_rows, first_rows_backward
from primaldual.kernels.gpu.prefix_batch_norm import prefix_normalized, prefix_normalized_backward
from primaldual.kernels.gpu.softmax import Shape, attend
from primaldual.kernels.gpu.softmax_gradients import gradients
from primaldual.kernels.gpu.strides import heads_before_features, unit_stride
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


class Outcome(NamedTuple):
    """What the forward gives and the backward takes.

    Attributes:
        out: (batch, heads, N, Dv), heads last in memory.
        logsumexp: float32 (batch, heads, N).
        query: as it enters the softmax, (batch, heads, N, D).
        key: likewise, (batch, kv heads, N, D).
        states: of the prefixes, see :func:`primaldual.kernels.gpu.prefix_states.prefix_states`.
    """

    out: Tensor
    logsumexp: Tensor
    query: Tensor
    key: Tensor
    states: Tensor


def forward(
    query: Tensor, key: Tensor, value: Tensor, beta: float | Tensor, eps: float | None, scale: float
) -> Outcome:
    """The outputs of :func:`causal_batch_norm`, and what :func:`backward` takes."""
    query, key, value = unit_stride(query), unit_stride(key), unit_stride(value)
    changed, keys, states = prefix_normalized(query, key, beta, eps)
    if cudnn_serves(changed, keys, value):
        found = cudnn_attend(changed, keys, value, True, scale)
        out, logsumexp = heads_before_features(found.out), found.logsumexp.squeeze(-1)
    else:
        out, logsumexp = attend(changed, keys, value, Shape(scale, True))
    first_rows((query, key, value), parameters(beta, query), eps, scale, (out, logsumexp))
    return Outcome(out, logsumexp, changed, keys, states)


def backward(
    gradient: Tensor,
    tensors: tuple[Tensor, Tensor, Tensor],
    outcome: Outcome,
    beta: float | Tensor,
    eps: float | None,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, key and value, and float32 of beta, (heads,).

    Args:
        gradient: of the output.
        tensors: query, key and value.
        outcome: what the forward gave.
        beta: as the forward had it.
        eps: as the forward had it.
        scale: as the forward had it.
    """
    query, key, value = (unit_stride(tensor) for tensor in tensors)
    gradient = unit_stride(gradient)
    out, logsumexp, changed, keys, states = outcome
    if cudnn_serves(changed, keys, value):
        found = cudnn_gradients(
            gradient, changed, keys, value, of_heads(out, logsumexp, slice(None)), True, scale
        )
    else:
        found = gradients(gradient, changed, keys, value, (out, logsumexp), Shape(scale, True))[:3]
    grad_query, grad_key, of_beta = prefix_normalized_backward(
        unit_stride(found[0]), unit_stride(found[1]), changed, key, states, beta, eps
    )
    grad_value = heads_before_features(found[2])
    first = first_rows_backward(
        gradient, (query, key, value), parameters(beta, query), eps, scale, (grad_query, grad_key, grad_value)
    )
    return grad_query, grad_key, grad_value, of_beta + first.sum(0)


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
        outcome = forward(query, key, value, beta, eps, scale)
        ctx.beta, learned = (None, beta) if isinstance(beta, Tensor) else (beta, None)
        ctx.eps, ctx.scale = eps, scale
        ctx.save_for_backward(query, key, value, learned, *outcome)
        return outcome.out

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, learned, *outcome = ctx.saved_tensors
        beta = ctx.beta if learned is None else learned
        *found, of_beta = backward(gradient, (query, key, value), Outcome(*outcome), beta, ctx.eps, ctx.scale)
        return *found, of_beta.to(learned.dtype) if ctx.needs_input_grad[3] else None, None, None
