"""Softmax attention of heads that pool at their own scales, as an operator."""

from typing import Any

import torch
from torch import Tensor

from primaldual.kernels.gpu import scaled_heads as kernels
from primaldual.kernels.gpu.launch import blocks
from primaldual.kernels.gpu.operators.schemas import divided, empty_moments, joined, like_heads_last, present
from primaldual.kernels.gpu.strides import heads_last
from primaldual.kernels.precision import own_precision


def scaled_heads(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    scales: tuple[int, ...],
    normalization: kernels.Normalization | None = None,
    is_causal: bool = False,
) -> Tensor:
    """:func:`primaldual.kernels.gpu.scaled_heads.scaled_heads` for graphs."""
    beta, eps = normalization or (0.0, None)
    out: Tensor = forward(
        query, key, value, scale, list(scales), normalization is not None, *divided(beta), eps, is_causal
    )[0]
    return out


def _normalization(
    normalizes: bool, beta: Tensor | None, number: float, eps: float | None
) -> kernels.Normalization | None:
    return (joined(beta, number), eps) if normalizes else None


@torch.library.custom_op(
    "primaldual::scaled_heads",
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor value, float scale, int[] scales, bool normalizes, Tensor? beta, "
    "float number, float? eps, bool is_causal) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    scales: list[int],
    normalizes: bool,
    beta: Tensor | None,
    number: float,
    eps: float | None,
    is_causal: bool,
) -> tuple[Tensor, ...]:
    """The parts of :class:`primaldual.kernels.gpu.scaled_heads.Outcome`; query and moments are empty unless normalised."""
    normalization = _normalization(normalizes, beta, number, eps)
    found = kernels.forward(query, key, value, scale, tuple(scales), normalization, is_causal)
    return (
        *found[:2],
        present(found.query if normalizes else None, query),
        found.pooled_key,
        found.pooled_value,
        present(found.moments, key),
    )


@forward.register_fake
def _(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    scales: list[int],
    normalizes: bool,
    beta: Tensor | None,
    number: float,
    eps: float | None,
    is_causal: bool,
) -> tuple[Tensor, ...]:
    del scale, beta, number, eps, is_causal
    total = sum(blocks(key.shape[2], size) for size in scales)
    return (
        heads_last(query, value.shape[3]),
        query.new_empty(query.shape[:3], dtype=torch.float32),
        like_heads_last(query)[0] if normalizes else query.new_empty(0),
        key.new_empty(key.shape[0], 1, total, key.shape[3]),
        value.new_empty(value.shape[0], 1, total, value.shape[3]),
        empty_moments(key) if normalizes else key.new_empty(0),
    )


@torch.library.custom_op(
    "primaldual::scaled_heads_backward",
    mutates_args=(),
    schema="(Tensor gradient, Tensor key, Tensor value, Tensor[] outcome, float scale, int[] scales, bool normalizes, "
    "Tensor? beta, float number, float? eps, bool is_causal) -> (Tensor, Tensor, Tensor, Tensor)",
)
def backward(
    gradient: Tensor,
    key: Tensor,
    value: Tensor,
    outcome: list[Tensor],
    scale: float,
    scales: list[int],
    normalizes: bool,
    beta: Tensor | None,
    number: float,
    eps: float | None,
    is_causal: bool,
) -> tuple[Tensor, ...]:
    """Gradients of query, key, value and beta; the last empty without a tensor beta."""
    normalization = _normalization(normalizes, beta, number, eps)
    with own_precision(key.device):
        *found, of_beta = kernels.backward(
            gradient, key, value, kernels.Outcome(*outcome), scale, tuple(scales), normalization, is_causal,
            beta is not None,
        )  # fmt: skip
    return *found, present(of_beta, key)


@backward.register_fake
def _(
    gradient: Tensor,
    key: Tensor,
    value: Tensor,
    outcome: list[Tensor],
    scale: float,
    scales: list[int],
    normalizes: bool,
    beta: Tensor | None,
    number: float,
    eps: float | None,
    is_causal: bool,
) -> tuple[Tensor, ...]:
    del gradient, scale, scales, normalizes, number, eps, is_causal
    of_beta = key.new_empty(0) if beta is None else torch.empty_like(beta)
    return *like_heads_last(outcome[2], key, value), of_beta


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    query, key, value, *ctx.numbers, beta, number, eps, is_causal = inputs
    ctx.normalization = number, eps, is_causal
    normalizes = ctx.numbers[-1]
    ctx.mark_non_differentiable(*output[1:])
    out, logsumexp, changed, *pools = output
    ctx.save_for_backward(key, value, beta, out, logsumexp, changed if normalizes else query, *pools)


def _gradients(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    key, value, beta, *outcome = ctx.saved_tensors
    *found, of_beta = backward(gradient, key, value, outcome, *ctx.numbers, beta, *ctx.normalization)
    return *found, None, None, None, None if beta is None else of_beta, None, None, None


forward.register_autograd(_gradients, setup_context=_remember)
