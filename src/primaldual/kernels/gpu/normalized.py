"""Queries and keys normalised by the statistics of all keys, as one differentiable operation."""

from typing import Any

import torch
from torch import Tensor

from primaldual.kernels.gpu.batch_norm import normalize, normalize_backward
from primaldual.kernels.gpu.pools import chunk_of, pool
from primaldual.kernels.gpu.strides import unit_stride
from primaldual.kernels.precision import differentiated_once


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


def forward(
    query: Tensor, key: Tensor, beta: float | Tensor, eps: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """What :func:`normalized` gives, and mu and 1 / s, float32 (batch, kv heads, 2, D)."""
    query, key = unit_stride(query), unit_stride(key)
    chunk = chunk_of(key.shape[2], False)
    *_, moments = pool(key, key, None, True, chunk)
    assert moments is not None
    return normalize(query, key, moments, None, beta, eps, chunk)


def backward(
    gradients: tuple[Tensor, Tensor],
    outcome: tuple[Tensor, Tensor, Tensor],
    beta: float | Tensor,
    divides: bool,
    of_beta: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradients of query and key, and of beta, (heads,), if wanted.

    Args:
        gradients: of the changed queries and keys.
        outcome: what the forward gave.
        beta: as the forward had it.
        divides: whether s is not 1.
        of_beta: whether the gradient of beta, a tensor, is wanted.
    """
    of_query, of_key = (unit_stride(gradient) for gradient in gradients)
    return normalize_backward(of_query, of_key, *outcome, None, beta, divides, of_beta)


class _Normalized(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, beta: float | Tensor, eps: float | None
    ) -> tuple[Tensor, Tensor]:
        outcome = forward(query, key, beta, eps)
        ctx.beta, learned = (None, beta) if isinstance(beta, Tensor) else (beta, None)
        ctx.divides = eps is not None
        ctx.save_for_backward(*outcome, learned)
        return outcome[:2]

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, grad_query: Tensor, grad_key: Tensor) -> tuple[Tensor | None, ...]:
        changed, keys, found, learned = ctx.saved_tensors
        beta = ctx.beta if learned is None else learned
        return *backward(
            (grad_query, grad_key), (changed, keys, found), beta, ctx.divides, ctx.needs_input_grad[2]
        ), None
