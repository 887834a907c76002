"""Gradients of queries and keys that were normalised by the keys' mean and deviation."""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from primaldual.kernels.gpu.batch_norm import ROWS, TILE
from primaldual.kernels.gpu.keys import Pools
from primaldual.kernels.gpu.launch import blocks, launch
from primaldual.kernels.gpu.normalization import HeadNumbers, Normalization
from primaldual.kernels.gpu.softmax import padded
from primaldual.kernels.gpu.strides import heads_last


@triton.jit(do_not_specialize=["beta", "batches", "queries"])
def _of_queries(
    grad, q, found, grad_q, sums, betas, gains, beta, batches, groups, queries,
    g_b, g_h, g_n, q_b, q_h, q_n, p_b, p_h, p_n,
    D: tl.constexpr, BD: tl.constexpr, BM: tl.constexpr, LEARNED: tl.constexpr, GAINED: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1) // batches
    batch = (tl.program_id(1) % batches).to(tl.int64)
    heads = tl.num_programs(1) // batches
    d = tl.arange(0, BD)
    row = (tl.program_id(0) * BM + tl.arange(0, BM))[:, None]
    wide = row.to(tl.int64)
    mask = (row < queries) & (d < D)[None, :]
    slope = tl.load(grad + batch * g_b + head * g_h + wide * g_n + d[None, :], mask=mask, other=0.0).to(
        tl.float32
    )
    query = tl.load(q + batch * q_b + head * q_h + wide * q_n + d[None, :], mask=mask, other=0.0).to(
        tl.float32
    )
    kv = batch * (heads // groups) + head // groups
    mean = tl.load(found + kv * 2 * D + d, mask=d < D, other=0.0)
    inverse = tl.load(found + kv * 2 * D + D + d, mask=d < D, other=0.0)
    factor = beta
    if LEARNED:
        factor = tl.load(betas + head).to(tl.float32)
    along = slope * (query - factor * mean[None, :]) * inverse[None, :]
    if GAINED:
        slope *= tl.load(gains + head * D + d, mask=d < D, other=0.0)[None, :]
    at = ((batch * heads + head) * tl.num_programs(0) + tl.program_id(0)) * 2 * D
    tl.store(sums + at + d, tl.sum(slope, 0), mask=d < D)
    tl.store(sums + at + D + d, tl.sum(along, 0), mask=d < D)
    tl.store(
        grad_q + batch * p_b + head * p_h + wide * p_n + d[None, :],
        (slope * inverse[None, :]).to(grad_q.dtype.element_ty), mask=mask,
    )  # fmt: skip


@triton.jit(do_not_specialize=["beta", "batches", "keys", "chunks"])
def _of_keys(
    grad, changed, found, sums, grad_k, table, valid, betas, gains, beta, batches, groups, keys, chunks,
    g_b, g_h, g_n, c_b, c_h, c_n, p_b, p_h, p_n, m_b, m_h,
    D: tl.constexpr, BD: tl.constexpr, BM: tl.constexpr, TILE: tl.constexpr,
    POOLED: tl.constexpr, LEARNED: tl.constexpr, GAINED: tl.constexpr, DIVIDE: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    kv = tl.program_id(1) // batches
    batch = (tl.program_id(1) % batches).to(tl.int64)
    kv_heads = tl.num_programs(1) // batches
    length = keys
    if POOLED:
        offset = tl.load(table + kv * 3).to(tl.int64)
        length = tl.load(table + kv * 3 + 1)
        grad += offset * g_n
        changed += offset * c_n
        grad_k += offset * p_n
        valid += offset
    else:
        grad += kv * g_h
        changed += kv * c_h
        grad_k += kv * p_h
    valid += batch * m_b + kv * m_h
    if tl.program_id(0) * BM >= length:
        return
    d = tl.arange(0, BD)
    first = tl.zeros([BD], tl.float32)
    second = tl.zeros([BD], tl.float32)
    for group in range(groups):
        head = kv * groups + group
        factor = beta
        if LEARNED:
            factor = tl.load(betas + head).to(tl.float32)
        gain = tl.full([BD], 1.0, tl.float32)
        if GAINED:
            gain = tl.load(gains + head * D + d, mask=d < D, other=0.0)
        at = (batch * kv_heads * groups + head) * chunks * 2 * D
        for start in range(0, chunks, TILE):
            c = start + tl.arange(0, TILE)
            mask = (c < chunks)[:, None] & (d < D)[None, :]
            place = sums + at + c[:, None] * 2 * D + d[None, :]
            first += factor * tl.sum(tl.load(place, mask=mask, other=0.0), 0)
            if DIVIDE:
                second += 2 * gain * tl.sum(tl.load(place + D, mask=mask, other=0.0), 0)
    inverse = tl.load(found + (batch * kv_heads + kv) * 2 * D + D + d, mask=d < D, other=0.0)
    row = (tl.program_id(0) * BM + tl.arange(0, BM))[:, None]
    wide = row.to(tl.int64)
    mask = (row < length) & (d < D)[None, :]
    slope = tl.load(grad + batch * g_b + wide * g_n + d[None, :], mask=mask, other=0.0).to(tl.float32)
    key = tl.load(changed + batch * c_b + wide * c_n + d[None, :], mask=mask, other=0.0).to(tl.float32)
    total = length.to(tl.float32)
    if MASKED:
        total = 0.0
        for start in range(0, length, BM):
            other = start + tl.arange(0, BM)
            total += tl.sum((tl.load(valid + other, mask=other < length, other=0) != 0).to(tl.float32), 0)
        total = tl.maximum(total, 1.0)
    slope = inverse[None, :] * (slope - (first[None, :] + key * second[None, :]) / total)
    if MASKED:
        slope = tl.where(tl.load(valid + row, mask=row < length, other=0) != 0, slope, 0.0)
    tl.store(grad_k + batch * p_b + wide * p_n + d[None, :], slope.to(grad_k.dtype.element_ty), mask=mask)


SUMMED = 256
"""Queries whose gradients a program sums."""


class Gradients(NamedTuple):
    """What is differentiated.

    Attributes:
        query: gradient of the queries.
        key: of the keys, or of their pools.
        beta: float32 (heads,), if beta is a tensor.
        gain: float32 (heads, D), if there is g.
    """

    query: Tensor
    key: Tensor
    beta: Tensor | None
    gain: Tensor | None


def normalize_backward(
    grad_query: Tensor,
    grad_key: Tensor,
    query: Tensor,
    changed_key: Tensor,
    found: Tensor,
    pools: Pools | None,
    normalization: Normalization,
    valid: Tensor | None = None,
) -> Gradients:
    """Gradients of queries and keys where the products of both changed ones are scores of a softmax.

    A softmax ignores what moves all keys alike: the gradients of changed keys sum to 0, and their products with the
    changed keys to the same as those of the queries.

    Args:
        grad_query: of the changed queries.
        grad_key: of the changed keys.
        query: the queries as they were.
        changed_key: the changed keys.
        found: mu and 1 / s.
        pools: the pools that the keys are; their gradient takes the place of ``grad_key``.
        normalization: as the forward had it.
        valid: which of the changed keys count: bool (batch, kv heads, Nk), or of pools (batch, 1, total).
    """
    batch, heads, queries, width = query.shape
    kv_heads = found.shape[1]
    out_query = heads_last(query, width)
    out_key = grad_key if pools is not None else heads_last(changed_key, width)
    chunks = blocks(queries, SUMMED)
    sums = found.new_empty(batch, heads, chunks, 2, width)
    longest = changed_key.shape[2] if pools is None else pools.longest
    strides = (0, 0) if valid is None else (valid.stride(0), 0 if pools else valid.stride(1))
    groups, numbers = heads // kv_heads, HeadNumbers.of(normalization, query)
    launch(
        _of_queries, (chunks, batch * heads), (grad_query, query, found, out_query, sums, *numbers.tensors),
        (numbers.number, batch, groups, queries, *grad_query.stride()[:3], *query.stride()[:3], *out_query.stride()[:3]),
        (width, padded(width), SUMMED, numbers.learned, numbers.gained), 4, 1,
    )  # fmt: skip
    launch(
        _of_keys, (blocks(longest, ROWS), batch * kv_heads),
        (grad_key, changed_key, found, sums, out_key, changed_key if pools is None else pools.table,
         changed_key if valid is None else valid.view(torch.uint8), *numbers.tensors),
        (numbers.number, batch, groups, longest, chunks, *grad_key.stride()[:3], *changed_key.stride()[:3],
         *out_key.stride()[:3], *strides),
        (width, padded(width), ROWS, TILE, pools is not None, numbers.learned, numbers.gained,
         normalization.eps is not None, valid is not None), 4, 1,
    )  # fmt: skip
    of_beta = None
    if numbers.learned:
        moved = sums[:, :, :, 0].sum(2).view(batch, kv_heads, groups, width)
        of_beta = -(moved * (found[:, :, 0] * found[:, :, 1]).unsqueeze(2)).sum((0, 3)).view(heads)
    of_gain = sums[:, :, :, 1].sum((0, 2)) if numbers.gained else None
    return Gradients(out_query, out_key, of_beta, of_gain)
