"""Queries and keys normalised by the statistics of all keys, as an operator."""

from typing import Any

import torch
from torch import Tensor

from primaldual.kernels.gpu import normalized as kernels
from primaldual.kernels.gpu.operators.schemas import (
    HeadNumbers,
    divided,
    empty_moments,
    joined,
    like_heads_last,
    present,
)
from primaldual.kernels.precision import own_precision


def normalized(query: Tensor, key: Tensor, beta: HeadNumbers, eps: float | None) -> tuple[Tensor, Tensor]:
    """:func:`primaldual.kernels.gpu.normalized.normalized` for graphs."""
    changed, keys, _ = forward(query, key, *divided(beta), eps)
    return changed, keys


@torch.library.custom_op(
    "primaldual::normalized",
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor? beta, float number, float? eps) -> (Tensor, Tensor, Tensor)",
)
def forward(
    query: Tensor, key: Tensor, beta: Tensor | None, number: float, eps: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Changed queries and keys, and mu and 1 / s."""
    return kernels.forward(query, key, joined(beta, number), eps)


@forward.register_fake
def _(
    query: Tensor, key: Tensor, beta: Tensor | None, number: float, eps: float | None
) -> tuple[Tensor, ...]:
    del beta, number, eps
    return *like_heads_last(query, key), empty_moments(key)


@torch.library.custom_op(
    "primaldual::normalized_backward",
    mutates_args=(),
    schema="(Tensor grad_query, Tensor grad_key, Tensor changed, Tensor keys, Tensor moments, Tensor? beta, "
    "float number, bool divides) -> (Tensor, Tensor, Tensor)",
)
def backward(
    grad_query: Tensor,
    grad_key: Tensor,
    changed: Tensor,
    keys: Tensor,
    moments: Tensor,
    beta: Tensor | None,
    number: float,
    divides: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and beta; empty without a tensor beta."""
    with own_precision(changed.device):
        of_query, of_key, of_beta = kernels.backward(
            (grad_query, grad_key), (changed, keys, moments), joined(beta, number), divides, beta is not None
        )
    return of_query, of_key, present(of_beta, changed)


@backward.register_fake
def _(
    grad_query: Tensor,
    grad_key: Tensor,
    changed: Tensor,
    keys: Tensor,
    moments: Tensor,
    beta: Tensor | None,
    number: float,
    divides: bool,
) -> tuple[Tensor, ...]:
    del grad_query, grad_key, moments, number, divides
    return *like_heads_last(changed, keys), changed.new_empty(0) if beta is None else torch.empty_like(beta)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *_, beta, ctx.number, eps = inputs
    ctx.divides = eps is not None
    ctx.mark_non_differentiable(output[2])
    ctx.save_for_backward(*output, beta)


def _gradients(ctx: Any, grad_query: Tensor, grad_key: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    *saved, beta = ctx.saved_tensors
    of_query, of_key, of_beta = backward(grad_query, grad_key, *saved, beta, ctx.number, ctx.divides)
    return of_query, of_key, None if beta is None else of_beta, None, None


forward.register_autograd(_gradients, setup_context=_remember)
