"""Queries and keys normalised by the keys' mean and deviation, where one set of keys serves all queries."""

from typing import NamedTuple, Self

import triton
import triton.language as tl
from torch import Tensor

from primaldual.kernels.gpu.keys import Pools
from primaldual.kernels.gpu.launch import blocks, launch
from primaldual.kernels.gpu.softmax import padded
from primaldual.kernels.gpu.strides import heads_last


class Normalization(NamedTuple):
    """g (q - beta mu) / s and (k - mu) / s with s = sqrt(sigma^2 + eps).

    Attributes:
        beta: a number, or (heads,).
        eps: added to the variance; None = s is 1.
        gain: g, (heads, D or 1); None = 1.
    """

    beta: float | Tensor
    eps: float | None
    gain: Tensor | None = None


class HeadNumbers(NamedTuple):
    """beta and g as kernels take them.

    Attributes:
        tensors: beta of every head and float32 g (heads, D); any tensor where there is none.
        number: beta, if it is a number.
        learned: whether beta is a tensor.
        gained: whether there is g.
    """

    tensors: tuple[Tensor, Tensor]
    number: float
    learned: bool
    gained: bool

    @classmethod
    def of(cls, normalization: Normalization, query: Tensor) -> Self:
        """Those of queries (batch, heads, Nq, D)."""
        beta, _, gain = normalization
        learned = isinstance(beta, Tensor)
        gains = query if gain is None else gain.expand(query.shape[1], query.shape[3]).float().contiguous()
        betas, number = (beta, 0.0) if isinstance(beta, Tensor) else (query, float(beta))
        return cls((betas, gains), number, learned, gain is not None)


@triton.jit
def _combined(
    moments, chunks, length, d, D: tl.constexpr, BD: tl.constexpr, CHUNK: tl.constexpr, TILE: tl.constexpr
):
    """Mean and variance of all chunks; a feature that never changes has variance 0 to the last digit."""
    inside = d < D
    origin = tl.load(moments + d, mask=inside, other=0.0)
    shift = tl.zeros([BD], tl.float32)
    for start in range(0, chunks, TILE):
        c = start + tl.arange(0, TILE)
        number = tl.minimum(CHUNK, tl.maximum(0, length - c * CHUNK)).to(tl.float32)
        means = tl.load(
            moments + c[:, None] * 2 * D + d[None, :], mask=(c < chunks)[:, None] & inside[None, :], other=0.0
        )
        shift += tl.sum(tl.where((number > 0)[:, None], means - origin[None, :], 0.0) * number[:, None], 0)
    mean = origin + shift / length
    squares = tl.zeros([BD], tl.float32)
    for start in range(0, chunks, TILE):
        c = start + tl.arange(0, TILE)
        number = tl.minimum(CHUNK, tl.maximum(0, length - c * CHUNK)).to(tl.float32)
        there = (number > 0)[:, None] & inside[None, :]
        means = tl.load(moments + c[:, None] * 2 * D + d[None, :], mask=there, other=0.0)
        spread = tl.load(moments + c[:, None] * 2 * D + D + d[None, :], mask=there, other=0.0)
        away = tl.where(there, means - mean[None, :], 0.0)
        squares += tl.sum(spread + away * away * number[:, None], 0)
    return mean, squares / length


@triton.jit(do_not_specialize=["beta", "eps", "batches", "queries", "keys", "chunks", "query_blocks"])
def _normalize(
    q, k, changed_q, changed_k, moments, found, table, betas, gains, beta, eps, batches, groups, queries, keys, chunks,
    query_blocks,
    q_b, q_h, q_n, k_b, k_h, k_n, c_b, c_h, c_n, e_b, e_h, e_n,
    D: tl.constexpr, BD: tl.constexpr, BM: tl.constexpr, CHUNK: tl.constexpr, TILE: tl.constexpr,
    POOLED: tl.constexpr, LEARNED: tl.constexpr, GAINED: tl.constexpr, DIVIDE: tl.constexpr, READY: tl.constexpr,
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
        mean, variance = _combined(moments + at * chunks * 2 * D, chunks, length, d, D, BD, CHUNK, TILE)
        inverse = tl.full([BD], 1.0, tl.float32)
        if DIVIDE:
            inverse = 1 / tl.sqrt(variance + eps)
        if length == 1:
            inverse = tl.zeros([BD], tl.float32)  # a single key gets all the weight whatever the scores are
    row = (block * BM + tl.arange(0, BM))[:, None]
    wide = row.to(tl.int64)
    if of_keys:
        mask = (row < length) & (d < D)[None, :]
        if POOLED:
            scale = tl.load(table + kv * 3 + 2)
            tile = tl.zeros([BM, BD], tl.float32)
            for step in range(scale):
                position = wide * scale + step
                tile += tl.load(k + position * k_n + d[None, :], mask=mask & (position < keys), other=0.0).to(
                    tl.float32
                )
            tile = tile / tl.minimum(scale, tl.maximum(1, keys - row * scale)).to(tl.float32)
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
    moments: Tensor,
    chunk: int | None,
    pools: tuple[Pools, Tensor] | None,
    normalization: Normalization,
) -> tuple[Tensor, Tensor, Tensor]:
    """g (q - beta mu) / s and (k - mu) / s.

    Args:
        query: (batch, heads, Nq, D), last stride 1.
        key: (batch, kv heads, Nk, D).
        moments: of chunks, see :func:`primaldual.kernels.gpu.pools.pool`; or mu and 1 / s of all keys.
        chunk: how many keys a chunk has; None = ``moments`` are those of all keys.
        pools: the pools of the keys that are normalised, and where they go, (batch, 1, total, D).
        normalization: beta, eps and g.

    Returns:
        Queries, keys, and float32 (batch, kv heads, 2, D): mu and 1 / s.
    """
    batch, heads, queries, width = query.shape
    ready, eps = chunk is None, normalization.eps
    kv_heads, chunks = moments.shape[1:3]
    changed_query = heads_last(query, width)
    changed_key = heads_last(key, width) if pools is None else pools[1]
    longest = key.shape[2] if pools is None else pools[0].longest
    found = moments if ready else moments.new_empty(batch, kv_heads, 2, width)
    query_blocks = blocks(queries, ROWS)
    numbers = HeadNumbers.of(normalization, query)
    launch(
        _normalize, (query_blocks + blocks(longest, ROWS), batch * heads),
        (query, key, changed_query, changed_key, moments, found, query if pools is None else pools[0].table,
         *numbers.tensors),
        (numbers.number, eps or 0.0, batch, heads // kv_heads, queries, key.shape[2], chunks, query_blocks,
         *query.stride()[:3], *key.stride()[:3], *changed_query.stride()[:3], *changed_key.stride()[:3]),
        (width, padded(width), ROWS, chunk or ROWS, TILE, pools is not None, numbers.learned, numbers.gained,
         eps is not None, ready), 4, 1,
    )  # fmt: skip
    return changed_query, changed_key, found
