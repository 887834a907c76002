"""Causal batch-normalised attention of the first queries, whose few keys leave small variances, in float32 throughout."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from primaldual.kernels.gpu.launch import launch
from primaldual.kernels.gpu.prefix_states import summed_from, summed_up_to
from primaldual.kernels.gpu.softmax import padded

ROWS = 64
"""So many queries; the gradients of those behind lose nothing to cancellation."""


@triton.jit
def _weights(key, query, first_key, factor, eps, scale, row, DIVIDE: tl.constexpr, ROWS: tl.constexpr):
    """Weights, changed queries and what changed them; keys count from the first one."""
    number = (row + 1).to(tl.float32)[:, None]
    mean = summed_up_to(row, key, ROWS) / number
    inverse = tl.full(key.shape, 1.0, tl.float32)
    if DIVIDE:
        variance = summed_up_to(row, key * key, ROWS) / number - mean * mean
        inverse = 1 / (tl.maximum(variance, 0.0) + eps)
    inverse = tl.where(number > 1, inverse, 0.0)  # one key has all the weight whatever the scores are
    changed = (query - factor * (first_key[None, :] + mean)) * inverse
    scores = tl.dot(changed, tl.trans(key), input_precision="tf32x3") * scale
    scores = tl.where(row[None, :] <= row[:, None], scores, float("-inf"))
    weights = tl.exp(scores - tl.max(scores, 1)[:, None])
    return weights / tl.sum(weights, 1)[:, None], changed, inverse, mean, number


@triton.jit(do_not_specialize=["beta", "eps", "scale", "batches", "length"])
def _first_rows(
    q, k, v, out, logsumexp, betas, beta, eps, scale, batches, groups, length,
    q_b, q_h, q_n, k_b, k_h, k_n, v_b, v_h, v_n, o_b, o_h, o_n,
    D: tl.constexpr, DV: tl.constexpr, BD: tl.constexpr, BDV: tl.constexpr, ROWS: tl.constexpr,
    LEARNED: tl.constexpr, DIVIDE: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(0) // batches
    batch = (tl.program_id(0) % batches).to(tl.int64)
    kv = head // groups
    d = tl.arange(0, BD)
    dv = tl.arange(0, BDV)
    row = tl.arange(0, ROWS)
    at_d = (row < length)[:, None] & (d < D)[None, :]
    at_dv = (row < length)[:, None] & (dv < DV)[None, :]
    key = tl.load(k + batch * k_b + kv * k_h + row[:, None] * k_n + d[None, :], mask=at_d, other=0.0).to(
        tl.float32
    )
    first_key = tl.load(k + batch * k_b + kv * k_h + d, mask=d < D, other=0.0).to(tl.float32)
    query = tl.load(q + batch * q_b + head * q_h + row[:, None] * q_n + d[None, :], mask=at_d, other=0.0).to(
        tl.float32
    )
    value = tl.load(v + batch * v_b + kv * v_h + row[:, None] * v_n + dv[None, :], mask=at_dv, other=0.0).to(
        tl.float32
    )
    factor = beta
    if LEARNED:
        factor = tl.load(betas + head).to(tl.float32)
    key = tl.where(at_d, key - first_key[None, :], 0.0)
    weights, _, _, _, _ = _weights(key, query, first_key, factor, eps, scale, row, DIVIDE, ROWS)
    result = tl.dot(weights, value, input_precision="tf32x3")
    tl.store(
        out + batch * o_b + head * o_h + row[:, None] * o_n + dv[None, :],
        result.to(out.dtype.element_ty),
        mask=at_dv,
    )
    heads = tl.num_programs(0) // batches
    tl.store(
        logsumexp + (batch * heads + head) * length + row,
        tl.full([ROWS], float("inf"), tl.float32),
        mask=row < length,
    )


@triton.jit(do_not_specialize=["beta", "eps", "scale", "batches", "length"])
def _first_rows_backward(
    q, k, v, grad, grad_q, grad_k, grad_v, grad_beta, betas, beta, eps, scale, batches, groups, length,
    q_b, q_h, q_n, k_b, k_h, k_n, v_b, v_h, v_n, g_b, g_h, g_n, x_b, x_h, x_n, y_b, y_h, y_n, z_b, z_h, z_n,
    D: tl.constexpr, DV: tl.constexpr, BD: tl.constexpr, BDV: tl.constexpr, ROWS: tl.constexpr,
    LEARNED: tl.constexpr, DIVIDE: tl.constexpr,
):  # fmt: skip
    kv = tl.program_id(0) // batches
    batch = (tl.program_id(0) % batches).to(tl.int64)
    heads = (tl.num_programs(0) // batches) * groups
    d = tl.arange(0, BD)
    dv = tl.arange(0, BDV)
    row = tl.arange(0, ROWS)
    at_d = (row < length)[:, None] & (d < D)[None, :]
    at_dv = (row < length)[:, None] & (dv < DV)[None, :]
    key = tl.load(k + batch * k_b + kv * k_h + row[:, None] * k_n + d[None, :], mask=at_d, other=0.0).to(
        tl.float32
    )
    first_key = tl.load(k + batch * k_b + kv * k_h + d, mask=d < D, other=0.0).to(tl.float32)
    value = tl.load(v + batch * v_b + kv * v_h + row[:, None] * v_n + dv[None, :], mask=at_dv, other=0.0).to(
        tl.float32
    )
    key = tl.where(at_d, key - first_key[None, :], 0.0)
    places_k = grad_k + batch * y_b + kv * y_h + row[:, None] * y_n + d[None, :]
    places_v = grad_v + batch * z_b + kv * z_h + row[:, None] * z_n + dv[None, :]
    sum_k = tl.load(places_k, mask=at_d, other=0.0).to(tl.float32)
    sum_v = tl.load(places_v, mask=at_dv, other=0.0).to(tl.float32)
    for group in range(groups):
        head = kv * groups + group
        factor = beta
        if LEARNED:
            factor = tl.load(betas + head).to(tl.float32)
        query = tl.load(
            q + batch * q_b + head * q_h + row[:, None] * q_n + d[None, :], mask=at_d, other=0.0
        ).to(tl.float32)  # fmt: skip
        slope = tl.load(
            grad + batch * g_b + head * g_h + row[:, None] * g_n + dv[None, :], mask=at_dv, other=0.0
        ).to(tl.float32)  # fmt: skip
        weights, changed, inverse, mean, number = _weights(
            key, query, first_key, factor, eps, scale, row, DIVIDE, ROWS
        )
        sum_v += tl.dot(tl.trans(weights), slope, input_precision="tf32x3")
        along = tl.dot(slope, tl.trans(value), input_precision="tf32x3")
        steep = weights * (along - tl.sum(weights * along, 1)[:, None]) * scale
        sum_k += tl.dot(tl.trans(steep), changed, input_precision="tf32x3")
        of_query = tl.dot(steep, key, input_precision="tf32x3")
        moved = of_query * inverse
        tl.store(
            grad_q + batch * x_b + head * x_h + row[:, None] * x_n + d[None, :], moved.to(grad_q.dtype.element_ty),
            mask=at_d,
        )  # fmt: skip
        tl.store(grad_beta + batch * heads + head, -tl.sum(moved * (first_key[None, :] + mean)))
        moved = tl.where(at_d, moved / number, 0.0)
        sum_k -= factor * summed_from(row, moved, ROWS)
        if DIVIDE:
            moved *= changed
            sum_k -= 2 * key * summed_from(row, moved, ROWS)
            sum_k += 2 * summed_from(row, moved * mean, ROWS)
    tl.store(places_k, sum_k.to(grad_k.dtype.element_ty), mask=at_d)
    tl.store(places_v, sum_v.to(grad_v.dtype.element_ty), mask=at_dv)


def first_rows(
    tensors: tuple[Tensor, Tensor, Tensor],
    betas: tuple[Tensor, float],
    eps: float | None,
    scale: float,
    outcome: tuple[Tensor, Tensor],
) -> None:
    """Write the outputs of the first ROWS queries, and plus infinity for their log-sum-exps.

    A backward that takes these log-sum-exps gives the queries no weight.

    Args:
        tensors: queries, keys and values.
        betas: see :func:`primaldual.kernels.gpu.batch_norm.parameters`.
        eps: added to the variance; None = no division.
        scale: factor on the scores.
        outcome: outputs (batch, heads, N, Dv) and contiguous log-sum-exps (batch, heads, N).
    """
    query, key, value = tensors
    (batch, heads, length, width), wide = query.shape, value.shape[-1]
    out, logsumexp = outcome
    launch(
        _first_rows, (batch * heads, 1), (query, key, value, out, logsumexp, betas[0]),
        (betas[1], eps or 0.0, scale, batch, heads // key.shape[1], length,
         *query.stride()[:3], *key.stride()[:3], *value.stride()[:3], *out.stride()[:3]),
        (width, wide, padded(width), padded(wide), ROWS, betas[0] is not query, eps is not None), 8, 1,
    )  # fmt: skip


def first_rows_backward(
    gradient: Tensor,
    tensors: tuple[Tensor, Tensor, Tensor],
    betas: tuple[Tensor, float],
    eps: float | None,
    scale: float,
    gradients: tuple[Tensor, Tensor, Tensor],
) -> Tensor:
    """Write the gradient of the first queries, and add theirs to those of keys and values.

    Args:
        gradient: of the output.
        tensors: queries, keys and values; betas, eps and scale as the forward had them.
        betas: see there.
        eps: see there.
        scale: see there.
        gradients: of queries, keys and values, changed in place.

    Returns:
        The gradient of beta, float32 (batch, heads).
    """
    query, key, value = tensors
    (batch, heads, length, width), kv_heads, wide = query.shape, key.shape[1], value.shape[-1]
    of_beta = query.new_empty(batch, heads, dtype=torch.float32)
    launch(
        _first_rows_backward, (batch * kv_heads, 1), (query, key, value, gradient, *gradients, of_beta, betas[0]),
        (betas[1], eps or 0.0, scale, batch, heads // kv_heads, length,
         *query.stride()[:3], *key.stride()[:3], *value.stride()[:3], *gradient.stride()[:3],
         *gradients[0].stride()[:3], *gradients[1].stride()[:3], *gradients[2].stride()[:3]),
        (width, wide, padded(width), padded(wide), ROWS, betas[0] is not query, eps is not None), 8, 1,
    )  # fmt: skip
    return of_beta
