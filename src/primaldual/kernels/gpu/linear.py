"""Linear attention by kernels in Triton: time and memory linear in the length, nothing as large as the keys in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from primaldual.errors import ArgumentError, ShapeError
from primaldual.kernels.gpu import (
    linear_causal,
    linear_causal_gradients,
    linear_gradients,
    linear_outputs,
    linear_sums,
)
from primaldual.kernels.gpu.linear_launch import Chunks, Launch, Setting, chunks, setting
from primaldual.kernels.heads import check_heads
from primaldual.kernels.precision import differentiated_once

WIDEST = 128
"""Largest D and Dv: the state of a head, D x Dv in float32, stands in registers."""

DTYPES = torch.bfloat16, torch.float16, torch.float32

FEATURES = "elu+1", "identity"

PROGRAMS = 256
"""Programs of a launch, where there are rows enough: two for each multiprocessor of the largest GPUs, about."""

CAUSAL_PROGRAMS = 512
"""The same for causal attention, whose blocks wait for one another."""


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
    query, key, value = (_side_by_side(tensor) for tensor in (query, key, value))
    mask = None if key_mask is None else _side_by_side(key_mask[:, :, 0])
    with _on_device(query):
        if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad):
            out: Tensor = _LinearAttention.apply(query, key, value, mask, is_causal, features)
            return out
        return _forward(query, key, value, mask, is_causal, features)[0]


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
        out, sums = _forward(query, key, value, mask, is_causal, features)
        ctx.save_for_backward(query, key, value, mask, sums)
        ctx.is_causal, ctx.features = is_causal, features
        return out

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, mask, sums = ctx.saved_tensors
        tensors = query, key, value, mask, _side_by_side(gradient), sums
        run = _causal_backward if ctx.is_causal else _backward
        with _on_device(query):
            return *run(*tensors, _setting(query, value, ctx.is_causal, ctx.features)), None, None, None


def _forward(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool, features: str
) -> tuple[Tensor, Tensor]:
    """Outputs, and the states and totals of chunks of keys."""
    made = _setting(query, value, is_causal, features)
    if is_causal:
        cut = _causal_chunks(query, made)
        sums = linear_sums.run_key_sums(key, value, mask, cut, made)
        return linear_causal.run_causal_outputs(query, key, value, mask, sums, cut, made), sums
    sums = linear_sums.run_key_sums(key, value, mask, _chunks(key, linear_sums.KEY_SUMS.of(made)), made)
    cut = _chunks(query, linear_outputs.OUTPUTS.of(made))
    return linear_outputs.run_outputs(query, sums, key.shape[1], cut, made), sums


def _backward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    gradient: Tensor,
    sums: Tensor,
    made: Setting,
) -> tuple[Tensor, Tensor, Tensor]:
    cut = _chunks(query, linear_gradients.QUERY_GRADIENTS.of(made))
    of_query, later = linear_gradients.run_query_gradients(query, gradient, sums, key.shape[1], cut, made)
    cut = _chunks(key, linear_gradients.KEY_GRADIENTS.of(made))
    return of_query, *linear_gradients.run_key_gradients(key, value, mask, later, cut, made)


def _causal_backward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    gradient: Tensor,
    sums: Tensor,
    made: Setting,
) -> tuple[Tensor, Tensor, Tensor]:
    tensors, cut = (query, key, value, mask, gradient), _causal_chunks(query, made)
    of_query, later, of_rows = linear_causal_gradients.run_causal_query_gradients(*tensors, sums, cut, made)
    return of_query, *linear_causal_gradients.run_causal_key_gradients(*tensors, later, of_rows, cut, made)


def _setting(query: Tensor, value: Tensor, is_causal: bool, features: str) -> Setting:
    tf32 = torch.backends.cuda.matmul.allow_tf32
    return setting(query.shape[3], value.shape[3], query.dtype, is_causal, features, tf32, query.is_cuda)


def _chunks(rows: Tensor, launch: Launch) -> Chunks:
    return chunks(rows.shape[0] * rows.shape[1], rows.shape[2], launch.block, PROGRAMS)


def _causal_chunks(query: Tensor, made: Setting) -> Chunks:
    """Chunks that every kernel of a causal attention takes by whole blocks."""
    gradients = linear_causal_gradients.QUERY_GRADIENTS, linear_causal_gradients.KEY_GRADIENTS
    kernels = linear_sums.KEY_SUMS, linear_causal.OUTPUTS, *gradients
    block = max(kernel.of(made).block for kernel in kernels)
    return chunks(query.shape[0] * query.shape[1], query.shape[2], block, CAUSAL_PROGRAMS)


def _side_by_side(tensor: Tensor) -> Tensor:
    """The tensor with the numbers of a row side by side in memory, as kernels read them."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _on_device(tensor: Tensor) -> AbstractContextManager[object]:
    """A context in which kernels are launched on the device of the tensor; free of cost where it is the current one."""
    if not tensor.is_cuda or tensor.device.index == torch.cuda.current_device():
        return nullcontext()
    return torch.cuda.device(tensor.device)


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
