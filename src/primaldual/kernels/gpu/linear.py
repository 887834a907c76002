"""Linear attention by kernels in Triton: time and memory linear in the length, nothing as large as the keys in float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from primaldual.errors import ArgumentError, ShapeError
from primaldual.kernels.gpu.linear_limits import DTYPES, WIDEST
from primaldual.kernels.gpu.linear_passes import backward, forward
from primaldual.kernels.heads import check_heads
from primaldual.kernels.precision import differentiated_once

FEATURES = "elu+1", "identity"


def linear_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    key_mask: Tensor | None = None,
    is_causal: bool = False,
    features: str = "elu+1",
) -> Tensor:
    """Attention with the kernel phi(q) . phi(k), normalised by its sum.

        out_i = phi(q_i) S / (phi(q_i) . z),    S = sum_j phi(k_j) v_j^T,    z = sum_j phi(k_j)

    over the attendable keys, 0 where phi(q_i) . z is 0. Sums are taken in float32. Products of float32
    inputs are exact to about float32, unless ``torch.backends.cuda.matmul.allow_tf32`` is set.

    Args:
        query: (batch, heads, Nq, D).
        key: (batch, kv heads, Nk, D); kv heads divides heads.
        value: (batch, kv heads, Nk, Dv).
        key_mask: bool (batch or 1, kv heads or 1, 1, Nk), True = may attend; masked keys and values may hold anything.
        is_causal: query i attends the keys 0..i; Nq = Nk.
        features: phi: "elu+1", computed within the kernels, or "identity", for features of queries and keys.

    Returns:
        (batch, heads, Nq, Dv), heads last in memory, in the type of the inputs.

    Raises:
        ArgumentError: another dtype, dtypes that differ, or other features.
        ShapeError: tensors that do not fit together, D or Dv above 128, or causal attention with Nq != Nk.

    Reference: Katharopoulos et al., "Transformers are RNNs", ICML 2020.
    """
    _check(query, key, value, key_mask, is_causal, features)
    return unchecked_linear_attention(query, key, value, key_mask, is_causal, features)


def unchecked_linear_attention(
    query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor | None, is_causal: bool, features: str
) -> Tensor:
    """:func:`linear_attention` of what it accepts: the checks take a tenth of the time of a short call."""
    mask = None if key_mask is None else key_mask[:, :, 0]
    if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad):
        out: Tensor = _LinearAttention.apply(query, key, value, mask, is_causal, features)
        return out
    return forward(query, key, value, mask, is_causal, features)[0]


class _LinearAttention(torch.autograd.Function):
    """Keeps its inputs and the sums of chunks of keys for backward."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        is_causal: bool,
        features: str,
    ) -> Tensor:
        out, sums = forward(query, key, value, mask, is_causal, features)
        ctx.save_for_backward(query, key, value, mask, sums)
        ctx.is_causal, ctx.features = is_causal, features
        return out

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, mask, sums = ctx.saved_tensors
        found = backward(gradient, (query, key, value), mask, sums, ctx.is_causal, ctx.features)
        return *found, None, None, None


def _check(
    query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor | None, is_causal: bool, features: str
) -> None:
    check_heads(query, key, value)
    if query.dtype not in DTYPES or {query.dtype, key.dtype, value.dtype} != {query.dtype}:
        raise ArgumentError(
            "query, key and value must be of one type, bfloat16, float16 or float32; got "
            f"{query.dtype}, {key.dtype} and {value.dtype}"
        )
    if features not in FEATURES:
        raise ArgumentError(f"features must be one of {', '.join(FEATURES)}; got {features!r}")
    if max(query.shape[3], value.shape[3]) > WIDEST:
        raise ShapeError(
            f"query, key and value must be at most {WIDEST} wide; got {query.shape[3]} and {value.shape[3]}"
        )
    if is_causal and query.shape[2] != key.shape[2]:
        raise ShapeError(
            f"causal attention needs as many queries as keys; got {query.shape[2]} and {key.shape[2]}"
        )
    if key_mask is None:
        return
    sizes = (1, key.shape[0]), (1, key.shape[1]), (1,), (key.shape[2],)
    shape = tuple(key_mask.shape)
    if (
        key_mask.dtype != torch.bool
        or len(shape) != 4
        or any(n not in s for n, s in zip(shape, sizes, strict=True))
    ):
        raise ShapeError(
            f"key_mask must be boolean, ({key.shape[0]} or 1, {key.shape[1]} or 1, 1, {key.shape[2]}); got "
            f"{key_mask.dtype} {shape}"
        )
