"""Pools of keys and values for all heads from one read, and the moments of chunks of them."""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from primaldual.kernels.gpu.keys import Pools
from primaldual.kernels.gpu.launch import blocks, launch
from primaldual.kernels.gpu.members import member, steps_of
from primaldual.kernels.gpu.softmax import padded


@triton.jit(do_not_specialize=["batches", "keys", "total"])
def _pool(
    k, v, pooled_k, pooled_v, moments, table, valid, kept, counts, batches, keys, total,
    k_b, k_h, k_n, v_b, v_h, v_n, p_b, w_b, m_b, m_h,
    D: tl.constexpr, DV: tl.constexpr, BD: tl.constexpr, BDV: tl.constexpr, BP: tl.constexpr,
    POOLED: tl.constexpr, MOMENTS: tl.constexpr, MASKED: tl.constexpr,
    KEPT: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
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
    for step in range(steps_of(scale, HEIGHT)):
        row, there = member(pool, step, scale, keys, KEPT, HEIGHT, WIDTH)
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
        (width, wide, padded(width), padded(wide), chunk, pools is not None, with_moments, valid is not None,
         *((0, 0, 0) if pools is None else pools.places)),
        2 if pools is None else 8 if chunk > BLOCK else 4, 2,
    )  # fmt: skip
    return found
