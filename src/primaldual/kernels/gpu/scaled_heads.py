"""Softmax attention of heads that pool at their own scales, batch-normalised or not, as one differentiable operation."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from primaldual.kernels.gpu import batch_norm
from primaldual.kernels.gpu.cudnn import cudnn_attend_pools, cudnn_pool_gradients, cudnn_serves, of_heads
from primaldual.kernels.gpu.keys import pools
from primaldual.kernels.gpu.pools import chunk_of, pool, spread
from primaldual.kernels.gpu.softmax import Shape, attend
from primaldual.kernels.gpu.softmax_gradients import gradients
from primaldual.kernels.gpu.strides import unit_stride
from primaldual.kernels.precision import differentiated_once

Normalization = tuple[float | Tensor, float | None]
"""beta, a number or (heads,), and eps, added to the variance; eps None = no division."""

LONG = 8192
"""Queries from which a call of cuDNN for each scale is faster than one launch for all."""


def scaled_heads(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    scales: tuple[int, ...],
    normalization: Normalization | None = None,
    is_causal: bool = False,
) -> Tensor:
    """The attention of every query head to its key head's pools, (batch, heads, Nq, Dv); differentiable once.

    Args:
        query: (batch, heads, Nq, D).
        key: (batch, kv heads, Nk, D).
        value: (batch, kv heads, Nk, Dv).
        scale: factor on the scores.
        scales: of every key head, the length of the windows that it pools.
        normalization: beta and eps of a normalisation by the statistics of each head's pools; None = none.
        is_causal: every query attends the windows before its own and the mean of its own so far; Nq = Nk then, and
            without normalization.
    """
    beta, eps = normalization or (None, None)
    out: Tensor = _ScaledHeads.apply(query, key, value, scale, scales, beta, eps, is_causal)
    return out


class Outcome(NamedTuple):
    """What the forward gives and the backward takes.

    Attributes:
        out: (batch, heads, Nq, Dv), heads last in memory.
        logsumexp: float32 (batch, heads, Nq).
        query: as it enters the softmax, (batch, heads, Nq, D).
        pooled_key: likewise, (batch, 1, total, D).
        pooled_value: (batch, 1, total, Dv).
        moments: mu and 1 / s of every head's pools, float32 (batch, kv heads, 2, D); None without normalization.
    """

    out: Tensor
    logsumexp: Tensor
    query: Tensor
    pooled_key: Tensor
    pooled_value: Tensor
    moments: Tensor | None


def forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    scales: tuple[int, ...],
    normalization: Normalization | None,
    is_causal: bool,
) -> Outcome:
    """The outputs of :func:`scaled_heads`, and what :func:`backward` takes."""
    query, key, value = unit_stride(query), unit_stride(key), unit_stride(value)
    windows = pools(scales, key.shape[2], key.device)
    chunk = chunk_of(windows.longest, True) if normalization else None
    pooled_key, pooled_value, moments = pool(key, value, windows, normalization is not None, chunk)
    if normalization:
        assert moments is not None
        assert chunk is not None
        query, _, moments = batch_norm.normalize(
            query, key, moments, (windows, pooled_key), *normalization, chunk
        )
    raw = (key, value) if is_causal else None
    if not is_causal and query.shape[2] >= LONG and cudnn_serves(query, key, value, False):
        out, logsumexp = cudnn_attend_pools(query, pooled_key, pooled_value, windows.runs, scale)
    else:
        shape = Shape(scale, is_causal, None, windows)
        out, logsumexp = attend(query, pooled_key, pooled_value, shape, raw)
    return Outcome(out, logsumexp, query, pooled_key, pooled_value, moments)


def backward(
    gradient: Tensor,
    key: Tensor,
    value: Tensor,
    outcome: Outcome,
    scale: float,
    scales: tuple[int, ...],
    normalization: Normalization | None,
    is_causal: bool,
    of_beta: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Gradients of query, key and value, and of beta, (heads,), if wanted.

    Args:
        gradient: of the output.
        key: as the forward had it.
        value: as the forward had it.
        outcome: what the forward gave.
        scale: as the forward had it.
        scales: as the forward had it.
        normalization: as the forward had it.
        is_causal: as the forward had it.
        of_beta: whether the gradient of beta, a tensor, is wanted.
    """
    key, value, gradient = unit_stride(key), unit_stride(value), unit_stride(gradient)
    out, logsumexp, query, pooled_key, pooled_value, moments = outcome
    windows, parts = pools(scales, key.shape[2], key.device), None
    if not is_causal and query.shape[2] >= LONG and cudnn_serves(query, key, value, False):
        parts_of_runs = [of_heads(out, logsumexp, run.heads) for run in windows.runs]
        grad_query, grad_pooled_key, grad_pooled_value = cudnn_pool_gradients(
            gradient, query, pooled_key, pooled_value, parts_of_runs, windows.runs, scale
        )
    else:
        raw, shape = (key, value) if is_causal else None, Shape(scale, is_causal, None, windows)
        grad_query, grad_pooled_key, grad_pooled_value, parts = gradients(
            gradient, query, pooled_key, pooled_value, (out, logsumexp), shape, raw
        )
    grad_beta = None
    if normalization:
        assert moments is not None
        beta, eps = normalization
        grad_query, grad_pooled_key, grad_beta = batch_norm.normalize_backward(
            grad_query, grad_pooled_key, query, pooled_key, moments, windows, beta, eps is not None, of_beta
        )
    own = None if parts is None else (query, gradient, parts)
    grad_key, grad_value = spread(grad_pooled_key, grad_pooled_value, (key, value), windows, own)
    return grad_query, grad_key, grad_value, grad_beta


class _ScaledHeads(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scale: float,
        scales: tuple[int, ...],
        beta: float | Tensor | None,
        eps: float | None,
        is_causal: bool,
    ) -> Tensor:
        normalization = None if beta is None else (beta, eps)
        outcome = forward(query, key, value, scale, scales, normalization, is_causal)
        ctx.beta, learned = (None, beta) if isinstance(beta, Tensor) else (beta, None)
        ctx.numbers = scale, scales, eps, is_causal
        ctx.save_for_backward(key, value, learned, *outcome)
        return outcome.out

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        key, value, learned, *outcome = ctx.saved_tensors
        scale, scales, eps, is_causal = ctx.numbers
        beta = ctx.beta if learned is None else learned
        *found, grad_beta = backward(
            gradient, key, value, Outcome(*outcome), scale, scales,
            None if beta is None else (beta, eps), is_causal, ctx.needs_input_grad[5],
        )  # fmt: skip
        return *found, None, None, grad_beta, None, None
