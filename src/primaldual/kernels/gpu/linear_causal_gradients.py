"""Gradients of causal linear attention: those of queries with the chunks in order, then of keys and values, in reverse."""

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
    lower_triangle,
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
    narrow=Launch(32, 4, 2),
    wide=Launch(32, 8, 1),
    exact=Launch(32, 8, 1),
    exact_wide=Launch(16, 8, 1),
)
KEY_GRADIENTS = Launches(
    narrow=Launch(32, 4, 1),  # Triton 3.6 pipelines this loop into wrong gradients
    wide=Launch(32, 8, 1),
    exact=Launch(32, 8, 1),
    exact_wide=Launch(16, 8, 1),
)


@triton.jit(do_not_specialize=["length", "chunk", "parts"])
def causal_query_gradients(
    query,
    key,
    value,
    mask,
    gradient,
    sums,
    query_gradient,
    later_sums,
    of_rows,
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
    gradient_batch,
    gradient_head,
    gradient_row,
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
    """The gradient of queries, what each chunk of them adds to those of the sums, and two numbers of every row.

    With h_i = phi(q_i) . z_i, u_i = do_i / h_i and t_i = -u_i . out_i: dphi(q_i) = u_i S_i^T + t_i z_i. The numbers are
    h_i and t_i, one after the other for every head.
    """
    head, place = tl.program_id(0), tl.program_id(1)
    kv_head, kv_heads = head // group, heads // group
    query = of_head(query, head, heads, query_batch, query_head)
    key = of_head(key, kv_head, kv_heads, key_batch, key_head)
    value = of_head(value, kv_head, kv_heads, value_batch, value_head)
    gradient = of_head(gradient, head, heads, gradient_batch, gradient_head)
    if MASKED:
        mask = of_head(mask, kv_head, kv_heads, mask_batch, mask_head)
    query_gradient = of_head(query_gradient, head, heads, tl.cast(length, tl.int64) * heads * D, D)
    of_rows += tl.cast(head, tl.int64) * 2 * length
    first = sums + tl.cast(kv_head, tl.int64) * parts * (D * DV + D)
    state, total = added_sums(first, 0, place, D, DV, BLOCK_D, BLOCK_DV)
    of_state = tl.zeros((BLOCK_D, BLOCK_DV), tl.float32)
    of_total = tl.zeros((BLOCK_D,), tl.float32)
    for start in tl.range(place * chunk, tl.minimum(place * chunk + chunk, length), BLOCK, num_stages=STAGES):
        of_row, of_out = (
            row_mask(start, length, D, BLOCK, BLOCK_D),
            row_mask(start, length, DV, BLOCK, BLOCK_DV),
        )
        inside, of_value = (
            attended(mask, start, length, of_row, MASKED, BLOCK),
            attended(mask, start, length, of_out, MASKED, BLOCK),
        )
        given = load_rows(query, start, query_row, of_row, BLOCK, BLOCK_D)
        queries = features(given, of_row, FEATURES, BFLOAT16)
        keys = features(load_rows(key, start, key_row, inside, BLOCK, BLOCK_D), inside, FEATURES, BFLOAT16)
        values = operand(load_rows(value, start, value_row, of_value, BLOCK, BLOCK_DV), BFLOAT16)
        wanted = load_rows(gradient, start, gradient_row, of_out, BLOCK, BLOCK_DV).to(tl.float32)

        own = operand(lower_triangle(product(queries, tl.trans(keys), PRECISION), BLOCK), BFLOAT16)
        wide = queries.to(tl.float32)
        kernels = no_zeros(tl.sum(wide * total[None, :], 1) + tl.sum(own.to(tl.float32), 1))
        found = product_with_sums(queries, state, BFLOAT16, PRECISION) + product(own, values, PRECISION)
        of_sums = operand(wanted / kernels[:, None], BFLOAT16)
        of_kernels = -tl.sum(of_sums.to(tl.float32) * found, 1) / kernels
        rows = start + tl.arange(0, BLOCK)
        tl.store(of_rows + rows, kernels, mask=rows < length)
        tl.store(of_rows + length + rows, of_kernels, mask=rows < length)

        of_own = product(of_sums, tl.trans(values), PRECISION) + of_kernels[:, None]
        of_features = (
            product_with_sums(of_sums, tl.trans(state), BFLOAT16, PRECISION)
            + of_kernels[:, None] * total[None, :]
        )
        of_features += product(operand(lower_triangle(of_own, BLOCK), BFLOAT16), keys, PRECISION)
        of_given = through_features(of_features, given, of_row, FEATURES)
        store_rows(query_gradient, start, heads * D, of_given, of_row, BLOCK, BLOCK_D)

        state += product(tl.trans(keys), values, PRECISION)
        total += tl.sum(keys.to(tl.float32), 0)
        of_state += product(tl.trans(queries), of_sums, PRECISION)
        of_total += tl.sum(of_kernels[:, None] * wide, 0)
    later = later_sums + (tl.cast(head, tl.int64) * parts + place) * (D * DV + D)
    store_sums(later, of_state, of_total, D, DV, BLOCK_D, BLOCK_DV)


@triton.jit(do_not_specialize=["group", "length", "chunk", "parts"])
def causal_key_gradients(
    query,
    key,
    value,
    mask,
    gradient,
    later_sums,
    of_rows,
    key_gradient,
    value_gradient,
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
    gradient_batch,
    gradient_head,
    gradient_row,
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
    """dphi(k_j) = sum (u_i . v_j + t_i) phi(q_i) and dv_j = sum (phi(q_i) . phi(k_j)) u_i over the queries i >= j.

    For every key head (axis 0) and chunk (axis 1), the last block of the chunk first.
    """
    kv_head, place = tl.program_id(0), tl.program_id(1)
    kv_heads = heads // group
    key = of_head(key, kv_head, kv_heads, key_batch, key_head)
    value = of_head(value, kv_head, kv_heads, value_batch, value_head)
    if MASKED:
        mask = of_head(mask, kv_head, kv_heads, mask_batch, mask_head)
    key_gradient = of_head(key_gradient, kv_head, kv_heads, tl.cast(length, tl.int64) * kv_heads * D, D)
    value_gradient = of_head(value_gradient, kv_head, kv_heads, tl.cast(length, tl.int64) * kv_heads * DV, DV)
    of_state = tl.zeros((BLOCK_D, BLOCK_DV), tl.float32)
    of_total = tl.zeros((BLOCK_D,), tl.float32)
    for member in range(group):
        first = later_sums + (tl.cast(kv_head, tl.int64) * group + member) * parts * (D * DV + D)
        state, total = added_sums(first, place + 1, parts, D, DV, BLOCK_D, BLOCK_DV)
        of_state += state
        of_total += total
    stop = tl.minimum(place * chunk + chunk, length)
    blocks = tl.cdiv(stop - place * chunk, BLOCK)
    for step in tl.range(0, blocks, num_stages=STAGES):
        start = place * chunk + (blocks - 1 - step) * BLOCK
        of_row, of_out = (
            row_mask(start, length, D, BLOCK, BLOCK_D),
            row_mask(start, length, DV, BLOCK, BLOCK_DV),
        )
        inside, of_value = (
            attended(mask, start, length, of_row, MASKED, BLOCK),
            attended(mask, start, length, of_out, MASKED, BLOCK),
        )
        given = load_rows(key, start, key_row, inside, BLOCK, BLOCK_D)
        keys = features(given, inside, FEATURES, BFLOAT16)
        values = operand(load_rows(value, start, value_row, of_value, BLOCK, BLOCK_DV), BFLOAT16)
        of_values = product_with_sums(keys, of_state, BFLOAT16, PRECISION)
        of_features = product_with_sums(values, tl.trans(of_state), BFLOAT16, PRECISION) + of_total[None, :]
        for member in range(group):
            head = kv_head * group + member
            from_query = of_head(query, head, heads, query_batch, query_head)
            from_gradient = of_head(gradient, head, heads, gradient_batch, gradient_head)
            numbers = of_rows + tl.cast(head, tl.int64) * 2 * length
            rows = start + tl.arange(0, BLOCK)
            kernels = tl.load(numbers + rows, mask=rows < length, other=1.0)
            of_kernels = tl.load(numbers + length + rows, mask=rows < length, other=0.0)
            queries = load_rows(from_query, start, query_row, of_row, BLOCK, BLOCK_D)
            queries = features(queries, of_row, FEATURES, BFLOAT16)
            wanted = load_rows(from_gradient, start, gradient_row, of_out, BLOCK, BLOCK_DV).to(tl.float32)
            of_sums = operand(wanted / kernels[:, None], BFLOAT16)
            own = operand(lower_triangle(product(queries, tl.trans(keys), PRECISION), BLOCK), BFLOAT16)
            of_own = product(of_sums, tl.trans(values), PRECISION) + of_kernels[:, None]
            of_own = operand(lower_triangle(of_own, BLOCK), BFLOAT16)
            of_values += product(tl.trans(own), of_sums, PRECISION)
            of_features += product(tl.trans(of_own), queries, PRECISION)
            of_state += product(tl.trans(queries), of_sums, PRECISION)
            of_total += tl.sum(of_kernels[:, None] * queries.to(tl.float32), 0)
        store_rows(value_gradient, start, kv_heads * DV, of_values, of_out, BLOCK, BLOCK_DV)
        of_given = through_features(of_features, given, inside, FEATURES)
        store_rows(key_gradient, start, kv_heads * D, of_given, of_row, BLOCK, BLOCK_D)


def run_causal_query_gradients(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    gradient: Tensor,
    sums: Tensor,
    cut: Chunks,
    setting: Setting,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient of the queries, and what the gradients of keys and values need.

    These are the gradients of states and totals by chunks, (batch * heads, chunks, D * Dv + D), and two numbers of every
    row, (batch * heads, 2, N).
    """
    batch, heads, length, head_dim = query.shape
    found = heads_last(query, head_dim)
    later = torch.empty((batch * heads, cut.number, setting.sums), dtype=torch.float32, device=query.device)
    of_rows = torch.empty((batch * heads, 2, length), dtype=torch.float32, device=query.device)
    how = QUERY_GRADIENTS.of(setting)
    launch(
        causal_query_gradients, (batch * heads, cut.number),
        (query, key, value, key if mask is None else mask, gradient, sums, found, later, of_rows),
        (*query.stride()[:3], *key.stride()[:3], *value.stride()[:3], *mask_strides(mask), *gradient.stride()[:3],
         heads, heads // key.shape[1], length, cut.size, cut.number),
        (mask is not None, *setting.constants, how.block, how.stages), how.warps, how.stages,
    )  # fmt: skip
    return found, later, of_rows


def run_causal_key_gradients(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    gradient: Tensor,
    later: Tensor,
    of_rows: Tensor,
    cut: Chunks,
    setting: Setting,
) -> tuple[Tensor, Tensor]:
    """The gradients of keys and values."""
    batch, kv_heads, length, head_dim = key.shape
    heads = query.shape[1]
    of_key, of_value = heads_last(key, head_dim), heads_last(key, setting.value_dim)
    how = KEY_GRADIENTS.of(setting)
    launch(
        causal_key_gradients, (batch * kv_heads, cut.number),
        (query, key, value, key if mask is None else mask, gradient, later, of_rows, of_key, of_value),
        (*query.stride()[:3], *key.stride()[:3], *value.stride()[:3], *mask_strides(mask), *gradient.stride()[:3],
         heads, heads // kv_heads, length, cut.size, cut.number),
        (mask is not None, *setting.constants, how.block, how.stages), how.warps, how.stages,
    )  # fmt: skip
    return of_key, of_value
