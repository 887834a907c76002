"""Pools of keys and values for all heads from one read, the moments of chunks of them, and the way back to the positions."""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from primaldual.kernels.gpu.keys import Pools
from primaldual.kernels.gpu.launch import blocks, launch
from primaldual.kernels.gpu.softmax import own_window, padded, precision_of


@triton.jit(do_not_specialize=["batches", "keys", "total"])
def _pool(
    k, v, pooled_k, pooled_v, moments, table, valid, kept, counts, batches, keys, total,
    k_b, k_h, k_n, v_b, v_h, v_n, p_b, w_b, m_b, m_h,
    D: tl.constexpr, DV: tl.constexpr, BD: tl.constexpr, BDV: tl.constexpr, BP: tl.constexpr,
    POOLED: tl.constexpr, MOMENTS: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1) // batches
    batch = (tl.program_id(1) % batches).to(tl.int64)
    heads = tl.num_programs(1) // batches
    begin = tl.program_id(0) * BP
    offset, length, scale = 0, keys, 1
    if POOLED:
        offset = tl.load(table + head * 3)
        length = tl.load(table + head * 3 + 1)
        scale = tl.load(table + head * 3 + 2)
    if begin >= length:
        return
    pool = begin + tl.arange(0, BP)
    d = tl.arange(0, BD)
    dv = tl.arange(0, BDV)
    k += batch * k_b + head * k_h
    v += batch * v_b + head * v_h
    valid += batch * m_b + head * m_h
    members = tl.zeros([BP], tl.float32)
    sum_k = tl.zeros([BP, BD], tl.float32)
    sum_v = tl.zeros([BP, BDV], tl.float32)
    for step in range(scale):
        row = pool * scale + step
        there = row < keys
        if MASKED:
            there = tl.load(valid + row, mask=there, other=0) != 0
        members += there.to(tl.float32)
        there = there[:, None]
        at = row[:, None].to(tl.int64)
        sum_k += tl.load(k + at * k_n + d[None, :], mask=there & (d < D)[None, :], other=0.0).to(tl.float32)
        if POOLED:
            sum_v += tl.load(v + at * v_n + dv[None, :], mask=there & (dv < DV)[None, :], other=0.0).to(
                tl.float32
            )
    if POOLED:
        count = tl.maximum(members, 1.0)[:, None]
        sum_k = sum_k / count
        mean_v = (sum_v / count).to(pooled_v.dtype.element_ty)
        inside = (pool < length)[:, None]
        place = (offset + pool)[:, None].to(tl.int64)
        if MASKED:
            tl.store(kept + batch * total + offset + pool, (members > 0).to(tl.uint8), mask=pool < length)
        tl.store(pooled_v + batch * w_b + place * DV + dv[None, :], mean_v, mask=inside & (dv < DV)[None, :])
        if not MOMENTS:
            mean_k = sum_k.to(pooled_k.dtype.element_ty)
            tl.store(pooled_k + batch * p_b + place * D + d[None, :], mean_k, mask=inside & (d < D)[None, :])
    if MOMENTS:
        counted = pool < length
        number = tl.minimum(BP, length - begin).to(tl.float32)
        first = begin
        chunk = (batch * heads + head) * tl.num_programs(0) + tl.program_id(0)
        if MASKED:
            counted &= members > 0
            number = tl.sum(counted.to(tl.float32), 0)
            first = tl.min(tl.where(counted, pool, begin + BP), 0)
            tl.store(counts + chunk, number)
            number = tl.maximum(number, 1.0)
        inside = counted[:, None]
        origin = tl.sum(tl.where((pool == first)[:, None], sum_k, 0.0), 0)
        shifted = tl.where(inside, sum_k - origin[None, :], 0.0)
        mean = tl.sum(shifted, 0) / number
        centred = tl.where(inside, shifted - mean[None, :], 0.0)
        at = chunk * 2 * D
        tl.store(moments + at + d, origin + mean, mask=d < D)
        tl.store(moments + at + D + d, tl.sum(centred * centred, 0), mask=d < D)


BLOCK = 64
"""Pools that a program forms where no moments are taken."""


def chunk_of(length: int, pooled: bool) -> int:
    """How many pairs have their moments taken together: few enough to keep a GPU busy, in few enough chunks to combine.

    Example:
        >>> chunk_of(1024, True), chunk_of(4096, True), chunk_of(1024, False)
        (64, 128, 256)
    """
    return 256 if not pooled or length > 8192 else 128 if length > 2048 else 64


class Pooled(NamedTuple):
    """Pools of keys and values, and what is known of them.

    Attributes:
        key: (batch, 1, total, D), or the keys themselves.
        value: the same with Dv.
        valid: bool (batch, 1, total): pools with a member that counts; or the mask of the keys themselves.
        moments: mean and sum of squared deviations of every chunk of keys, float32 (batch, kv heads, chunks, 2, D).
        counts: how many keys of a chunk count, float32 (batch, kv heads, chunks), where there is a mask.
    """

    key: Tensor
    value: Tensor
    valid: Tensor | None
    moments: Tensor | None = None
    counts: Tensor | None = None


def pool(
    key: Tensor,
    value: Tensor,
    pools: Pools | None,
    with_moments: bool,
    chunk: int | None = None,
    valid: Tensor | None = None,
) -> Pooled:
    """Pools of keys and values, and the moments of every chunk of keys.

    With moments the place of the pooled keys is left empty: what takes moments forms the pools again, unrounded.

    Args:
        key: (batch, kv heads, Nk, D), last stride 1.
        value: the same with Dv.
        pools: None = the keys themselves, which are returned.
        with_moments: whether moments are taken.
        chunk: how many form one; None = BLOCK.
        valid: bool (batch, kv heads, Nk), last stride 1: what counts; None = all.
    """
    if pools is None and not with_moments:
        return Pooled(key, value, valid)
    batch, heads, keys, width = key.shape
    wide = value.shape[-1]
    found, longest, total = Pooled(key, value, valid), keys, 0
    chunk = chunk or BLOCK
    if pools is not None:
        longest, total = pools.longest, pools.total
        kept = None if valid is None else torch.empty(batch, 1, total, dtype=torch.bool, device=key.device)
        found = Pooled(key.new_empty(batch, 1, total, width), value.new_empty(batch, 1, total, wide), kept)
    chunks = blocks(longest, chunk)
    if with_moments:
        moments = key.new_empty(batch, heads, chunks, 2, width, dtype=torch.float32)
        counts = None if valid is None else moments.new_empty(batch, heads, chunks)
        found = found._replace(moments=moments, counts=counts)
    mask, kept = (key if each is None else each.view(torch.uint8) for each in (valid, found.valid))
    launch(
        _pool, (chunks, batch * heads),
        (key, value, found.key, found.value, key if found.moments is None else found.moments,
         key if pools is None else pools.table, mask, kept, key if found.counts is None else found.counts),
        (batch, keys, total, *key.stride()[:3], *value.stride()[:3], found.key.stride(0), found.value.stride(0),
         *((0, 0) if valid is None else valid.stride()[:2])),
        (width, wide, padded(width), padded(wide), chunk, pools is not None, with_moments, valid is not None),
        8 if chunk > BLOCK else 4, 2,
    )  # fmt: skip
    return found


@triton.jit(do_not_specialize=["batches", "keys"])
def _spread(
    q, pooled_grad_k, pooled_grad_v, grad, own, grad_k, grad_v, table, valid, batches, groups, keys,
    q_b, q_h, q_n, g_b, g_h, g_n, p_b, w_b, y_b, y_h, y_n, z_b, z_h, z_n, m_b, m_h,
    D: tl.constexpr, DV: tl.constexpr, BD: tl.constexpr, BDV: tl.constexpr, BM: tl.constexpr,
    OWN: tl.constexpr, MASKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1) // batches
    batch = (tl.program_id(1) % batches).to(tl.int64)
    heads = tl.num_programs(1) // batches
    offset = tl.load(table + head * 3)
    scale = tl.load(table + head * 3 + 2)
    row = tl.program_id(0) * BM + tl.arange(0, BM)
    d = tl.arange(0, BD)
    dv = tl.arange(0, BDV)
    window = row // scale
    there = row < keys
    count = tl.minimum(scale, tl.maximum(1, keys - window * scale)).to(tl.float32)[:, None]
    member = there
    if MASKED:
        valid += batch * m_b + head * m_h
        member = tl.load(valid + row, mask=there, other=0) != 0
        members = tl.zeros([BM], tl.int32)
        for step in range(scale):
            other = window * scale + step
            members += (tl.load(valid + other, mask=other < keys, other=0) != 0).to(tl.int32)
        count = tl.maximum(members, 1).to(tl.float32)[:, None]
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
        slope_k = tl.where(member[:, None], slope_k, 0.0)
        slope_v = tl.where(member[:, None], slope_v, 0.0)
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
        valid: which positions count, see :func:`pool`; without ``own``.
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
        (width, wide, padded(width), padded(wide), rows, own is not None, valid is not None, precision_of(key)), 4, 1,
    )  # fmt: skip
    return grad_key, grad_value
