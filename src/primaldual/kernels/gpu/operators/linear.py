"""Linear attention as an operator."""

from typing import Any

import torch
from torch import Tensor

from primaldual.kernels.gpu import linear_passes as kernels
from primaldual.kernels.gpu.operators.schemas import like_heads_last
from primaldual.kernels.gpu.strides import heads_last
from primaldual.kernels.precision import own_precision


def linear_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    key_mask: Tensor | None = None,
    is_causal: bool = False,
    features: str = "elu+1",
) -> Tensor:
    """:func:`primaldual.kernels.gpu.linear.linear_attention` for graphs, of what it accepts."""
    mask = None if key_mask is None else key_mask[:, :, 0]
    out: Tensor = forward(query, key, value, mask, is_causal, features)[0]
    return out


@torch.library.custom_op(
    "primaldual::linear_attention",
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor value, Tensor? mask, bool is_causal, str features) -> (Tensor, Tensor)",
)
def forward(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool, features: str
) -> tuple[Tensor, Tensor]:
    """Outputs, and states and totals of chunks of keys."""
    return kernels.forward(query, key, value, mask, is_causal, features)


@forward.register_fake
def _(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool, features: str
) -> tuple[Tensor, Tensor]:
    del mask
    sums = kernels.shape_of_sums(query, key, value, is_causal, features)
    return heads_last(query, value.shape[3]), key.new_empty(sums, dtype=torch.float32)


@torch.library.custom_op(
    "primaldual::linear_attention_backward",
    mutates_args=(),
    schema="(Tensor gradient, Tensor query, Tensor key, Tensor value, Tensor? mask, Tensor sums, bool is_causal, "
    "str features) -> (Tensor, Tensor, Tensor)",
)
def backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    sums: Tensor,
    is_causal: bool,
    features: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value."""
    with own_precision(query.device):
        return kernels.backward(gradient, (query, key, value), mask, sums, is_causal, features)


@backward.register_fake
def _(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    sums: Tensor,
    is_causal: bool,
    features: str,
) -> tuple[Tensor, ...]:
    del gradient, mask, sums, is_causal, features
    return like_heads_last(query, key, value)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, mask, *ctx.numbers = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(query, key, value, mask, output[1])


def _gradients(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return *backward(gradient, *ctx.saved_tensors, *ctx.numbers), None, None, None


forward.register_autograd(_gradients, setup_context=_remember)
