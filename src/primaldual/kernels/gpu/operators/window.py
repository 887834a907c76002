"""Softmax attention over prefixes and windows as an operator."""

from typing import Any

import torch
from torch import Tensor

from primaldual.kernels.gpu import attention as kernels
from primaldual.kernels.gpu.operators.schemas import like_heads_last
from primaldual.kernels.gpu.softmax import Shape
from primaldual.kernels.gpu.strides import heads_last
from primaldual.kernels.precision import own_precision


def softmax_attention(
    query: Tensor, key: Tensor, value: Tensor, shape: Shape, valid: Tensor | None = None
) -> Tensor:
    """:func:`primaldual.kernels.gpu.attention.softmax_attention` for graphs."""
    window = None if shape.window is None else list(shape.window)
    out: Tensor = forward(query, key, value, valid, shape.scale, shape.is_causal, window)[0]
    return out


def _shape(scale: float, is_causal: bool, window: list[int] | None) -> Shape:
    return Shape(scale, is_causal, None if window is None else (window[0], window[1]))


@torch.library.custom_op(
    "primaldual::softmax_attention",
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor value, Tensor? valid, float scale, bool is_causal, int[]? window) "
    "-> (Tensor, Tensor)",
)
def forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    valid: Tensor | None,
    scale: float,
    is_causal: bool,
    window: list[int] | None,
) -> tuple[Tensor, Tensor]:
    """Outputs, and log-sum-exps (batch, heads, Nq)."""
    return kernels.forward(query, key, value, _shape(scale, is_causal, window), valid)


@forward.register_fake
def _(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    valid: Tensor | None,
    scale: float,
    is_causal: bool,
    window: list[int] | None,
) -> tuple[Tensor, Tensor]:
    del key, valid, scale, is_causal, window
    return heads_last(query, value.shape[3]), query.new_empty(query.shape[:3], dtype=torch.float32)


@torch.library.custom_op(
    "primaldual::softmax_attention_backward",
    mutates_args=(),
    schema="(Tensor gradient, Tensor query, Tensor key, Tensor value, Tensor? valid, Tensor out, Tensor logsumexp, "
    "float scale, bool is_causal, int[]? window) -> (Tensor, Tensor, Tensor)",
)
def backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    valid: Tensor | None,
    out: Tensor,
    logsumexp: Tensor,
    scale: float,
    is_causal: bool,
    window: list[int] | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value."""
    with own_precision(query.device):
        shape = _shape(scale, is_causal, window)
        return kernels.backward(gradient, (query, key, value), (out, logsumexp), shape, valid)


@backward.register_fake
def _(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    valid: Tensor | None,
    out: Tensor,
    logsumexp: Tensor,
    scale: float,
    is_causal: bool,
    window: list[int] | None,
) -> tuple[Tensor, ...]:
    del gradient, valid, out, logsumexp, scale, is_causal, window
    return like_heads_last(query, key, value)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, valid, *ctx.numbers = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(query, key, value, valid, *output)


def _gradients(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return *backward(gradient, *ctx.saved_tensors, *ctx.numbers), None, None, None, None


forward.register_autograd(_gradients, setup_context=_remember)
