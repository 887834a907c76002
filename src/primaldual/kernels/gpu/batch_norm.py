"""Queries and keys normalised by the keys' mean and deviation, where one set of keys serves all queries."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from primaldual.kernels.gpu.keys import Pools
from primaldual.kernels.gpu.launch import blocks, launch
from primaldual.kernels.gpu.members import member, steps_of
from primaldual.kernels.gpu.normalization import HeadNumbers, Normalization
from primaldual.kernels.gpu.pools import Pooled
from primaldual.kernels.gpu.softmax import padded
from primaldual.kernels.gpu.strides import heads_last


@triton.jit
def _numbers(counts, chunks, length, c, CHUNK: tl.constexpr, MASKED: tl.constexpr):
    """How many keys of some chunks count."""
    if MASKED:
        return tl.load(counts + c, mask=c < chunks, other=0.0)
    return tl.minimum(CHUNK, tl.maximum(0, length - c * CHUNK)).to(tl.float32)


@triton.jit
def _combined(
    moments, counts, chunks, length, d,
    D: tl.constexpr, BD: tl.constexpr, CHUNK: tl.constexpr, TILE: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """Mean and variance of all chunks; a feature that never changes has variance 0 to the last digit."""
    inside = d < D
    origin = tl.load(moments + d, mask=inside, other=0.0)
    shift = tl.zeros([BD], tl.float32)
    total = 0.0
    for start in range(0, chunks, TILE):
        c = start + tl.arange(0, TILE)
        number = _numbers(counts, chunks, length, c, CHUNK, MASKED)
        means = tl.load(
            moments + c[:, None] * 2 * D + d[None, :], mask=(c < chunks)[:, None] & inside[None, :], other=0.0
        )
        shift += tl.sum(tl.where((number > 0)[:, None], means - origin[None, :], 0.0) * number[:, None], 0)
        total += tl.sum(number, 0)
    total = tl.maximum(total, 1.0)
    mean = origin + shift / total
    squares = tl.zeros([BD], tl.float32)
    for start in range(0, chunks, TILE):
        c = start + tl.arange(0, TILE)
        number = _numbers(counts, chunks, length, c, CHUNK, MASKED)
        there = (number > 0)[:, None] & inside[None, :]
        means = tl.load(moments + c[:, None] * 2 * D + d[None, :], mask=there, other=0.0)
        spread = tl.load(moments + c[:, None] * 2 * D + D + d[None, :], mask=there, other=0.0)
        away = tl.where(there, means - mean[None, :], 0.0)
        squares += tl.sum(spread + away * away * number[:, None], 0)
    return mean, squares / total, total


@triton.jit(do_not_specialize=["beta", "eps", "batches", "queries", "keys", "chunks", "query_blocks"])
def _normalize(
    q, k, changed_q, changed_k, moments, counts, found, table, valid, betas, gains, beta, eps, batches, groups, queries,
    keys, chunks, query_blocks,
    q_b, q_h, q_n, k_b, k_h, k_n, c_b, c_h, c_n, e_b, e_h, e_n, m_b, m_h,
    D: tl.constexpr, BD: tl.constexpr, BM: tl.constexpr, CHUNK: tl.constexpr, TILE: tl.constexpr,
    POOLED: tl.constexpr, LEARNED: tl.constexpr, GAINED: tl.constexpr, DIVIDE: tl.constexpr, READY: tl.constexpr,
    MASKED: tl.constexpr, KEPT: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1) // batches
    batch = (tl.program_id(1) % batches).to(tl.int64)
    kv_heads = (tl.num_programs(1) // batches) // groups
    kv = head // groups
    block = tl.program_id(0)
    of_keys = block >= query_blocks
    length = keys
    if POOLED:
        length = tl.load(table + kv * 3 + 1)
        changed_k += tl.load(table + kv * 3).to(tl.int64) * e_n
    else:
        changed_k += kv * e_h
    k += batch * k_b + kv * k_h
    valid += batch * m_b + kv * m_h
    if of_keys:
        block -= query_blocks
        if block * BM >= length or head % groups != 0:
            return
    d = tl.arange(0, BD)
    at = batch * kv_heads + kv
    if READY:
        mean = tl.load(found + at * 2 * D + d, mask=d < D, other=0.0)
        inverse = tl.load(found + at * 2 * D + D + d, mask=d < D, other=0.0)
    else:
        mean, variance, total = _combined(
            moments + at * chunks * 2 * D, counts + at * chunks, chunks, length, d, D, BD, CHUNK, TILE, MASKED
        )
        inverse = tl.full([BD], 1.0, tl.float32)
        if DIVIDE:
            inverse = 1 / tl.sqrt(variance + eps)
        if total == 1.0:
            inverse = tl.zeros([BD], tl.float32)  # a single key gets all the weight whatever the scores are
    row = (block * BM + tl.arange(0, BM))[:, None]
    wide = row.to(tl.int64)
    if of_keys:
        mask = (row < length) & (d < D)[None, :]
        if POOLED:
            scale = tl.load(table + kv * 3 + 2)
            tile = tl.zeros([BM, BD], tl.float32)
            members = tl.zeros([BM, 1], tl.float32)
            for step in range(steps_of(scale, HEIGHT)):
                position, there = member(row, step, scale, keys, KEPT, HEIGHT, WIDTH)
                position = position.to(tl.int64)
                if MASKED:
                    there = tl.load(valid + position, mask=there, other=0) != 0
                members += there.to(tl.float32)
                tile += tl.load(k + position * k_n + d[None, :], mask=mask & there, other=0.0).to(tl.float32)
            tile = tile / tl.maximum(members, 1.0)
        else:
            tile = tl.load(k + wide * k_n + d[None, :], mask=mask, other=0.0).to(tl.float32)
        tile = (tile - mean[None, :]) * inverse[None, :]
        tl.store(
            changed_k + batch * e_b + wide * e_n + d[None, :], tile.to(changed_k.dtype.element_ty), mask=mask
        )
    else:
        if not READY and block == 0 and head % groups == 0:
            tl.store(found + at * 2 * D + d, mean, mask=d < D)
            tl.store(found + at * 2 * D + D + d, inverse, mask=d < D)
        factor = beta
        if LEARNED:
            factor = tl.load(betas + head).to(tl.float32)
        mask = (row < queries) & (d < D)[None, :]
        tile = tl.load(q + batch * q_b + head * q_h + wide * q_n + d[None, :], mask=mask, other=0.0).to(
            tl.float32
        )
        tile = (tile - factor * mean[None, :]) * inverse[None, :]
        if GAINED:
            tile *= tl.load(gains + head * D + d, mask=d < D, other=0.0)[None, :]
        tl.store(
            changed_q + batch * c_b + head * c_h + wide * c_n + d[None, :],
            tile.to(changed_q.dtype.element_ty),
            mask=mask,
        )


ROWS = 128
"""Queries or keys that a program changes."""

TILE = 32
"""Chunks whose moments are combined at a time."""


def normalize(
    query: Tensor,
    key: Tensor,
    given: Pooled | Tensor,
    chunk: int,
    pools: tuple[Pools, Tensor] | None,
    normalization: Normalization,
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """g (q - beta mu) / s and (k - mu) / s.

    Args:
        query: (batch, heads, Nq, D), last stride 1.
        key: (batch, kv heads, Nk, D).
        given: moments of chunks, see :func:`primaldual.kernels.gpu.pools.pool`; or mu and 1 / s of all keys.
        chunk: how many keys a chunk has.
        pools: the pools of the keys that are normalised, and where they go, (batch, 1, total, D).
        normalization: beta, eps and g.
        valid: which keys count, see there.

    Returns:
        Queries, keys, and float32 (batch, kv heads, 2, D): mu and 1 / s.
    """
    batch, heads, queries, width = query.shape
    ready, eps = isinstance(given, Tensor), normalization.eps
    moments = given if isinstance(given, Tensor) else given.moments
    assert moments is not None
    counts = None if isinstance(given, Tensor) else given.counts
    kv_heads, chunks = moments.shape[1:3]
    changed_query = heads_last(query, width)
    changed_key = heads_last(key, width) if pools is None else pools[1]
    longest = key.shape[2] if pools is None else pools[0].longest
    found = moments if ready else moments.new_empty(batch, kv_heads, 2, width)
    query_blocks = blocks(queries, ROWS)
    numbers = HeadNumbers.of(normalization, query)
    launch(
        _normalize, (query_blocks + blocks(longest, ROWS), batch * heads),
        (query, key, changed_query, changed_key, moments, moments if counts is None else counts, found,
         query if pools is None else pools[0].table, query if valid is None else valid.view(torch.uint8),
         *numbers.tensors),
        (numbers.number, eps or 0.0, batch, heads // kv_heads, queries, key.shape[2], chunks, query_blocks,
         *query.stride()[:3], *key.stride()[:3], *changed_query.stride()[:3], *changed_key.stride()[:3],
         *((0, 0) if valid is None else valid.stride()[:2])),
        (width, padded(width), ROWS, chunk, TILE, pools is not None, numbers.learned, numbers.gained,
         eps is not None, ready, valid is not None, *((0, 0, 0) if pools is None else pools[0].places)),
        2 if pools else 4, 1,
    )  # fmt: skip
    return changed_query, changed_key, found
