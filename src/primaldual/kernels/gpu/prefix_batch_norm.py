"""Queries normalised by the statistics of the keys up to each of them, as many queries as keys."""

import triton
import triton.language as tl
from torch import Tensor

from primaldual.kernels.gpu.batch_norm import parameters
from primaldual.kernels.gpu.launch import launch
from primaldual.kernels.gpu.pools import pool
from primaldual.kernels.gpu.softmax import heads_last, padded

BLOCK = 64
"""Queries and keys that a program takes, and keys whose moments are taken together."""

TILE = 32
"""Chunks whose moments are combined at a time."""


@triton.jit
def _before(
    moments, first_key, block, d, D: tl.constexpr, BD: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr
):
    """Mean and sum of squared deviations of the keys before a block; before the first one, the first key and 0.

    A feature that has not changed has exactly the first key's value as mean, and 0.
    """
    inside = d < D
    shift = tl.zeros([BD], tl.float32)
    for start in range(0, block, TILE):
        c = start + tl.arange(0, TILE)
        mask = (c < block)[:, None] & inside[None, :]
        means = tl.load(moments + c[:, None] * 2 * D + d[None, :], mask=mask, other=0.0)
        shift += tl.sum(tl.where(mask, means - first_key[None, :], 0.0), 0)
    mean = first_key + shift / tl.maximum(block, 1)
    squares = tl.zeros([BD], tl.float32)
    for start in range(0, block, TILE):
        c = start + tl.arange(0, TILE)
        mask = (c < block)[:, None] & inside[None, :]
        means = tl.load(moments + c[:, None] * 2 * D + d[None, :], mask=mask, other=0.0)
        spread = tl.load(moments + c[:, None] * 2 * D + D + d[None, :], mask=mask, other=0.0)
        away = tl.where(mask, means - mean[None, :], 0.0)
        squares += tl.sum(spread + away * away * BLOCK, 0)
    return mean, squares


@triton.jit
def _up_to(key, mean, squares, row, eps, DIVIDE: tl.constexpr):
    """Mean up to every row, less that before the block, and 1 / (variance + eps); 0 where there is one key."""
    number = (row + 1).to(tl.float32)[:, None]
    shifted = key - mean[None, :]
    moved = tl.cumsum(shifted, 0) / number
    inverse = tl.full(key.shape, 1.0, tl.float32)
    if DIVIDE:
        variance = (squares[None, :] + tl.cumsum(shifted * shifted, 0)) / number - moved * moved
        inverse = 1 / (tl.maximum(variance, 0.0) + eps)
    return moved, tl.where(number > 1, inverse, 0.0), number


@triton.jit(do_not_specialize=["beta", "eps", "batches", "length", "chunks"])
def _forward(
    q, k, changed_q, changed_k, moments, betas, beta, eps, batches, groups, length, chunks,
    q_b, q_h, q_n, k_b, k_h, k_n, c_b, c_h, c_n, e_b, e_h, e_n,
    D: tl.constexpr, BD: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr, LEARNED: tl.constexpr,
    DIVIDE: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1) // batches
    batch = (tl.program_id(1) % batches).to(tl.int64)
    kv = head // groups
    kv_heads = (tl.num_programs(1) // batches) // groups
    block = tl.program_id(0)
    d = tl.arange(0, BD)
    row = block * BLOCK + tl.arange(0, BLOCK)
    wide = row[:, None].to(tl.int64)
    mask = (row < length)[:, None] & (d < D)[None, :]
    k += batch * k_b + kv * k_h
    key = tl.load(k + wide * k_n + d[None, :], mask=mask, other=0.0).to(tl.float32)
    first_key = tl.load(k + d, mask=d < D, other=0.0).to(tl.float32)
    mean, squares = _before(
        moments + (batch * kv_heads + kv) * chunks * 2 * D, first_key, block, d, D, BD, BLOCK, TILE
    )
    moved, inverse, _ = _up_to(key, mean, squares, row, eps, DIVIDE)
    factor = beta
    if LEARNED:
        factor = tl.load(betas + head).to(tl.float32)
    query = tl.load(q + batch * q_b + head * q_h + wide * q_n + d[None, :], mask=mask, other=0.0).to(
        tl.float32
    )
    query = (query - factor * (mean[None, :] + moved)) * inverse
    if block == 0:
        query = tl.zeros(query.shape, tl.float32)
    tl.store(
        changed_q + batch * c_b + head * c_h + wide * c_n + d[None, :],
        query.to(changed_q.dtype.element_ty),
        mask=mask,
    )
    if head % groups == 0:
        second_key = tl.load(k + tl.minimum(1, length - 1) * k_n + d, mask=d < D, other=0.0).to(tl.float32)
        origin = tl.where(first_key == second_key, first_key, 0.0)
        tl.store(
            changed_k + batch * e_b + kv * e_h + wide * e_n + d[None, :],
            (key - origin[None, :]).to(changed_k.dtype.element_ty), mask=mask,
        )  # fmt: skip


@triton.jit(do_not_specialize=["beta", "eps", "batches", "length", "chunks"])
def _block_sums(
    grad, changed, k, moments, sums, betas, beta, eps, batches, groups, length, chunks,
    g_b, g_h, g_n, c_b, c_h, c_n, k_b, k_h, k_n,
    D: tl.constexpr, BD: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr, LEARNED: tl.constexpr,
    DIVIDE: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1) // batches
    batch = (tl.program_id(1) % batches).to(tl.int64)
    heads = tl.num_programs(1) // batches
    kv = head // groups
    block = tl.program_id(0)
    d = tl.arange(0, BD)
    row = block * BLOCK + tl.arange(0, BLOCK)
    wide = row[:, None].to(tl.int64)
    mask = (row < length)[:, None] & (d < D)[None, :]
    k += batch * k_b + kv * k_h
    key = tl.load(k + wide * k_n + d[None, :], mask=mask, other=0.0).to(tl.float32)
    first_key = tl.load(k + d, mask=d < D, other=0.0).to(tl.float32)
    mean, squares = _before(
        moments + (batch * (heads // groups) + kv) * chunks * 2 * D, first_key, block, d, D, BD, BLOCK, TILE
    )
    moved, inverse, number = _up_to(key, mean, squares, row, eps, DIVIDE)
    factor = beta
    if LEARNED:
        factor = tl.load(betas + head).to(tl.float32)
    slope = tl.load(grad + batch * g_b + head * g_h + wide * g_n + d[None, :], mask=mask, other=0.0).to(
        tl.float32
    )
    of_mean = slope * inverse / number
    at = sums + ((batch * heads + head) * chunks + block) * 5 * D
    tl.store(at + d, -factor * tl.sum(of_mean, 0), mask=d < D)
    if DIVIDE:
        query = tl.load(changed + batch * c_b + head * c_h + wide * c_n + d[None, :], mask=mask, other=0.0)
        of_square = -of_mean * query.to(tl.float32)
        tl.store(at + D + d, tl.sum(of_square, 0), mask=d < D)
        tl.store(at + 2 * D + d, tl.sum(of_square * moved, 0), mask=d < D)
    tl.store(at + 3 * D + d, mean, mask=d < D)
    tl.store(at + 4 * D + d, -tl.sum(slope * inverse * (mean[None, :] + moved), 0), mask=d < D)


@triton.jit(do_not_specialize=["beta", "eps", "batches", "length", "chunks"])
def _gradients(
    grad, changed, k, grad_changed_k, moments, sums, grad_q, grad_k, betas, beta, eps, batches, groups, length, chunks,
    g_b, g_h, g_n, c_b, c_h, c_n, k_b, k_h, k_n, e_b, e_h, e_n, p_b, p_h, p_n, y_b, y_h, y_n,
    D: tl.constexpr, BD: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr, LEARNED: tl.constexpr,
    DIVIDE: tl.constexpr,
):  # fmt: skip
    kv = tl.program_id(1) // batches
    batch = (tl.program_id(1) % batches).to(tl.int64)
    kv_heads = tl.num_programs(1) // batches
    block = tl.program_id(0)
    d = tl.arange(0, BD)
    inside = d < D
    row = block * BLOCK + tl.arange(0, BLOCK)
    wide = row[:, None].to(tl.int64)
    mask = (row < length)[:, None] & inside[None, :]
    k += batch * k_b + kv * k_h
    key = tl.load(k + wide * k_n + d[None, :], mask=mask, other=0.0).to(tl.float32)
    first_key = tl.load(k + d, mask=inside, other=0.0).to(tl.float32)
    mean, squares = _before(
        moments + (batch * kv_heads + kv) * chunks * 2 * D, first_key, block, d, D, BD, BLOCK, TILE
    )
    moved, inverse, number = _up_to(key, mean, squares, row, eps, DIVIDE)
    key -= mean[None, :]
    result = tl.load(
        grad_changed_k + batch * e_b + kv * e_h + wide * e_n + d[None, :], mask=mask, other=0.0
    ).to(tl.float32)  # fmt: skip
    for group in range(groups):
        head = kv * groups + group
        factor = beta
        if LEARNED:
            factor = tl.load(betas + head).to(tl.float32)
        slope = tl.load(grad + batch * g_b + head * g_h + wide * g_n + d[None, :], mask=mask, other=0.0).to(
            tl.float32
        )
        slope *= inverse
        tl.store(
            grad_q + batch * p_b + head * p_h + wide * p_n + d[None, :],
            slope.to(grad_q.dtype.element_ty),
            mask=mask,
        )
        of_mean = slope / number
        later = tl.zeros([BD], tl.float32)
        steep = tl.zeros([BD], tl.float32)
        at = sums + (batch * kv_heads * groups + head) * chunks * 5 * D
        for start in range((block + 1) // TILE * TILE, chunks, TILE):
            c = start + tl.arange(0, TILE)
            behind = ((c > block) & (c < chunks))[:, None] & inside[None, :]
            place = at + c[:, None] * 5 * D + d[None, :]
            later += tl.sum(tl.load(place, mask=behind, other=0.0), 0)
            if DIVIDE:
                squared = tl.load(place + D, mask=behind, other=0.0)
                away = tl.where(behind, tl.load(place + 3 * D, mask=behind, other=0.0) - mean[None, :], 0.0)
                steep += tl.sum(squared, 0)
                later -= 2 * tl.sum(away * squared + tl.load(place + 2 * D, mask=behind, other=0.0), 0)
        total = later[None, :] - factor * tl.cumsum(of_mean, 0, reverse=True)
        if DIVIDE:
            query = tl.load(
                changed + batch * c_b + head * c_h + wide * c_n + d[None, :], mask=mask, other=0.0
            )
            of_square = -of_mean * query.to(tl.float32)
            total += 2 * key * (steep[None, :] + tl.cumsum(of_square, 0, reverse=True))
            total -= 2 * tl.cumsum(of_square * moved, 0, reverse=True)
        result += total
    tl.store(
        grad_k + batch * y_b + kv * y_h + wide * y_n + d[None, :],
        result.to(grad_k.dtype.element_ty),
        mask=mask,
    )


def prefix_normalized(
    query: Tensor, key: Tensor, beta: float | Tensor, eps: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """(q_i - beta mu_i) / (sigma_i^2 + eps), keys less a constant: for scores of a causal softmax; and moments of the keys.

    mu_i and sigma_i^2 are those of the keys 0..i. The keys are left as they are but in features that do not change
    from the first key to the second: these are counted from there, so that what stands still has no part in scores.
    The first BLOCK queries are 0.

    Args:
        query: (batch, heads, N, D), bfloat16 or float32: numbers get as large as 1 / eps.
        key: (batch, kv heads, N, D), both with last stride 1.
        beta: a number, or (heads,).
        eps: added to the variance; None = no division.
    """
    *_, moments = pool(key, key, None, True, BLOCK)
    assert moments is not None
    (batch, heads, length, width), kv_heads = query.shape, key.shape[1]
    changed, keys = heads_last(query, width), heads_last(key, width)
    betas, number = parameters(beta, query)
    launch(
        _forward, (moments.shape[2], batch * heads), (query, key, changed, keys, moments, betas),
        (number, eps or 0.0, batch, heads // kv_heads, length, moments.shape[2],
         *query.stride()[:3], *key.stride()[:3], *changed.stride()[:3], *keys.stride()[:3]),
        (width, padded(width), BLOCK, TILE, betas is not query, eps is not None), 8, 1,
    )  # fmt: skip
    return changed, keys, moments


def prefix_normalized_backward(
    grad_query: Tensor,
    grad_key: Tensor,
    changed: Tensor,
    key: Tensor,
    moments: Tensor,
    beta: float | Tensor,
    eps: float | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries and keys, and what the queries behind the first BLOCK give for beta, (heads,).

    Args:
        grad_query: of the changed queries.
        grad_key: of the changed keys.
        changed: the changed queries.
        key: the keys as they were.
        moments: of the keys.
        beta: as the forward had it.
        eps: as the forward had it.
    """
    (batch, heads, length, width), (kv_heads, chunks) = changed.shape, moments.shape[1:3]
    out_query, out_key = heads_last(changed, width), heads_last(key, width)
    sums = moments.new_zeros(batch, heads, chunks, 5, width)
    betas, number = parameters(beta, changed)
    sizes = (number, eps or 0.0, batch, heads // kv_heads, length, chunks)
    strides = (*grad_query.stride()[:3], *changed.stride()[:3], *key.stride()[:3])
    constants = (width, padded(width), BLOCK, TILE, betas is not changed, eps is not None)
    launch(
        _block_sums, (chunks, batch * heads), (grad_query, changed, key, moments, sums, betas),
        (*sizes, *strides), constants, 8, 1,
    )  # fmt: skip
    launch(
        _gradients, (chunks, batch * kv_heads),
        (grad_query, changed, key, grad_key, moments, sums, out_query, out_key, betas),
        (*sizes, *strides, *grad_key.stride()[:3], *out_query.stride()[:3], *out_key.stride()[:3]), constants, 8, 1,
    )  # fmt: skip
    return out_query, out_key, sums[:, :, :, 4].sum((0, 2, 3))
