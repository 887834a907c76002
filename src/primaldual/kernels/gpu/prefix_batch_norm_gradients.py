"""Gradients of queries and keys, where queries were normalised by the statistics of the keys up to each of them."""

import triton
import triton.language as tl
from torch import Tensor

from primaldual.kernels.gpu.batch_norm_gradients import Gradients
from primaldual.kernels.gpu.block_sums import columns, parts_of, rows_behind, summed_from, to_members
from primaldual.kernels.gpu.keys import Pools
from primaldual.kernels.gpu.launch import launch
from primaldual.kernels.gpu.normalization import HeadNumbers, Normalization
from primaldual.kernels.gpu.prefix_batch_norm import up_to
from primaldual.kernels.gpu.prefix_states import BLOCK, SUMS, sum_behind
from primaldual.kernels.gpu.strides import heads_last


@triton.jit(do_not_specialize=["beta", "eps", "batches", "length", "chunks"])
def _sum_blocks(
    grad, q, k, states, sums, table, betas, gains, beta, eps, batches, groups, length, chunks,
    g_b, g_h, g_n, q_b, q_h, q_n, k_b, k_h, k_n,
    D: tl.constexpr, BD: tl.constexpr, BLOCK: tl.constexpr, LEARNED: tl.constexpr, GAINED: tl.constexpr,
    DIVIDE: tl.constexpr, POOLED: tl.constexpr, PARTS: tl.constexpr, SUMS: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1) // batches
    batch = (tl.program_id(1) % batches).to(tl.int64)
    heads = tl.num_programs(1) // batches
    kv = head // groups
    block = tl.program_id(0)
    d = tl.arange(0, BD)
    row = tl.arange(0, BLOCK)
    wide = (block * BLOCK + row)[:, None].to(tl.int64)
    mask = (wide < length) & (d < D)[None, :]
    k += batch * k_b + kv * k_h
    first = tl.load(k + d, mask=d < D, other=0.0).to(tl.float32)[None, :]
    key = tl.load(k + wide * k_n + d[None, :], mask=mask, other=0.0).to(tl.float32)
    states += (batch * (heads // groups) + kv) * chunks * 2 * D
    scale = 1
    if POOLED:
        scale = tl.load(table + kv * 3 + 2)
    _, _, mean, moved, inverse, number = up_to(
        tl.where(mask, key - first, 0.0), states, block, eps, row, d, scale, D, DIVIDE, POOLED, BLOCK, PARTS
    )
    factor = beta
    if LEARNED:
        factor = tl.load(betas + head).to(tl.float32)
    mean = first + mean[None, :] + moved
    query = tl.load(q + batch * q_b + head * q_h + wide * q_n + d[None, :], mask=mask, other=0.0).to(
        tl.float32
    )
    query = (query - factor * mean) * inverse
    slope = tl.load(grad + batch * g_b + head * g_h + wide * g_n + d[None, :], mask=mask, other=0.0).to(
        tl.float32
    )
    at = sums + ((batch * heads + head) * chunks + block) * SUMS * D
    if GAINED:
        tl.store(at + 4 * D + d, tl.sum(slope * query, 0), mask=d < D)
        slope *= tl.load(gains + head * D + d, mask=d < D, other=0.0)[None, :]
    slope *= inverse
    tl.store(at + 3 * D + d, -tl.sum(slope * mean, 0), mask=d < D)
    slope = slope / number
    tl.store(at + d, -factor * tl.sum(slope, 0), mask=d < D)
    if DIVIDE:
        steep = -slope * query
        tl.store(at + D + d, tl.sum(steep, 0), mask=d < D)
        tl.store(at + 2 * D + d, tl.sum(steep * moved, 0), mask=d < D)


@triton.jit(do_not_specialize=["beta", "eps", "batches", "length", "chunks"])
def _gradients_of_rows(
    grad, q, k, grad_changed_k, states, sums, grad_q, grad_k, table, betas, gains, beta, eps, batches, groups, length,
    chunks,
    g_b, g_h, g_n, q_b, q_h, q_n, k_b, k_h, k_n, e_b, e_h, e_n, p_b, p_h, p_n, y_b, y_h, y_n,
    D: tl.constexpr, BD: tl.constexpr, BLOCK: tl.constexpr, LEARNED: tl.constexpr, GAINED: tl.constexpr,
    DIVIDE: tl.constexpr, POOLED: tl.constexpr, PARTS: tl.constexpr, SUMS: tl.constexpr,
):  # fmt: skip
    kv = tl.program_id(1) // batches
    batch = (tl.program_id(1) % batches).to(tl.int64)
    kv_heads = tl.num_programs(1) // batches
    block = tl.program_id(0)
    d = tl.arange(0, BD)
    row = tl.arange(0, BLOCK)
    wide = (block * BLOCK + row)[:, None].to(tl.int64)
    mask = (wide < length) & (d < D)[None, :]
    k += batch * k_b + kv * k_h
    first = tl.load(k + d, mask=d < D, other=0.0).to(tl.float32)[None, :]
    key = tl.load(k + wide * k_n + d[None, :], mask=mask, other=0.0).to(tl.float32)
    states += (batch * kv_heads + kv) * chunks * 2 * D
    scale = 1
    if POOLED:
        scale = tl.load(table + kv * 3 + 2)
    pools, own, mean, moved, inverse, number = up_to(
        tl.where(mask, key - first, 0.0), states, block, eps, row, d, scale, D, DIVIDE, POOLED, BLOCK, PARTS
    )
    of_pools = tl.zeros([BLOCK, BD], tl.float32)
    of_own = tl.zeros([BLOCK, BD], tl.float32)
    for group in range(groups):
        head = kv * groups + group
        factor = beta
        if LEARNED:
            factor = tl.load(betas + head).to(tl.float32)
        place = grad + batch * g_b + head * g_h + wide * g_n + d[None, :]
        slope = tl.load(place, mask=mask, other=0.0).to(tl.float32) * inverse
        if GAINED:
            slope *= tl.load(gains + head * D + d, mask=d < D, other=0.0)[None, :]
        place = grad_q + batch * p_b + head * p_h + wide * p_n + d[None, :]
        tl.store(place, slope.to(grad_q.dtype.element_ty), mask=mask)
        slope = slope / number
        at = sums + ((batch * kv_heads * groups + head) * chunks + block) * SUMS * D
        of_pools += tl.load(at + d, mask=d < D, other=0.0)[None, :]
        if POOLED:
            of_pools -= factor * rows_behind(row, slope, scale, BLOCK, PARTS)
            of_own -= factor * slope
        else:
            of_pools -= factor * summed_from(row, slope, BLOCK, PARTS)
        if DIVIDE:
            place = q + batch * q_b + head * q_h + wide * q_n + d[None, :]
            query = tl.load(place, mask=mask, other=0.0).to(tl.float32)
            steep = -slope * (query - factor * (first + mean[None, :] + moved)) * inverse
            behind = tl.load(at + D + d, mask=d < D, other=0.0)[None, :]
            if POOLED:
                of_pools += 2 * pools * (behind + rows_behind(row, steep, scale, BLOCK, PARTS))
                of_pools -= 2 * rows_behind(row, steep * moved, scale, BLOCK, PARTS)
                of_own += 2 * steep * (own - moved)
            else:
                of_pools += 2 * pools * (behind + summed_from(row, steep, BLOCK, PARTS))
                of_pools -= 2 * summed_from(row, steep * moved, BLOCK, PARTS)
    place = grad_changed_k + batch * e_b + kv * e_h + wide * e_n + d[None, :]
    result = tl.load(place, mask=mask, other=0.0).to(tl.float32)
    if POOLED:
        result += to_members(row, of_pools, of_own, scale, BLOCK, PARTS)
    else:
        result += of_pools
    place = grad_k + batch * y_b + kv * y_h + wide * y_n + d[None, :]
    tl.store(place, result.to(grad_k.dtype.element_ty), mask=mask)


def prefix_normalized_backward(
    grad_query: Tensor,
    grad_key: Tensor,
    query: Tensor,
    key: Tensor,
    states: Tensor,
    windows: Pools | None,
    normalization: Normalization,
) -> Gradients:
    """Gradients of queries and keys, and what the queries behind the first BLOCK give for beta and g.

    Args:
        grad_query: of the changed queries.
        grad_key: of the changed keys.
        query: the queries as they were.
        key: the keys as they were.
        states: of the prefixes.
        windows: the pools; None = the keys themselves.
        normalization: as the forward had it.
    """
    (batch, heads, length, width), (kv_heads, chunks) = query.shape, states.shape[1:3]
    out_query, out_key = heads_last(query, width), heads_last(key, width)
    sums = states.new_empty(batch, heads, chunks, SUMS, width)
    numbers, eps = HeadNumbers.of(normalization, query), normalization.eps
    given = (query if windows is None else windows.table, *numbers.tensors)
    sizes = (numbers.number, eps or 0.0, batch, heads // kv_heads, length, chunks)
    strides = (*grad_query.stride()[:3], *query.stride()[:3], *key.stride()[:3])
    constants = (
        width, columns(width), BLOCK, numbers.learned, numbers.gained, eps is not None, windows is not None,
        parts_of(key.dtype), SUMS,
    )  # fmt: skip
    launch(
        _sum_blocks, (chunks, batch * heads), (grad_query, query, key, states, sums, *given), (*sizes, *strides),
        constants, 4, 1,
    )  # fmt: skip
    sum_behind(sums, states, eps is not None)
    launch(
        _gradients_of_rows, (chunks, batch * kv_heads),
        (grad_query, query, key, grad_key, states, sums, out_query, out_key, *given),
        (*sizes, *strides, *grad_key.stride()[:3], *out_query.stride()[:3], *out_key.stride()[:3]), constants, 4, 1,
    )  # fmt: skip
    return Gradients(
        out_query,
        out_key,
        sums[:, :, :, 3].sum((0, 2, 3)) if numbers.learned else None,
        sums[:, :, :, 4].sum((0, 2)) if numbers.gained else None,
    )
