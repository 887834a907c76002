"""Queries and keys normalised by the keys' mean and deviation, where one set of keys serves all queries."""

import triton
import triton.language as tl
from torch import Tensor

from primaldual.kernels.gpu.keys import Pools
from primaldual.kernels.gpu.launch import blocks, launch
from primaldual.kernels.gpu.softmax import padded
from primaldual.kernels.gpu.strides import heads_last


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
    q, k, changed_q, changed_k, moments, found, table, betas, beta, eps, batches, groups, queries, keys, chunks,
    query_blocks,
    q_b, q_h, q_n, k_b, k_h, k_n, c_b, c_h, c_n, e_b, e_h, e_n,
    D: tl.constexpr, BD: tl.constexpr, BM: tl.constexpr, CHUNK: tl.constexpr, TILE: tl.constexpr,
    POOLED: tl.constexpr, LEARNED: tl.constexpr, DIVIDE: tl.constexpr,
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
        if block == 0 and head % groups == 0:
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
        tl.store(
            changed_q + batch * c_b + head * c_h + wide * c_n + d[None, :],
            tile.to(changed_q.dtype.element_ty),
            mask=mask,
        )


@triton.jit(do_not_specialize=["batches", "queries"])
def _of_queries(
    grad, changed, found, grad_q, sums, batches, groups, queries,
    g_b, g_h, g_n, c_b, c_h, c_n, p_b, p_h, p_n,
    D: tl.constexpr, BD: tl.constexpr, BM: tl.constexpr,
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
    query = tl.load(changed + batch * c_b + head * c_h + wide * c_n + d[None, :], mask=mask, other=0.0).to(
        tl.float32
    )
    kv = batch * (heads // groups) + head // groups
    inverse = tl.load(found + kv * 2 * D + D + d, mask=d < D, other=0.0)
    at = ((batch * heads + head) * tl.num_programs(0) + tl.program_id(0)) * 2 * D
    tl.store(sums + at + d, tl.sum(slope, 0), mask=d < D)
    tl.store(sums + at + D + d, tl.sum(slope * query, 0), mask=d < D)
    tl.store(
        grad_q + batch * p_b + head * p_h + wide * p_n + d[None, :],
        (slope * inverse[None, :]).to(grad_q.dtype.element_ty), mask=mask,
    )  # fmt: skip


@triton.jit(do_not_specialize=["beta", "batches", "keys", "chunks"])
def _of_keys(
    grad, changed, found, sums, grad_k, table, betas, beta, batches, groups, keys, chunks,
    g_b, g_h, g_n, c_b, c_h, c_n, p_b, p_h, p_n,
    D: tl.constexpr, BD: tl.constexpr, BM: tl.constexpr, TILE: tl.constexpr,
    POOLED: tl.constexpr, LEARNED: tl.constexpr, DIVIDE: tl.constexpr,
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
    else:
        grad += kv * g_h
        changed += kv * c_h
        grad_k += kv * p_h
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
        at = (batch * kv_heads * groups + head) * chunks * 2 * D
        for start in range(0, chunks, TILE):
            c = start + tl.arange(0, TILE)
            mask = (c < chunks)[:, None] & (d < D)[None, :]
            place = sums + at + c[:, None] * 2 * D + d[None, :]
            first += factor * tl.sum(tl.load(place, mask=mask, other=0.0), 0)
            if DIVIDE:
                second += 2 * tl.sum(tl.load(place + D, mask=mask, other=0.0), 0)
    inverse = tl.load(found + (batch * kv_heads + kv) * 2 * D + D + d, mask=d < D, other=0.0)
    row = (tl.program_id(0) * BM + tl.arange(0, BM))[:, None]
    wide = row.to(tl.int64)
    mask = (row < length) & (d < D)[None, :]
    slope = tl.load(grad + batch * g_b + wide * g_n + d[None, :], mask=mask, other=0.0).to(tl.float32)
    key = tl.load(changed + batch * c_b + wide * c_n + d[None, :], mask=mask, other=0.0).to(tl.float32)
    slope = inverse[None, :] * (slope - (first[None, :] + key * second[None, :]) / length)
    tl.store(grad_k + batch * p_b + wide * p_n + d[None, :], slope.to(grad_k.dtype.element_ty), mask=mask)


ROWS = 128
"""Queries or keys that a program changes."""

SUMMED = 256
"""Queries whose gradients a program sums."""

TILE = 32
"""Chunks whose moments are combined at a time."""


def parameters(beta: float | Tensor, query: Tensor) -> tuple[Tensor, float]:
    """beta as kernels take it: a tensor, the queries where there is none, and a number."""
    return (beta, 0.0) if isinstance(beta, Tensor) else (query, float(beta))


def normalize(
    query: Tensor,
    key: Tensor,
    moments: Tensor,
    pools: tuple[Pools, Tensor] | None,
    beta: float | Tensor,
    eps: float | None,
    chunk: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """(q - beta mu) / s and (k - mu) / s, s = sqrt(sigma^2 + eps).

    Args:
        query: (batch, heads, Nq, D), last stride 1.
        key: (batch, kv heads, Nk, D).
        moments: of chunks, see :func:`primaldual.kernels.gpu.pools.pool`.
        pools: the pools of the keys that are normalised, and where they go, (batch, 1, total, D).
        beta: a number, or (heads,).
        eps: added to the variance; None = s is 1.
        chunk: how many keys a chunk has.

    Returns:
        Queries, keys, and float32 (batch, kv heads, 2, D): mu and 1 / s.
    """
    batch, heads, queries, width = query.shape
    kv_heads, chunks = moments.shape[1:3]
    changed_query = heads_last(query, width)
    changed_key = heads_last(key, width) if pools is None else pools[1]
    longest = key.shape[2] if pools is None else pools[0].longest
    found = moments.new_empty(batch, kv_heads, 2, width)
    query_blocks = blocks(queries, ROWS)
    betas, number = parameters(beta, query)
    launch(
        _normalize, (query_blocks + blocks(longest, ROWS), batch * heads),
        (query, key, changed_query, changed_key, moments, found, query if pools is None else pools[0].table, betas),
        (number, eps or 0.0, batch, heads // kv_heads, queries, key.shape[2], chunks, query_blocks,
         *query.stride()[:3], *key.stride()[:3], *changed_query.stride()[:3], *changed_key.stride()[:3]),
        (width, padded(width), ROWS, chunk, TILE, pools is not None, betas is not query, eps is not None), 4, 1,
    )  # fmt: skip
    return changed_query, changed_key, found


def normalize_backward(
    grad_query: Tensor,
    grad_key: Tensor,
    changed_query: Tensor,
    changed_key: Tensor,
    found: Tensor,
    pools: Pools | None,
    beta: float | Tensor,
    divides: bool,
    of_beta: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradients of queries and keys where the products of both changed ones are scores of a softmax.

    A softmax ignores what moves all keys alike: the gradients of changed keys sum to 0, and their products with the
    changed keys to the same as those of the queries.

    Args:
        grad_query: of the changed queries.
        grad_key: of the changed keys.
        changed_query: the changed queries.
        changed_key: the changed keys.
        found: mu and 1 / s.
        pools: the pools that the keys are.
        beta: as the forward had it.
        divides: whether s is not 1.
        of_beta: whether the gradient of beta, a tensor, is wanted.

    Returns:
        Gradients of queries, of keys (of pools, in place of ``grad_key``), and of beta, (heads,), if wanted.
    """
    batch, heads, queries, width = changed_query.shape
    kv_heads = found.shape[1]
    out_query = heads_last(changed_query, width)
    out_key = grad_key if pools is not None else heads_last(changed_key, width)
    chunks = blocks(queries, SUMMED)
    sums = found.new_empty(batch, heads, chunks, 2, width)
    longest = changed_key.shape[2] if pools is None else pools.longest
    groups = heads // kv_heads
    launch(
        _of_queries, (chunks, batch * heads), (grad_query, changed_query, found, out_query, sums),
        (batch, groups, queries, *grad_query.stride()[:3], *changed_query.stride()[:3], *out_query.stride()[:3]),
        (width, padded(width), SUMMED), 8, 1,
    )  # fmt: skip
    betas, number = parameters(beta, changed_query)
    launch(
        _of_keys, (blocks(longest, ROWS), batch * kv_heads),
        (grad_key, changed_key, found, sums, out_key, changed_key if pools is None else pools.table, betas),
        (number, batch, groups, longest, chunks, *grad_key.stride()[:3], *changed_key.stride()[:3], *out_key.stride()[:3]),
        (width, padded(width), ROWS, TILE, pools is not None, betas is not changed_query, divides), 4, 1,
    )  # fmt: skip
    grad_beta = None
    if of_beta and isinstance(beta, Tensor):
        moved = sums[:, :, :, 0].sum(2).view(batch, kv_heads, groups, width) * (
            found[:, :, 0] * found[:, :, 1]
        ).unsqueeze(2)
        grad_beta = -moved.sum((0, 3)).view(heads).to(beta.dtype)
    return out_query, out_key, grad_beta
