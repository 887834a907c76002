"""Gradients of linear attention to all keys: those of queries first, then of keys and values."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from primaldual.kernels.gpu.launch import launch
from primaldual.kernels.gpu.linear_blocks import (
    added_sums,
    attended,
    features,
    load_rows,
    no_zeros,
    of_head,
    operand,
    product,
    product_with_sums,
    row_mask,
    store_rows,
    store_sums,
    through_features,
)
from primaldual.kernels.gpu.linear_launch import Chunks, Launch, Launches, Setting, mask_strides
from primaldual.kernels.gpu.strides import heads_last

QUERY_GRADIENTS = Launches(
    narrow=Launch(64, 4, 2),
    wide=Launch(32, 8, 1),
    exact=Launch(32, 8, 1),
    exact_wide=Launch(16, 8, 1),
)
KEY_GRADIENTS = Launches(
    narrow=Launch(64, 4, 2),
    wide=Launch(64, 8, 1),
    exact=Launch(32, 8, 1),
    exact_wide=Launch(16, 8, 1),
)


@triton.jit(do_not_specialize=["length", "chunk", "parts"])
def query_gradients(
    query,
    gradient,
    sums,
    query_gradient,
    later_sums,
    query_batch,
    query_head,
    query_row,
    gradient_batch,
    gradient_head,
    gradient_row,
    heads,
    group,
    length,
    chunk,
    parts,
    D: tl.constexpr,
    DV: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_DV: tl.constexpr,
    FEATURES: tl.constexpr,
    BFLOAT16: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):
    """The gradient of queries, and those of the state and the total that each chunk of them contributes.

    With h = phi(q) . z, u = do / h and t = -u . out: dphi(q) = u S^T + t z, dS = sum phi(q)^T u, dz = sum t phi(q).
    """
    head, place = tl.program_id(0), tl.program_id(1)
    query = of_head(query, head, heads, query_batch, query_head)
    gradient = of_head(gradient, head, heads, gradient_batch, gradient_head)
    query_gradient = of_head(query_gradient, head, heads, tl.cast(length, tl.int64) * heads * D, D)
    first = sums + tl.cast(head // group, tl.int64) * parts * (D * DV + D)
    state, total = added_sums(first, 0, parts, D, DV, BLOCK_D, BLOCK_DV)
    of_state = tl.zeros((BLOCK_D, BLOCK_DV), tl.float32)
    of_total = tl.zeros((BLOCK, BLOCK_D), tl.float32)
    for start in tl.range(place * chunk, tl.minimum(place * chunk + chunk, length), BLOCK, num_stages=STAGES):
        inside = row_mask(start, length, D, BLOCK, BLOCK_D)
        rows = load_rows(query, start, query_row, inside, BLOCK, BLOCK_D)
        of_value = row_mask(start, length, DV, BLOCK, BLOCK_DV)
        wanted = load_rows(gradient, start, gradient_row, of_value, BLOCK, BLOCK_DV).to(tl.float32)
        queries = features(rows, inside, FEATURES, BFLOAT16)
        wide = queries.to(tl.float32)
        kernels = no_zeros(tl.sum(wide * total[None, :], 1))
        of_sums = operand(wanted / kernels[:, None], BFLOAT16)
        found = product_with_sums(queries, state, BFLOAT16, PRECISION) / kernels[:, None]
        of_kernels = -tl.sum(of_sums.to(tl.float32) * found, 1)
        of_features = product_with_sums(of_sums, tl.trans(state), BFLOAT16, PRECISION)
        of_features += of_kernels[:, None] * total[None, :]
        of_rows = through_features(of_features, rows, inside, FEATURES)
        store_rows(query_gradient, start, heads * D, of_rows, inside, BLOCK, BLOCK_D)
        of_state += product(tl.trans(queries), of_sums, PRECISION)
        of_total += of_kernels[:, None] * wide
    later = later_sums + (tl.cast(head, tl.int64) * tl.num_programs(1) + place) * (D * DV + D)
    store_sums(later, of_state, tl.sum(of_total, 0), D, DV, BLOCK_D, BLOCK_DV)


@triton.jit(do_not_specialize=["length", "chunk", "parts"])
def key_gradients(
    key,
    value,
    mask,
    later_sums,
    key_gradient,
    value_gradient,
    key_batch,
    key_head,
    key_row,
    value_batch,
    value_head,
    value_row,
    mask_batch,
    mask_head,
    heads,
    length,
    chunk,
    parts,
    MASKED: tl.constexpr,
    D: tl.constexpr,
    DV: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_DV: tl.constexpr,
    FEATURES: tl.constexpr,
    BFLOAT16: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):
    """dphi(k) = v dS^T + dz and dv = phi(k) dS for every key head (axis 0) and chunk (axis 1)."""
    head, place = tl.program_id(0), tl.program_id(1)
    key = of_head(key, head, heads, key_batch, key_head)
    value = of_head(value, head, heads, value_batch, value_head)
    if MASKED:
        mask = of_head(mask, head, heads, mask_batch, mask_head)
    key_gradient = of_head(key_gradient, head, heads, tl.cast(length, tl.int64) * heads * D, D)
    value_gradient = of_head(value_gradient, head, heads, tl.cast(length, tl.int64) * heads * DV, DV)
    first = later_sums + tl.cast(head, tl.int64) * parts * (D * DV + D)
    of_state, of_total = added_sums(first, 0, parts, D, DV, BLOCK_D, BLOCK_DV)
    for start in tl.range(place * chunk, tl.minimum(place * chunk + chunk, length), BLOCK, num_stages=STAGES):
        stored = row_mask(start, length, D, BLOCK, BLOCK_D)
        stored_value = row_mask(start, length, DV, BLOCK, BLOCK_DV)
        inside, of_value = (
            attended(mask, start, length, stored, MASKED, BLOCK),
            attended(mask, start, length, stored_value, MASKED, BLOCK),
        )
        rows = load_rows(key, start, key_row, inside, BLOCK, BLOCK_D)
        keys = features(rows, inside, FEATURES, BFLOAT16)
        values = operand(load_rows(value, start, value_row, of_value, BLOCK, BLOCK_DV), BFLOAT16)
        of_values = product_with_sums(keys, of_state, BFLOAT16, PRECISION)
        store_rows(value_gradient, start, heads * DV, of_values, stored_value, BLOCK, BLOCK_DV)
        of_features = product_with_sums(values, tl.trans(of_state), BFLOAT16, PRECISION) + of_total[None, :]
        of_rows = through_features(of_features, rows, inside, FEATURES)
        store_rows(key_gradient, start, heads * D, of_rows, stored, BLOCK, BLOCK_D)


def run_query_gradients(
    query: Tensor, gradient: Tensor, sums: Tensor, kv_heads: int, cut: Chunks, setting: Setting
) -> tuple[Tensor, Tensor]:
    """The gradient of the queries, and of the states and totals by chunks: (batch * heads, chunks, D * Dv + D)."""
    batch, heads, length, head_dim = query.shape
    found = heads_last(query, head_dim)
    later = torch.empty((batch * heads, cut.number, setting.sums), dtype=torch.float32, device=query.device)
    how = QUERY_GRADIENTS.of(setting)
    launch(
        query_gradients, (batch * heads, cut.number), (query, gradient, sums, found, later),
        (*query.stride()[:3], *gradient.stride()[:3], heads, heads // kv_heads, length, cut.size, sums.shape[1]),
        (*setting.constants, how.block, how.stages), how.warps, how.stages,
    )  # fmt: skip
    return found, later


def run_key_gradients(
    key: Tensor, value: Tensor, mask: Tensor | None, later: Tensor, cut: Chunks, setting: Setting
) -> tuple[Tensor, Tensor]:
    """The gradients of keys and values from those of the states and totals."""
    batch, heads, length, head_dim = key.shape
    of_key, of_value = heads_last(key, head_dim), heads_last(key, setting.value_dim)
    parts = later.shape[0] * later.shape[1] // (batch * heads)
    how = KEY_GRADIENTS.of(setting)
    launch(
        key_gradients, (batch * heads, cut.number),
        (key, value, key if mask is None else mask, later, of_key, of_value),
        (*key.stride()[:3], *value.stride()[:3], *mask_strides(mask), heads, length, cut.size, parts),
        (mask is not None, *setting.constants, how.block, how.stages), how.warps, how.stages,
    )  # fmt: skip
    return of_key, of_value
