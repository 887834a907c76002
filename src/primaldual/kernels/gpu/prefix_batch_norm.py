"""Queries normalised by the statistics of the keys up to each of them, as many queries as keys."""

import triton
import triton.language as tl
from torch import Tensor

from primaldual.kernels.gpu.batch_norm import parameters
from primaldual.kernels.gpu.launch import launch
from primaldual.kernels.gpu.prefix_states import BLOCK, prefix_states, sum_behind, summed_from, summed_up_to
from primaldual.kernels.gpu.softmax import padded
from primaldual.kernels.gpu.strides import heads_last


@triton.jit
def _up_to(key, states, block, eps, row, d, D: tl.constexpr, DIVIDE: tl.constexpr, BLOCK: tl.constexpr):
    """Keys less the mean before the block, means up to every row less that one, and 1 / (variance + eps); 0 for one key."""
    mean = tl.load(states + block * 2 * D + d, mask=d < D, other=0.0)
    squares = tl.load(states + block * 2 * D + D + d, mask=d < D, other=0.0)
    number = (block * BLOCK + row + 1).to(tl.float32)[:, None]
    shifted = key - mean[None, :]
    moved = summed_up_to(row, shifted, BLOCK) / number
    inverse = tl.full(key.shape, 1.0, tl.float32)
    if DIVIDE:
        variance = (squares[None, :] + summed_up_to(row, shifted * shifted, BLOCK)) / number - moved * moved
        inverse = 1 / (tl.maximum(variance, 0.0) + eps)
    return shifted, mean, moved, tl.where(number > 1, inverse, 0.0), number


@triton.jit(do_not_specialize=["beta", "eps", "batches", "length", "chunks"])
def _normalize_rows(
    q, k, changed_q, changed_k, states, betas, beta, eps, batches, groups, length, chunks,
    q_b, q_h, q_n, k_b, k_h, k_n, c_b, c_h, c_n, e_b, e_h, e_n,
    D: tl.constexpr, BD: tl.constexpr, BLOCK: tl.constexpr, LEARNED: tl.constexpr, DIVIDE: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1) // batches
    batch = (tl.program_id(1) % batches).to(tl.int64)
    kv = head // groups
    block = tl.program_id(0)
    d = tl.arange(0, BD)
    row = tl.arange(0, BLOCK)
    wide = (block * BLOCK + row)[:, None].to(tl.int64)
    mask = (wide < length) & (d < D)[None, :]
    k += batch * k_b + kv * k_h
    first = tl.load(k + d, mask=d < D, other=0.0).to(tl.float32)[None, :]
    raw = tl.load(k + wide * k_n + d[None, :], mask=mask, other=0.0).to(tl.float32)
    states += (batch * ((tl.num_programs(1) // batches) // groups) + kv) * chunks * 2 * D
    _, mean, moved, inverse, _ = _up_to(
        tl.where(mask, raw - first, 0.0), states, block, eps, row, d, D, DIVIDE, BLOCK
    )
    factor = beta
    if LEARNED:
        factor = tl.load(betas + head).to(tl.float32)
    query = tl.load(q + batch * q_b + head * q_h + wide * q_n + d[None, :], mask=mask, other=0.0).to(
        tl.float32
    )
    query = (query - factor * (first + mean[None, :] + moved)) * inverse
    if block == 0:
        query = tl.zeros(query.shape, tl.float32)
    place = changed_q + batch * c_b + head * c_h + wide * c_n + d[None, :]
    tl.store(place, query.to(changed_q.dtype.element_ty), mask=mask)
    if head % groups == 0:
        second = tl.load(k + tl.minimum(1, length - 1) * k_n + d, mask=d < D, other=0.0).to(tl.float32)[
            None, :
        ]
        changed = raw - tl.where(first == second, first, 0.0)
        place = changed_k + batch * e_b + kv * e_h + wide * e_n + d[None, :]
        tl.store(place, changed.to(changed_k.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["beta", "eps", "batches", "length", "chunks"])
def _sum_blocks(
    grad, changed, k, states, sums, betas, beta, eps, batches, groups, length, chunks,
    g_b, g_h, g_n, c_b, c_h, c_n, k_b, k_h, k_n,
    D: tl.constexpr, BD: tl.constexpr, BLOCK: tl.constexpr, LEARNED: tl.constexpr, DIVIDE: tl.constexpr,
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
    _, mean, moved, inverse, number = _up_to(
        tl.where(mask, key - first, 0.0), states, block, eps, row, d, D, DIVIDE, BLOCK
    )
    factor = beta
    if LEARNED:
        factor = tl.load(betas + head).to(tl.float32)
    slope = tl.load(grad + batch * g_b + head * g_h + wide * g_n + d[None, :], mask=mask, other=0.0).to(
        tl.float32
    )
    slope *= inverse
    at = sums + ((batch * heads + head) * chunks + block) * 4 * D
    tl.store(at + 3 * D + d, -tl.sum(slope * (first + mean[None, :] + moved), 0), mask=d < D)
    slope = slope / number
    tl.store(at + d, -factor * tl.sum(slope, 0), mask=d < D)
    if DIVIDE:
        query = tl.load(changed + batch * c_b + head * c_h + wide * c_n + d[None, :], mask=mask, other=0.0)
        steep = -slope * query.to(tl.float32)
        tl.store(at + D + d, tl.sum(steep, 0), mask=d < D)
        tl.store(at + 2 * D + d, tl.sum(steep * moved, 0), mask=d < D)


@triton.jit(do_not_specialize=["beta", "eps", "batches", "length", "chunks"])
def _gradients_of_rows(
    grad, changed, k, grad_changed_k, states, sums, grad_q, grad_k, betas, beta, eps, batches, groups, length, chunks,
    g_b, g_h, g_n, c_b, c_h, c_n, k_b, k_h, k_n, e_b, e_h, e_n, p_b, p_h, p_n, y_b, y_h, y_n,
    D: tl.constexpr, BD: tl.constexpr, BLOCK: tl.constexpr, LEARNED: tl.constexpr, DIVIDE: tl.constexpr,
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
    shifted, _, moved, inverse, number = _up_to(
        tl.where(mask, key - first, 0.0), states, block, eps, row, d, D, DIVIDE, BLOCK
    )
    place = grad_changed_k + batch * e_b + kv * e_h + wide * e_n + d[None, :]
    result = tl.load(place, mask=mask, other=0.0).to(tl.float32)
    for group in range(groups):
        head = kv * groups + group
        factor = beta
        if LEARNED:
            factor = tl.load(betas + head).to(tl.float32)
        place = grad + batch * g_b + head * g_h + wide * g_n + d[None, :]
        slope = tl.load(place, mask=mask, other=0.0).to(tl.float32) * inverse
        place = grad_q + batch * p_b + head * p_h + wide * p_n + d[None, :]
        tl.store(place, slope.to(grad_q.dtype.element_ty), mask=mask)
        slope = slope / number
        at = sums + ((batch * kv_heads * groups + head) * chunks + block) * 4 * D
        result += tl.load(at + d, mask=d < D, other=0.0)[None, :] - factor * summed_from(row, slope, BLOCK)
        if DIVIDE:
            place = changed + batch * c_b + head * c_h + wide * c_n + d[None, :]
            steep = -slope * tl.load(place, mask=mask, other=0.0).to(tl.float32)
            behind = tl.load(at + D + d, mask=d < D, other=0.0)[None, :]
            result += 2 * shifted * (behind + summed_from(row, steep, BLOCK))
            result -= 2 * summed_from(row, steep * moved, BLOCK)
    place = grad_k + batch * y_b + kv * y_h + wide * y_n + d[None, :]
    tl.store(place, result.to(grad_k.dtype.element_ty), mask=mask)


def prefix_normalized(
    query: Tensor, key: Tensor, beta: float | Tensor, eps: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """(q_i - beta mu_i) / (sigma_i^2 + eps), keys less a constant: for scores of a causal softmax; and prefix states.

    mu_i and sigma_i^2 are those of the keys 0..i. The keys are left as they are but in features that do not change
    from the first key to the second: these are counted from there, so that what stands still has no part in scores.
    The first BLOCK queries are 0.

    Args:
        query: (batch, heads, N, D), bfloat16 or float32: numbers get as large as 1 / eps.
        key: (batch, kv heads, N, D), both with last stride 1.
        beta: a number, or (heads,).
        eps: added to the variance; None = no division.
    """
    states = prefix_states(key)
    (batch, heads, length, width), (kv_heads, chunks) = query.shape, states.shape[1:3]
    changed, keys = heads_last(query, width), heads_last(key, width)
    betas, number = parameters(beta, query)
    launch(
        _normalize_rows, (chunks, batch * heads), (query, key, changed, keys, states, betas),
        (number, eps or 0.0, batch, heads // kv_heads, length, chunks,
         *query.stride()[:3], *key.stride()[:3], *changed.stride()[:3], *keys.stride()[:3]),
        (width, padded(width), BLOCK, betas is not query, eps is not None), 8, 1,
    )  # fmt: skip
    return changed, keys, states


def prefix_normalized_backward(
    grad_query: Tensor,
    grad_key: Tensor,
    changed: Tensor,
    key: Tensor,
    states: Tensor,
    beta: float | Tensor,
    eps: float | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries and keys, and what the queries behind the first BLOCK give for beta, (heads,).

    Args:
        grad_query: of the changed queries.
        grad_key: of the changed keys.
        changed: the changed queries.
        key: the keys as they were.
        states: of the prefixes.
        beta: as the forward had it.
        eps: as the forward had it.
    """
    (batch, heads, length, width), (kv_heads, chunks) = changed.shape, states.shape[1:3]
    out_query, out_key = heads_last(changed, width), heads_last(key, width)
    sums = states.new_empty(batch, heads, chunks, 4, width)
    betas, number = parameters(beta, changed)
    sizes = (number, eps or 0.0, batch, heads // kv_heads, length, chunks)
    strides = (*grad_query.stride()[:3], *changed.stride()[:3], *key.stride()[:3])
    constants = (width, padded(width), BLOCK, betas is not changed, eps is not None)
    launch(
        _sum_blocks, (chunks, batch * heads), (grad_query, changed, key, states, sums, betas),
        (*sizes, *strides), constants, 8, 1,
    )  # fmt: skip
    sum_behind(sums, states, eps is not None)
    launch(
        _gradients_of_rows, (chunks, batch * kv_heads),
        (grad_query, changed, key, grad_key, states, sums, out_query, out_key, betas),
        (*sizes, *strides, *grad_key.stride()[:3], *out_query.stride()[:3], *out_key.stride()[:3]), constants, 8, 1,
    )  # fmt: skip
    return out_query, out_key, sums[:, :, :, 3].sum((0, 2, 3))
