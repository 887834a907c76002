"""Gradients of causal batch-normalised attention of the first queries, in float32 throughout."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from primaldual.kernels.gpu.block_sums import columns, pools_up_to, rows_behind, summed_from, to_members
from primaldual.kernels.gpu.first_rows import ROWS, rows_of, weights_of
from primaldual.kernels.gpu.keys import Pools
from primaldual.kernels.gpu.launch import launch
from primaldual.kernels.gpu.normalization import HeadNumbers, Normalization


@triton.jit(do_not_specialize=["beta", "eps", "scale", "batches", "length"])
def _first_rows_backward(
    q, k, v, grad, grad_q, grad_k, grad_v, grad_beta, grad_gain, table, betas, gains, beta, eps, scale, batches, groups,
    length,
    q_b, q_h, q_n, k_b, k_h, k_n, v_b, v_h, v_n, g_b, g_h, g_n, x_b, x_h, x_n, y_b, y_h, y_n, z_b, z_h, z_n,
    D: tl.constexpr, DV: tl.constexpr, BD: tl.constexpr, BDV: tl.constexpr, ROWS: tl.constexpr,
    LEARNED: tl.constexpr, GAINED: tl.constexpr, DIVIDE: tl.constexpr, POOLED: tl.constexpr,
):  # fmt: skip
    kv = tl.program_id(0) // batches
    batch = (tl.program_id(0) % batches).to(tl.int64)
    heads = (tl.num_programs(0) // batches) * groups
    d = tl.arange(0, BD)
    dv = tl.arange(0, BDV)
    row = tl.arange(0, ROWS)
    inside = row < length
    at_d = inside[:, None] & (d < D)[None, :]
    at_dv = inside[:, None] & (dv < DV)[None, :]
    k += batch * k_b + kv * k_h
    first_key = tl.load(k + d, mask=d < D, other=0.0).to(tl.float32)
    key = rows_of(k, k_n, row, d, inside, D)
    key = tl.where(inside[:, None], key - first_key[None, :], 0.0)
    value = rows_of(v + batch * v_b + kv * v_h, v_n, row, dv, inside, DV)
    window = 1
    own_value = value
    if POOLED:
        window = tl.load(table + kv * 3 + 2)
        value, own_value = pools_up_to(row, value, window, ROWS)
    places_k = grad_k + batch * y_b + kv * y_h + row[:, None] * y_n + d[None, :]
    places_v = grad_v + batch * z_b + kv * z_h + row[:, None] * z_n + dv[None, :]
    sum_k = tl.load(places_k, mask=at_d, other=0.0).to(tl.float32)
    sum_v = tl.load(places_v, mask=at_dv, other=0.0).to(tl.float32)
    for group in range(groups):
        head = kv * groups + group
        factor = beta
        if LEARNED:
            factor = tl.load(betas + head).to(tl.float32)
        gain = tl.full([BD], 1.0, tl.float32)
        if GAINED:
            gain = tl.load(gains + head * D + d, mask=d < D, other=0.0)
        query = rows_of(q + batch * q_b + head * q_h, q_n, row, d, inside, D)
        slope = rows_of(grad + batch * g_b + head * g_h, g_n, row, dv, inside, DV)
        weights, weight, changed, inverse, pools, own, mean, number = weights_of(
            key, query, first_key, factor, gain, eps, scale, row, window, DIVIDE, POOLED, ROWS
        )
        sum_v += tl.dot(tl.trans(weights), slope, input_precision="tf32x3")
        along = tl.dot(slope, tl.trans(value), input_precision="tf32x3")
        delta = tl.sum(weights * along, 1)
        if POOLED:
            along_own = tl.sum(slope * own_value, 1)
            delta += weight * along_own
            of_own_value = weight[:, None] * slope
            sum_v += to_members(row, tl.zeros(of_own_value.shape, tl.float32), of_own_value, window, ROWS)
        steep = weights * (along - delta[:, None]) * scale
        sum_k += tl.dot(tl.trans(steep), changed * gain[None, :], input_precision="tf32x3")
        of_query = tl.dot(steep, pools, input_precision="tf32x3")
        if POOLED:
            steep_own = (weight * (along_own - delta) * scale)[:, None]
            of_query += steep_own * own
        if GAINED:
            place = grad_gain + (batch * heads + head) * D + d
            tl.store(place, tl.sum(of_query * changed, 0), mask=d < D)
        moved = of_query * inverse * gain[None, :]
        tl.store(
            grad_q + batch * x_b + head * x_h + row[:, None] * x_n + d[None, :], moved.to(grad_q.dtype.element_ty),
            mask=at_d,
        )  # fmt: skip
        tl.store(grad_beta + batch * heads + head, -tl.sum(moved * (first_key[None, :] + mean)))
        moved = tl.where(at_d, moved / number, 0.0)
        if POOLED:
            of_pools = -factor * rows_behind(row, moved, window, ROWS)
            of_own = steep_own * changed * gain[None, :] - factor * moved
            if DIVIDE:
                moved *= changed
                of_pools -= 2 * pools * rows_behind(row, moved, window, ROWS)
                of_pools += 2 * rows_behind(row, moved * mean, window, ROWS)
                of_own -= 2 * moved * (own - mean)
            sum_k += to_members(row, of_pools, of_own, window, ROWS)
        else:
            sum_k -= factor * summed_from(row, moved, ROWS)
            if DIVIDE:
                moved *= changed
                sum_k -= 2 * key * summed_from(row, moved, ROWS)
                sum_k += 2 * summed_from(row, moved * mean, ROWS)
    tl.store(places_k, sum_k.to(grad_k.dtype.element_ty), mask=at_d)
    tl.store(places_v, sum_v.to(grad_v.dtype.element_ty), mask=at_dv)


def first_rows_backward(
    gradient: Tensor,
    tensors: tuple[Tensor, Tensor, Tensor],
    windows: Pools | None,
    normalization: Normalization,
    scale: float,
    gradients: tuple[Tensor, Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """Write the gradient of the first queries, and add theirs to those of keys and values.

    Args:
        gradient: of the output.
        tensors: queries, keys and values; windows, normalization and scale as the forward had them.
        windows: see there.
        normalization: see there.
        scale: see there.
        gradients: of queries, keys and values, changed in place.

    Returns:
        Gradients of beta, float32 (batch, heads), and of g, float32 (batch, heads, D), which means nothing without g.
    """
    query, key, value = tensors
    (batch, heads, length, width), kv_heads, wide = query.shape, key.shape[1], value.shape[-1]
    of_beta = query.new_empty(batch, heads, dtype=torch.float32)
    of_gain = query.new_empty(batch, heads, width, dtype=torch.float32)
    numbers, eps = HeadNumbers.of(normalization, query), normalization.eps
    launch(
        _first_rows_backward, (batch * kv_heads, 1),
        (query, key, value, gradient, *gradients, of_beta, of_gain, query if windows is None else windows.table,
         *numbers.tensors),
        (numbers.number, eps or 0.0, scale, batch, heads // kv_heads, length,
         *query.stride()[:3], *key.stride()[:3], *value.stride()[:3], *gradient.stride()[:3],
         *gradients[0].stride()[:3], *gradients[1].stride()[:3], *gradients[2].stride()[:3]),
        (width, wide, columns(width), columns(wide), ROWS, numbers.learned, numbers.gained, eps is not None,
         windows is not None), 4, 1,
    )  # fmt: skip
    return of_beta, of_gain
