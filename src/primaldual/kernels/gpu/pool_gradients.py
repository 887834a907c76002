"""Gradients of keys and values from those of their pools."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from primaldual.kernels.gpu.keys import Pools
from primaldual.kernels.gpu.launch import blocks, launch
from primaldual.kernels.gpu.members import member, pool_of, steps_of
from primaldual.kernels.gpu.softmax import own_window, padded, precision_of


@triton.jit(do_not_specialize=["batches", "keys"])
def _spread(
    q, pooled_grad_k, pooled_grad_v, grad, own, grad_k, grad_v, table, valid, batches, groups, keys,
    q_b, q_h, q_n, g_b, g_h, g_n, p_b, w_b, y_b, y_h, y_n, z_b, z_h, z_n, m_b, m_h,
    D: tl.constexpr, DV: tl.constexpr, BD: tl.constexpr, BDV: tl.constexpr, BM: tl.constexpr,
    OWN: tl.constexpr, MASKED: tl.constexpr, PRECISION: tl.constexpr,
    KEPT: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1) // batches
    batch = (tl.program_id(1) % batches).to(tl.int64)
    heads = tl.num_programs(1) // batches
    offset = tl.load(table + head * 3)
    scale = tl.load(table + head * 3 + 2)
    row = tl.program_id(0) * BM + tl.arange(0, BM)
    d = tl.arange(0, BD)
    dv = tl.arange(0, BDV)
    window, count = pool_of(row, scale, keys, KEPT, HEIGHT, WIDTH)
    there = row < keys
    counts = there
    if MASKED:
        valid += batch * m_b + head * m_h
        counts = tl.load(valid + row, mask=there, other=0) != 0
        members = tl.zeros([BM], tl.int32)
        for step in range(steps_of(scale, HEIGHT)):
            other, inside = member(window, step, scale, keys, KEPT, HEIGHT, WIDTH)
            members += (tl.load(valid + other, mask=inside, other=0) != 0).to(tl.int32)
        count = tl.maximum(members, 1)
    count = count.to(tl.float32)[:, None]
    there = there[:, None]
    at_d = there & (d < D)[None, :]
    at_dv = there & (dv < DV)[None, :]
    place = (offset + window)[:, None].to(tl.int64)
    slope_k = (
        tl.load(pooled_grad_k + batch * p_b + place * D + d[None, :], mask=at_d, other=0.0).to(tl.float32)
        / count
    )
    slope_v = (
        tl.load(pooled_grad_v + batch * w_b + place * DV + dv[None, :], mask=at_dv, other=0.0).to(tl.float32)
        / count
    )
    if MASKED:
        slope_k = tl.where(counts[:, None], slope_k, 0.0)
        slope_v = tl.where(counts[:, None], slope_v, 0.0)
    if OWN:
        mine, _ = own_window(row, row, scale)
        for group in range(groups):
            query_head = head * groups + group
            at = (batch * heads * groups + query_head) * keys + row
            weight = tl.load(own + at * 2, mask=row < keys, other=0.0)
            steep = tl.load(own + at * 2 + 1, mask=row < keys, other=0.0)
            wide = row[:, None].to(tl.int64)
            query = tl.load(
                q + batch * q_b + query_head * q_h + wide * q_n + d[None, :], mask=at_d, other=0.0
            )
            slope = tl.load(
                grad + batch * g_b + query_head * g_h + wide * g_n + dv[None, :], mask=at_dv, other=0.0
            )
            members = tl.trans(mine.to(query.dtype))
            slope_k = tl.dot(
                members, (query * steep[:, None]).to(query.dtype), slope_k, input_precision=PRECISION
            )
            slope_v = tl.dot(
                members, (slope * weight[:, None]).to(query.dtype), slope_v, input_precision=PRECISION
            )
    at = row[:, None].to(tl.int64)
    tl.store(
        grad_k + batch * y_b + head * y_h + at * y_n + d[None, :],
        slope_k.to(grad_k.dtype.element_ty),
        mask=at_d,
    )
    tl.store(
        grad_v + batch * z_b + head * z_h + at * z_n + dv[None, :],
        slope_v.to(grad_v.dtype.element_ty),
        mask=at_dv,
    )


def spread(
    pooled_grad_key: Tensor,
    pooled_grad_value: Tensor,
    like: tuple[Tensor, Tensor],
    pools: Pools,
    own: tuple[Tensor, Tensor, Tensor] | None = None,
    valid: Tensor | None = None,
    rows: int = 64,
) -> tuple[Tensor, Tensor]:
    """Gradients of keys and values from those of their pools: each member has its share.

    Args:
        pooled_grad_key: (batch, 1, total, D), contiguous.
        pooled_grad_value: the same with Dv.
        like: keys and values.
        pools: the pools; with ``own``, their lengths divide ``rows``.
        own: queries, the gradient of the output, and weights and slopes of the queries' own windows.
        valid: which positions count, see :func:`primaldual.kernels.gpu.pools.pool`; without ``own``.
        rows: how many positions at a time.
    """
    key, value = like
    batch, heads, keys, width = key.shape
    wide = value.shape[-1]
    grad_key = key.new_empty(batch, keys, heads, width).transpose(1, 2)
    grad_value = value.new_empty(batch, keys, heads, wide).transpose(1, 2)
    query, gradient, parts = own or (key, value, pooled_grad_key)
    launch(
        _spread, (blocks(keys, rows), batch * heads),
        (query, pooled_grad_key, pooled_grad_value, gradient, parts, grad_key, grad_value, pools.table,
         key if valid is None else valid.view(torch.uint8)),
        (batch, query.shape[1] // heads, keys, *query.stride()[:3], *gradient.stride()[:3], pooled_grad_key.stride(0),
         pooled_grad_value.stride(0), *grad_key.stride()[:3], *grad_value.stride()[:3],
         *((0, 0) if valid is None else valid.stride()[:2])),
        (width, wide, padded(width), padded(wide), rows, own is not None, valid is not None, precision_of(key),
         *pools.places), 4, 1,
    )  # fmt: skip
    return grad_key, grad_value
