"""Causal linear attention: chunks of rows at the same time, blocks of a chunk one after the other.

A chunk begins with the sums of the chunks before it (backward: behind it). Inside, a block of rows reads the running
state and forms the kernel matrix of its own rows alone.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from primaldual.kernels.gpu.launch import launch
from primaldual.kernels.gpu.linear_blocks import (
    added_sums,
    attended,
    features,
    load_rows,
    lower_triangle,
    no_zeros,
    of_head,
    operand,
    product,
    product_with_sums,
    row_mask,
    store_rows,
)
from primaldual.kernels.gpu.linear_launch import Chunks, Launch, Launches, Setting, mask_strides
from primaldual.kernels.gpu.strides import heads_last

OUTPUTS = Launches(
    narrow=Launch(64, 4, 2),
    wide=Launch(64, 8, 1),
    exact=Launch(32, 8, 1),
    exact_wide=Launch(16, 8, 1),
)


@triton.jit(do_not_specialize=["length", "chunk", "parts"])
def causal_outputs(
    query,
    key,
    value,
    mask,
    sums,
    out,
    query_batch,
    query_head,
    query_row,
    key_batch,
    key_head,
    key_row,
    value_batch,
    value_head,
    value_row,
    mask_batch,
    mask_head,
    heads,
    group,
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
    """phi(q_i) S_i / (phi(q_i) . z_i), the sums over the keys up to i, for every query head (axis 0) and chunk (axis 1)."""
    head, place = tl.program_id(0), tl.program_id(1)
    kv_head, kv_heads = head // group, heads // group
    query = of_head(query, head, heads, query_batch, query_head)
    key = of_head(key, kv_head, kv_heads, key_batch, key_head)
    value = of_head(value, kv_head, kv_heads, value_batch, value_head)
    if MASKED:
        mask = of_head(mask, kv_head, kv_heads, mask_batch, mask_head)
    out = of_head(out, head, heads, tl.cast(length, tl.int64) * heads * DV, DV)
    first = sums + tl.cast(kv_head, tl.int64) * parts * (D * DV + D)
    state, total = added_sums(first, 0, place, D, DV, BLOCK_D, BLOCK_DV)
    for start in tl.range(place * chunk, tl.minimum(place * chunk + chunk, length), BLOCK, num_stages=STAGES):
        of_row, of_out = (
            row_mask(start, length, D, BLOCK, BLOCK_D),
            row_mask(start, length, DV, BLOCK, BLOCK_DV),
        )
        inside, of_value = (
            attended(mask, start, length, of_row, MASKED, BLOCK),
            attended(mask, start, length, of_out, MASKED, BLOCK),
        )
        queries = features(
            load_rows(query, start, query_row, of_row, BLOCK, BLOCK_D), of_row, FEATURES, BFLOAT16
        )
        keys = features(load_rows(key, start, key_row, inside, BLOCK, BLOCK_D), inside, FEATURES, BFLOAT16)
        values = operand(load_rows(value, start, value_row, of_value, BLOCK, BLOCK_DV), BFLOAT16)
        own = operand(lower_triangle(product(queries, tl.trans(keys), PRECISION), BLOCK), BFLOAT16)
        kernels = tl.sum(queries.to(tl.float32) * total[None, :], 1) + tl.sum(own.to(tl.float32), 1)
        rows = product_with_sums(queries, state, BFLOAT16, PRECISION) + product(own, values, PRECISION)
        store_rows(out, start, heads * DV, rows / no_zeros(kernels)[:, None], of_out, BLOCK, BLOCK_DV)
        state += product(tl.trans(keys), values, PRECISION)
        total += tl.sum(keys.to(tl.float32), 0)


def run_causal_outputs(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    sums: Tensor,
    cut: Chunks,
    setting: Setting,
) -> Tensor:
    """The outputs (batch, heads, N, Dv), heads last in memory, from the states and totals of chunks of keys."""
    batch, heads, length, _ = query.shape
    out = heads_last(query, setting.value_dim)
    how = OUTPUTS.of(setting)
    launch(
        causal_outputs, (batch * heads, cut.number), (query, key, value, key if mask is None else mask, sums, out),
        (*query.stride()[:3], *key.stride()[:3], *value.stride()[:3], *mask_strides(mask),
         heads, heads // key.shape[1], length, cut.size, cut.number),
        (mask is not None, *setting.constants, how.block, how.stages), how.warps, how.stages,
    )  # fmt: skip
    return out
