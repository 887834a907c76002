"""Softmax attention over windows, prefixes and masked keys by our own kernels, differentiable once."""

from typing import Any

import torch
from torch import Tensor

from primaldual.kernels.gpu.scaled_heads import unit_stride
from primaldual.kernels.gpu.softmax import Shape, attend
from primaldual.kernels.gpu.softmax_gradients import gradients
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
        valid: bool (batch, Nk), contiguous; None = every key counts.
    """
    out: Tensor = _Softmax.apply(query, key, value, shape, valid)
    return out


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, shape: Shape, valid: Tensor | None
    ) -> Tensor:
        query, key, value = unit_stride(query), unit_stride(key), unit_stride(value)
        outcome = attend(query, key, value, shape, None, valid)
        ctx.shape = shape
        ctx.save_for_backward(query, key, value, valid, *outcome)
        return outcome[0]

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, valid, out, logsumexp = ctx.saved_tensors
        found = gradients(unit_stride(gradient), query, key, value, (out, logsumexp), ctx.shape, None, valid)
        return *found[:3], None, None
