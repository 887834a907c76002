"""Causal batch-normalised attention as an operator."""

from typing import Any

import torch
from torch import Tensor

from primaldual.kernels.gpu import causal_batch_norm as kernels
from primaldual.kernels.gpu.launch import blocks
from primaldual.kernels.gpu.operators.schemas import HeadNumbers, divided, joined, like_heads_last
from primaldual.kernels.gpu.prefix_states import BLOCK
from primaldual.kernels.gpu.strides import heads_last
from primaldual.kernels.precision import own_precision


def causal_batch_norm(
    query: Tensor, key: Tensor, value: Tensor, beta: HeadNumbers, eps: float | None, scale: float
) -> Tensor:
    """:func:`primaldual.kernels.gpu.causal_batch_norm.causal_batch_norm` for graphs."""
    out: Tensor = forward(query, key, value, *divided(beta), eps, scale)[0]
    return out


@torch.library.custom_op(
    "primaldual::causal_batch_norm",
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor value, Tensor? beta, float number, float? eps, float scale) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    beta: Tensor | None,
    number: float,
    eps: float | None,
    scale: float,
) -> tuple[Tensor, ...]:
    """The parts of :class:`primaldual.kernels.gpu.causal_batch_norm.Outcome`."""
    return tuple(kernels.forward(query, key, value, joined(beta, number), eps, scale))


@forward.register_fake
def _(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    beta: Tensor | None,
    number: float,
    eps: float | None,
    scale: float,
) -> tuple[Tensor, ...]:
    del beta, number, eps, scale
    batch, kv_heads, length, width = key.shape
    return (
        heads_last(query, value.shape[3]),
        query.new_empty(query.shape[:3], dtype=torch.float32),
        *like_heads_last(query, key),
        key.new_empty(batch, kv_heads, blocks(length, BLOCK), 2, width, dtype=torch.float32),
    )


@torch.library.custom_op(
    "primaldual::causal_batch_norm_backward",
    mutates_args=(),
    schema="(Tensor gradient, Tensor query, Tensor key, Tensor value, Tensor[] outcome, Tensor? beta, float number, "
    "float? eps, float scale) -> (Tensor, Tensor, Tensor, Tensor)",
)
def backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    outcome: list[Tensor],
    beta: Tensor | None,
    number: float,
    eps: float | None,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, key, value, and float32 of beta, (heads,)."""
    with own_precision(query.device):
        return kernels.backward(
            gradient, (query, key, value), kernels.Outcome(*outcome), joined(beta, number), eps, scale
        )


@backward.register_fake
def _(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    outcome: list[Tensor],
    beta: Tensor | None,
    number: float,
    eps: float | None,
    scale: float,
) -> tuple[Tensor, ...]:
    del gradient, outcome, beta, number, eps, scale
    return *like_heads_last(query, key, value), query.new_empty(query.shape[1], dtype=torch.float32)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    query, key, value, beta, *ctx.numbers = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(query, key, value, beta, *output)


def _gradients(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    query, key, value, beta, *outcome = ctx.saved_tensors
    *found, of_beta = backward(gradient, query, key, value, outcome, beta, *ctx.numbers)
    return *found, None if beta is None else of_beta.to(beta.dtype), None, None, None


forward.register_autograd(_gradients, setup_context=_remember)
