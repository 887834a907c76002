"""Softmax attention over windows, prefixes and masked keys by our own kernels, differentiable once."""

from typing import Any

import torch
from torch import Tensor

from primaldual.kernels.gpu.softmax import Shape, attend
from primaldual.kernels.gpu.softmax_gradients import gradients
from primaldual.kernels.gpu.strides import unit_stride
from primaldual.kernels.precision import differentiated_once


def softmax_attention(
    query: Tensor, key: Tensor, value: Tensor, shape: Shape, valid: Tensor | None = None
) -> Tensor:
    """sum_j softmax_j(scale q . k_j) v_j over the keys that a query sees, (batch, heads, Nq, Dv); 0 where it sees none.

    Args:
        query: (batch, heads, Nq, D).
        key: (batch, kv heads, Nk, D).
        value: (batch, kv heads, Nk, Dv).
        shape: scale, and who sees what; without pools.
        valid: bool (batch, kv heads, Nk), last stride 1; None = every key counts.
    """
    out: Tensor = _Softmax.apply(query, key, value, shape, valid)
    return out


def forward(
    query: Tensor, key: Tensor, value: Tensor, shape: Shape, valid: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The outputs of :func:`softmax_attention`, and log-sum-exps."""
    return attend(unit_stride(query), unit_stride(key), unit_stride(value), shape, None, valid)


def backward(
    gradient: Tensor,
    tensors: tuple[Tensor, Tensor, Tensor],
    outcome: tuple[Tensor, Tensor],
    shape: Shape,
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value.

    Args:
        gradient: of the output.
        tensors: query, key and value.
        outcome: what the forward gave.
        shape: as the forward had it.
        valid: as the forward had it.
    """
    query, key, value = (unit_stride(tensor) for tensor in tensors)
    return gradients(unit_stride(gradient), query, key, value, outcome, shape, None, valid)[:3]


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, shape: Shape, valid: Tensor | None
    ) -> Tensor:
        out, logsumexp = forward(query, key, value, shape, valid)
        ctx.shape = shape
        ctx.save_for_backward(query, key, value, valid, out, logsumexp)
        return out

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, valid, *outcome = ctx.saved_tensors
        return *backward(gradient, (query, key, value), tuple(outcome), ctx.shape, valid), None, None
