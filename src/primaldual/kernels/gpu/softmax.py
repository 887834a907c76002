"""Softmax attention of all heads in one launch: keys of each head's own number, prefixes, windows and masks."""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from primaldual.kernels.gpu.keys import Pools
from primaldual.kernels.gpu.launch import blocks, launch
from primaldual.kernels.gpu.strides import heads_last

LOG2E = 1.4426950408889634


@triton.jit
def visible(
    row, shift, scale, length, left, right, CAUSAL: tl.constexpr, OWN: tl.constexpr, WINDOW: tl.constexpr
):
    """First and last key that a query sees."""
    position = row + shift
    first = position * 0
    if WINDOW:
        first = position - left
        last = tl.minimum(position + right, length - 1)
    elif OWN:
        last = position // scale - 1
    elif CAUSAL:
        last = tl.minimum(position, length - 1)
    else:
        last = first + length - 1
    return first, last


@triton.jit
def own_window(row, other, scale):
    """Which of the positions belong to a query's own window, up to it; and how many they are."""
    own = (other[None, :] <= row[:, None]) & (other[None, :] // scale == row[:, None] // scale)
    return own, (row % scale + 1).to(tl.float32)


@triton.jit
def _accumulate(
    acc, peak, total, q, k, v, k_n, v_n, valid, low, high, first, last, length, factor,
    D: tl.constexpr, DV: tl.constexpr, BD: tl.constexpr, BDV: tl.constexpr, BN: tl.constexpr,
    CHECK: tl.constexpr, WINDOW: tl.constexpr, MASKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Scores, weights and weighted values of some keys, taken into running sums."""
    column = tl.arange(0, BN)
    d = tl.arange(0, BD)
    dv = tl.arange(0, BDV)
    for start in range(low, high, BN):
        j = start + column
        inside = j < length
        keys = k + j[None, :] * k_n + d[:, None]
        values = v + j[:, None] * v_n + dv[None, :]
        if CHECK:
            key = tl.load(keys, mask=inside[None, :] & (d < D)[:, None], other=0.0)
        elif D < BD:
            key = tl.load(keys, mask=(d < D)[:, None], other=0.0)
        else:
            key = tl.load(keys)
        scores = tl.dot(q, key, input_precision=PRECISION) * factor
        if CHECK:
            allowed = j[None, :] <= last[:, None]
            if WINDOW:
                allowed &= j[None, :] >= first[:, None]
            if MASKED:
                allowed &= (tl.load(valid + j, mask=inside, other=0) != 0)[None, :]
            scores = tl.where(allowed, scores, float("-inf"))
            new = tl.maximum(peak, tl.max(scores, 1))
            safe = tl.where(new == float("-inf"), 0.0, new)
        else:
            new = tl.maximum(peak, tl.max(scores, 1))
            safe = new
        weights = tl.math.exp2(scores - safe[:, None])
        decay = tl.math.exp2(peak - safe)
        total = total * decay + tl.sum(weights, 1)
        if CHECK:
            value = tl.load(values, mask=inside[:, None] & (dv < DV)[None, :], other=0.0)
        elif DV < BDV:
            value = tl.load(values, mask=(dv < DV)[None, :], other=0.0)
        else:
            value = tl.load(values)
        acc = tl.dot(weights.to(value.dtype), value, acc * decay[:, None], input_precision=PRECISION)
        peak = new
    return acc, peak, total


@triton.jit(do_not_specialize=["factor", "batches", "queries", "keys", "shift", "left", "right"])
def _attend(
    q, k, v, raw_k, raw_v, out, logsumexp, table, valid, factor, batches, groups, queries, keys, shift, left, right,
    q_b, q_h, q_n, k_b, k_h, k_n, v_b, v_h, v_n, r_b, r_h, r_n, s_b, s_h, s_n, o_b, o_h, o_n, m_b, m_h,
    D: tl.constexpr, DV: tl.constexpr, BD: tl.constexpr, BDV: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    CAUSAL: tl.constexpr, OWN: tl.constexpr, WINDOW: tl.constexpr, MASKED: tl.constexpr, POOLED: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1) // batches
    batch = (tl.program_id(1) % batches).to(tl.int64)
    blocks = tl.num_programs(0)
    block = tl.program_id(0)
    if CAUSAL:
        block = blocks - 1 - block  # the long ones first
    row = block * BM + tl.arange(0, BM)
    d = tl.arange(0, BD)
    dv = tl.arange(0, BDV)
    kv = head // groups
    length, scale = keys, 1
    k += batch * k_b
    v += batch * v_b
    if POOLED:
        offset = tl.load(table + kv * 3)
        length = tl.load(table + kv * 3 + 1)
        scale = tl.load(table + kv * 3 + 2)
        k += offset.to(tl.int64) * D
        v += offset.to(tl.int64) * DV
        valid += offset
    else:
        k += kv * k_h
        v += kv * v_h
    valid += batch * m_b + kv * m_h
    query = tl.load(
        q + batch * q_b + head * q_h + row[:, None].to(tl.int64) * q_n + d[None, :],
        mask=(row < queries)[:, None] & (d < D)[None, :], other=0.0,
    )  # fmt: skip
    first, last = visible(row, shift, scale, length, left, right, CAUSAL, OWN, WINDOW)
    start = block * BM + shift
    low = 0
    high = length
    full = length // BN * BN
    if WINDOW:
        low = tl.maximum(0, start - left) // BN * BN
        high = tl.minimum(length, start + BM + right)
        full = low
    elif OWN:
        high = tl.minimum(length, (start + BM - 1) // scale)
        full = tl.minimum(length, start // scale) // BN * BN
    elif CAUSAL:
        high = tl.minimum(length, start + BM)
        full = tl.maximum(0, tl.minimum(length, start + 1)) // BN * BN
    if MASKED:
        full = low
    acc = tl.zeros([BM, BDV], tl.float32)
    if OWN:
        position = start + tl.arange(0, BM)
        own, count = own_window(position, position, scale)
        inside = (position < keys)[:, None]
        own_keys = tl.load(
            raw_k + batch * r_b + kv * r_h + position[:, None].to(tl.int64) * r_n + d[None, :],
            mask=inside & (d < D)[None, :], other=0.0,
        )  # fmt: skip
        own_values = tl.load(
            raw_v + batch * s_b + kv * s_h + position[:, None].to(tl.int64) * s_n + dv[None, :],
            mask=inside & (dv < DV)[None, :], other=0.0,
        )  # fmt: skip
        scores = tl.dot(query, tl.trans(own_keys), input_precision=PRECISION)
        peak = tl.sum(tl.where(own, scores, 0.0), 1) / count * factor
        total = tl.full([BM], 1.0, tl.float32)
        acc += tl.dot(own.to(own_values.dtype), own_values, input_precision=PRECISION) / count[:, None]
    else:
        peak = tl.full([BM], float("-inf"), tl.float32)
        total = tl.zeros([BM], tl.float32)
    acc, peak, total = _accumulate(
        acc, peak, total, query, k, v, k_n, v_n, valid, low, full, first, last, length, factor,
        D, DV, BD, BDV, BN, False, WINDOW, MASKED, PRECISION,
    )  # fmt: skip
    acc, peak, total = _accumulate(
        acc, peak, total, query, k, v, k_n, v_n, valid, full, high, first, last, length, factor,
        D, DV, BD, BDV, BN, True, WINDOW, MASKED, PRECISION,
    )  # fmt: skip
    empty = total == 0.0
    acc = acc / tl.where(empty, 1.0, total)[:, None]
    tl.store(
        out + batch * o_b + head * o_h + row[:, None].to(tl.int64) * o_n + dv[None, :],
        acc.to(out.dtype.element_ty), mask=(row < queries)[:, None] & (dv < DV)[None, :],
    )  # fmt: skip
    found = tl.where(
        empty, float("-inf"), (peak + tl.math.log2(tl.where(empty, 1.0, total))) * 0.6931471805599453
    )
    tl.store(
        logsumexp + (batch * (tl.num_programs(1) // batches) + head) * queries + row,
        found,
        mask=row < queries,
    )


class Shape(NamedTuple):
    """What a launch of the kernels serves beside tensors.

    Attributes:
        scale: factor on the scores.
        is_causal: no later keys; the last query stands where the last key does.
        window: keys before and behind that are seen; None = all.
        pools: the pools that keys and values are; None = the keys themselves.
    """

    scale: float
    is_causal: bool = False
    window: tuple[int, int] | None = None
    pools: Pools | None = None


class Tile(NamedTuple):
    """Sizes of blocks: queries, keys; warps and stages."""

    rows: int
    columns: int
    warps: int
    stages: int


FORWARD = Tile(128, 64, 8, 3)
"""For head_dim up to 64."""

WIDE = Tile(128, 64, 8, 2)
"""For wider heads."""

OWN = Tile(64, 64, 4, 3)
"""For windows, and where queries have windows of their own."""

SMALL = Tile(32, 32, 4, 2)
"""For float32, and windows shorter than a block."""


def tile_for(query: Tensor, value: Tensor) -> Tile:
    """Sizes of the forward's blocks."""
    if query.dtype == torch.float32:
        return SMALL
    return FORWARD if max(query.shape[-1], value.shape[-1]) <= 64 else WIDE


def padded(width: int) -> int:
    """The width of a block that holds so many features."""
    return max(16, 1 << (width - 1).bit_length())


def precision_of(tensor: Tensor) -> str:
    """How Triton multiplies: float32 as float32, unless PyTorch is told otherwise."""
    return "tf32" if tensor.dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32 else "ieee"


def mask_strides(valid: Tensor | None, shape: Shape) -> tuple[int, int]:
    """Strides of sequences and heads of a mask; the pools of all heads lie side by side."""
    if valid is None:
        return 0, 0
    return valid.stride(0), 0 if shape.pools else valid.stride(1)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    shape: Shape,
    raw: tuple[Tensor, Tensor] | None = None,
    valid: Tensor | None = None,
    tile: Tile | None = None,
) -> tuple[Tensor, Tensor]:
    """sum_j softmax_j(scale q . k_j) v_j over the keys that a query sees; its log-sum-exps (batch, heads, Nq), float32.

    Features must lie side by side in memory (last stride 1).

    Args:
        query: (batch, heads, Nq, D).
        key: (batch, kv heads, Nk, D); or pools (batch, 1, total, D).
        value: the same with Dv.
        shape: scale, and who sees what.
        raw: keys and values that the pools are of, where ``shape.is_causal``: every query also sees the mean of its own
            window so far.
        valid: bool (batch, kv heads, Nk), or for pools (batch, 1, total), last stride 1; None = every key counts.
        tile: sizes of blocks.
    """
    batch, heads, queries, width = query.shape
    kv_heads = (raw[0] if raw else key).shape[1] if shape.pools is None or raw else len(shape.pools.table)
    keys = key.shape[2] if raw is None else raw[0].shape[2]
    out = heads_last(query, value.shape[-1])
    logsumexp = query.new_empty(batch, heads, queries, dtype=torch.float32)
    own = raw is not None
    narrow = query.element_size() == 2 and (own or shape.window is not None)
    tile = tile or (OWN if narrow else tile_for(query, value))
    inner = raw or (key, value)
    launch(
        _attend, (blocks(queries, tile.rows), batch * heads),
        (query, key, value, *inner, out, logsumexp, query if shape.pools is None else shape.pools.table,
         query if valid is None else valid.view(torch.uint8)),
        (shape.scale * LOG2E, batch, heads // kv_heads, queries, keys, keys - queries, *(shape.window or (0, 0)),
         *query.stride()[:3], *key.stride()[:3], *value.stride()[:3], *inner[0].stride()[:3],
         *inner[1].stride()[:3], *out.stride()[:3], *mask_strides(valid, shape)),
        (width, value.shape[-1], padded(width), padded(value.shape[-1]), tile.rows, tile.columns,
         shape.is_causal, own, shape.window is not None, valid is not None, shape.pools is not None, precision_of(query)),
        tile.warps, tile.stages,
    )  # fmt: skip
    return out, logsumexp
