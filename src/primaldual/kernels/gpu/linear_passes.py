"""Forward and backward of linear attention: which kernels run, on which chunks of rows."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.kernels.gpu import (
    linear_causal,
    linear_causal_gradients,
    linear_gradients,
    linear_outputs,
    linear_sums,
)
from primaldual.kernels.gpu.linear_launch import Chunks, Launch, Setting, chunks, setting
from primaldual.kernels.gpu.strides import unit_stride

PROGRAMS = 256
"""Programs of a launch, where there are rows enough: two for each multiprocessor of the largest GPUs, about."""

CAUSAL_PROGRAMS = 512
"""The same for causal attention, whose blocks wait for one another."""


def forward(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool, features: str
) -> tuple[Tensor, Tensor]:
    """Outputs, heads last in memory, and the states and totals of chunks of keys.

    Args:
        query: (batch, heads, Nq, D).
        key: (batch, kv heads, Nk, D).
        value: (batch, kv heads, Nk, Dv).
        mask: bool (batch or 1, kv heads or 1, Nk), True = may attend; None = every key.
        is_causal: query i attends the keys 0..i.
        features: "elu+1" or "identity".
    """
    query, key, value, mask = unit_stride(query), unit_stride(key), unit_stride(value), _bytes(mask)
    made = _setting(query, value, is_causal, features)
    cut = _key_chunks(query, key, made, is_causal)
    sums = linear_sums.run_key_sums(key, value, mask, cut, made)
    if is_causal:
        return linear_causal.run_causal_outputs(query, key, value, mask, sums, cut, made), sums
    cut = _chunks(query, linear_outputs.OUTPUTS.of(made))
    return linear_outputs.run_outputs(query, sums, key.shape[1], cut, made), sums


def backward(
    gradient: Tensor,
    tensors: tuple[Tensor, Tensor, Tensor],
    mask: Tensor | None,
    sums: Tensor,
    is_causal: bool,
    features: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value, heads last in memory.

    Args:
        gradient: of the output.
        tensors: query, key and value.
        mask: as the forward had it.
        sums: what the forward gave.
        is_causal: as the forward had it.
        features: as the forward had it.
    """
    query, key, value = (unit_stride(tensor) for tensor in tensors)
    gradient, mask, made = unit_stride(gradient), _bytes(mask), _setting(query, value, is_causal, features)
    if is_causal:
        rows, cut = (query, key, value, mask, gradient), _causal_chunks(query, made)
        of_query, later, of_rows = linear_causal_gradients.run_causal_query_gradients(*rows, sums, cut, made)
        return of_query, *linear_causal_gradients.run_causal_key_gradients(*rows, later, of_rows, cut, made)
    cut = _chunks(query, linear_gradients.QUERY_GRADIENTS.of(made))
    of_query, later = linear_gradients.run_query_gradients(query, gradient, sums, key.shape[1], cut, made)
    cut = _chunks(key, linear_gradients.KEY_GRADIENTS.of(made))
    return of_query, *linear_gradients.run_key_gradients(key, value, mask, later, cut, made)


def shape_of_sums(
    query: Tensor, key: Tensor, value: Tensor, is_causal: bool, features: str
) -> tuple[int, int, int]:
    """The shape of the states and totals that :func:`forward` gives; sizes may be symbolic, D and Dv become numbers."""
    made = _setting(query, value, is_causal, features)
    return key.shape[0] * key.shape[1], _key_chunks(query, key, made, is_causal).number, made.sums


def _key_chunks(query: Tensor, key: Tensor, made: Setting, is_causal: bool) -> Chunks:
    """The chunks of keys whose states and totals are kept."""
    return _causal_chunks(query, made) if is_causal else _chunks(key, linear_sums.KEY_SUMS.of(made))


def _setting(query: Tensor, value: Tensor, is_causal: bool, features: str) -> Setting:
    tf32 = torch.backends.cuda.matmul.allow_tf32
    return setting(
        int(query.shape[3]), int(value.shape[3]), query.dtype, is_causal, features, tf32, query.is_cuda
    )


def _chunks(rows: Tensor, launch: Launch) -> Chunks:
    return chunks(rows.shape[0] * rows.shape[1], rows.shape[2], launch.block, PROGRAMS)


def _causal_chunks(query: Tensor, made: Setting) -> Chunks:
    """Chunks that every kernel of a causal attention takes by whole blocks."""
    gradients = linear_causal_gradients.QUERY_GRADIENTS, linear_causal_gradients.KEY_GRADIENTS
    kernels = linear_sums.KEY_SUMS, linear_causal.OUTPUTS, *gradients
    block = max(kernel.of(made).block for kernel in kernels)
    return chunks(query.shape[0] * query.shape[1], query.shape[2], block, CAUSAL_PROGRAMS)


def _bytes(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else unit_stride(mask).view(torch.uint8)
