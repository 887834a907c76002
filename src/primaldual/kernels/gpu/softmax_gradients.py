"""Gradients of softmax attention of all heads: one launch for queries, one for keys and values."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from primaldual.kernels.gpu.launch import blocks, launch
from primaldual.kernels.gpu.softmax import (
    SMALL,
    Shape,
    Tile,
    mask_strides,
    own_window,
    padded,
    precision_of,
    visible,
)
from primaldual.kernels.gpu.strides import heads_last


@triton.jit
def _along_keys(
    acc, q, grad, logsumexp, delta, k, v, k_n, v_n, valid, low, high, first, last, length, factor,
    D: tl.constexpr, DV: tl.constexpr, BD: tl.constexpr, BDV: tl.constexpr, BN: tl.constexpr,
    CHECK: tl.constexpr, WINDOW: tl.constexpr, MASKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """What some keys add to the gradient of queries."""
    column = tl.arange(0, BN)
    d = tl.arange(0, BD)
    dv = tl.arange(0, BDV)
    for start in range(low, high, BN):
        j = start + column
        inside = j < length
        keys = k + j[None, :] * k_n + d[:, None]
        values = v + j[None, :] * v_n + dv[:, None]
        if CHECK:
            key = tl.load(keys, mask=inside[None, :] & (d < D)[:, None], other=0.0)
            value = tl.load(values, mask=inside[None, :] & (dv < DV)[:, None], other=0.0)
        elif D < BD or DV < BDV:
            key = tl.load(keys, mask=(d < D)[:, None], other=0.0)
            value = tl.load(values, mask=(dv < DV)[:, None], other=0.0)
        else:
            key = tl.load(keys)
            value = tl.load(values)
        powers = tl.dot(q, key, input_precision=PRECISION) * factor - logsumexp[:, None]
        if CHECK:
            allowed = j[None, :] <= last[:, None]
            if WINDOW:
                allowed &= j[None, :] >= first[:, None]
            if MASKED:
                allowed &= (tl.load(valid + j, mask=inside, other=0) != 0)[None, :]
            powers = tl.where(allowed, powers, float("-inf"))
        weights = tl.math.exp2(powers)
        slopes = weights * (tl.dot(grad, value, input_precision=PRECISION) - delta[:, None])
        acc = tl.dot(slopes.to(key.dtype), tl.trans(key), acc, input_precision=PRECISION)
    return acc


@triton.jit(do_not_specialize=["scale_", "batches", "queries", "keys", "shift", "left", "right"])
def _query_gradient(
    q, k, v, raw_k, raw_v, out, grad, logsumexp, grad_q, delta_out, own_out, table, valid, scale_, batches, groups,
    queries, keys, shift, left, right,
    q_b, q_h, q_n, k_b, k_h, k_n, v_b, v_h, v_n, r_b, r_h, r_n, s_b, s_h, s_n, o_b, o_h, o_n, g_b, g_h, g_n,
    p_b, p_h, p_n, m_b, m_h,
    D: tl.constexpr, DV: tl.constexpr, BD: tl.constexpr, BDV: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    CAUSAL: tl.constexpr, OWN: tl.constexpr, WINDOW: tl.constexpr, MASKED: tl.constexpr, POOLED: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    factor = scale_ * 1.4426950408889634
    head = tl.program_id(1) // batches
    batch = (tl.program_id(1) % batches).to(tl.int64)
    block = tl.program_id(0)
    if CAUSAL:
        block = tl.num_programs(0) - 1 - block
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
    there = row < queries
    wide = row[:, None].to(tl.int64)
    at_d = there[:, None] & (d < D)[None, :]
    at_dv = there[:, None] & (dv < DV)[None, :]
    query = tl.load(q + batch * q_b + head * q_h + wide * q_n + d[None, :], mask=at_d, other=0.0)
    result = tl.load(out + batch * o_b + head * o_h + wide * o_n + dv[None, :], mask=at_dv, other=0.0)
    slope = tl.load(grad + batch * g_b + head * g_h + wide * g_n + dv[None, :], mask=at_dv, other=0.0)
    delta = tl.sum(result.to(tl.float32) * slope.to(tl.float32), 1)
    place = (batch * (tl.num_programs(1) // batches) + head) * queries + row
    tl.store(delta_out + place, delta, mask=there)
    found = tl.load(logsumexp + place, mask=there, other=0.0) * 1.4426950408889634
    found = tl.where(found == float("-inf"), float("inf"), found)  # without a key nothing has weight
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
    acc = tl.zeros([BM, BD], tl.float32)
    if OWN:
        position = start + tl.arange(0, BM)
        own, count = own_window(position, position, scale)
        inside = (position < keys)[:, None]
        at = position[:, None].to(tl.int64)
        own_keys = tl.load(
            raw_k + batch * r_b + kv * r_h + at * r_n + d[None, :], mask=inside & (d < D)[None, :], other=0.0
        )
        own_values = tl.load(
            raw_v + batch * s_b + kv * s_h + at * s_n + dv[None, :],
            mask=inside & (dv < DV)[None, :],
            other=0.0,
        )
        scores = tl.dot(query, tl.trans(own_keys), input_precision=PRECISION)
        weight = tl.math.exp2(tl.sum(tl.where(own, scores, 0.0), 1) / count * factor - found) / count
        along = tl.dot(slope, tl.trans(own_values), input_precision=PRECISION)
        steep = weight * (tl.sum(tl.where(own, along, 0.0), 1) / count - delta)
        acc += tl.dot(own.to(own_keys.dtype), own_keys, input_precision=PRECISION) * steep[:, None]
        tl.store(own_out + place * 2, weight, mask=there)
        tl.store(own_out + place * 2 + 1, steep * scale_, mask=there)
    acc = _along_keys(
        acc, query, slope, found, delta, k, v, k_n, v_n, valid, low, full, first, last, length, factor,
        D, DV, BD, BDV, BN, False, WINDOW, MASKED, PRECISION,
    )  # fmt: skip
    acc = _along_keys(
        acc, query, slope, found, delta, k, v, k_n, v_n, valid, full, high, first, last, length, factor,
        D, DV, BD, BDV, BN, True, WINDOW, MASKED, PRECISION,
    )  # fmt: skip
    tl.store(
        grad_q + batch * p_b + head * p_h + wide * p_n + d[None, :], (acc * scale_).to(grad_q.dtype.element_ty),
        mask=at_d,
    )  # fmt: skip


@triton.jit
def _along_queries(
    grad_k, grad_v, key, value, j, q, grad, logsumexp, delta, q_n, g_n, low, high, queries, shift, scale, length,
    left, right, factor,
    D: tl.constexpr, DV: tl.constexpr, BD: tl.constexpr, BDV: tl.constexpr, BM: tl.constexpr,
    CAUSAL: tl.constexpr, OWN: tl.constexpr, WINDOW: tl.constexpr, CHECK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """What some queries add to the gradients of keys and values."""
    d = tl.arange(0, BD)
    dv = tl.arange(0, BDV)
    for start in range(low, high, BM):
        row = start + tl.arange(0, BM)
        there = row < queries
        query = tl.load(
            q + row[None, :] * q_n + d[:, None], mask=there[None, :] & (d < D)[:, None], other=0.0
        )  # fmt: skip
        found = tl.load(logsumexp + row, mask=there, other=0.0) * 1.4426950408889634
        found = tl.where(found == float("-inf"), float("inf"), found)
        powers = tl.dot(key, query, input_precision=PRECISION) * factor - found[None, :]
        if CHECK:
            first, last = visible(row, shift, scale, length, left, right, CAUSAL, OWN, WINDOW)
            allowed = j[:, None] <= last[None, :]
            if WINDOW:
                allowed &= j[:, None] >= first[None, :]
            powers = tl.where(allowed, powers, float("-inf"))
        weights = tl.math.exp2(powers)
        slope = tl.load(
            grad + row[:, None] * g_n + dv[None, :], mask=there[:, None] & (dv < DV)[None, :], other=0.0
        )  # fmt: skip
        grad_v = tl.dot(weights.to(slope.dtype), slope, grad_v, input_precision=PRECISION)
        shift_of = tl.load(delta + row, mask=there, other=0.0)
        along = tl.dot(value, tl.trans(slope), input_precision=PRECISION)
        steep = weights * (along - shift_of[None, :])
        grad_k = tl.dot(steep.to(query.dtype), tl.trans(query), grad_k, input_precision=PRECISION)
    return grad_k, grad_v


@triton.jit(do_not_specialize=["scale_", "batches", "queries", "keys", "shift", "left", "right"])
def _key_gradient(
    q, k, v, grad, logsumexp, delta, grad_k, grad_v, table, valid, scale_, batches, groups, queries, keys, shift,
    left, right,
    q_b, q_h, q_n, k_b, k_h, k_n, v_b, v_h, v_n, g_b, g_h, g_n, y_b, y_h, y_n, z_b, z_h, z_n, m_b, m_h,
    D: tl.constexpr, DV: tl.constexpr, BD: tl.constexpr, BDV: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    CAUSAL: tl.constexpr, OWN: tl.constexpr, WINDOW: tl.constexpr, MASKED: tl.constexpr, POOLED: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    factor = scale_ * 1.4426950408889634
    kv = tl.program_id(1) // batches
    batch = (tl.program_id(1) % batches).to(tl.int64)
    heads = (tl.num_programs(1) // batches) * groups
    begin = tl.program_id(0) * BN
    length, scale = keys, 1
    k += batch * k_b
    v += batch * v_b
    grad_k += batch * y_b
    grad_v += batch * z_b
    if POOLED:
        offset = tl.load(table + kv * 3).to(tl.int64)
        length = tl.load(table + kv * 3 + 1)
        scale = tl.load(table + kv * 3 + 2)
        k += offset * D
        v += offset * DV
        grad_k += offset * D
        grad_v += offset * DV
        valid += offset
    else:
        k += kv * k_h
        v += kv * v_h
        grad_k += kv * y_h
        grad_v += kv * z_h
    if begin >= length:
        return
    j = begin + tl.arange(0, BN)
    d = tl.arange(0, BD)
    dv = tl.arange(0, BDV)
    inside = j < length
    at_d = inside[:, None] & (d < D)[None, :]
    at_dv = inside[:, None] & (dv < DV)[None, :]
    key = tl.load(k + j[:, None] * k_n + d[None, :], mask=at_d, other=0.0)
    value = tl.load(v + j[:, None] * v_n + dv[None, :], mask=at_dv, other=0.0)
    sum_k = tl.zeros([BN, BD], tl.float32)
    sum_v = tl.zeros([BN, BDV], tl.float32)
    low = 0
    full = 0
    high = queries
    if WINDOW:
        low = tl.maximum(0, begin - right - shift) // BM * BM
        high = tl.minimum(queries, begin + BN + left - shift)
        full = high
    elif OWN:
        low = tl.minimum(queries, tl.maximum(0, (begin + 1) * scale - shift)) // BM * BM
        full = tl.minimum(queries + BM - 1, tl.maximum(0, (begin + BN) * scale - shift) + BM - 1) // BM * BM
    elif CAUSAL:
        low = tl.minimum(queries, tl.maximum(0, begin - shift)) // BM * BM
        full = tl.minimum(queries + BM - 1, tl.maximum(0, begin + BN - 1 - shift) + BM - 1) // BM * BM
    for group in range(groups):
        head = kv * groups + group
        place = (batch * heads + head) * queries
        inner_q = q + batch * q_b + head * q_h
        inner_g = grad + batch * g_b + head * g_h
        if CAUSAL or WINDOW:
            sum_k, sum_v = _along_queries(
                sum_k, sum_v, key, value, j, inner_q, inner_g, logsumexp + place, delta + place, q_n, g_n, low,
                tl.minimum(full, high), queries, shift, scale, length, left, right, factor,
                D, DV, BD, BDV, BM, CAUSAL, OWN, WINDOW, True, PRECISION,
            )  # fmt: skip
        if not WINDOW:
            sum_k, sum_v = _along_queries(
                sum_k, sum_v, key, value, j, inner_q, inner_g, logsumexp + place, delta + place, q_n, g_n, full,
                high, queries, shift, scale, length, left, right, factor,
                D, DV, BD, BDV, BM, CAUSAL, OWN, WINDOW, False, PRECISION,
            )  # fmt: skip
    if MASKED:
        counts = tl.load(valid + batch * m_b + kv * m_h + j, mask=inside, other=0) != 0
        sum_k = tl.where(counts[:, None], sum_k, 0.0)
        sum_v = tl.where(counts[:, None], sum_v, 0.0)
    tl.store(grad_k + j[:, None] * y_n + d[None, :], (sum_k * scale_).to(grad_k.dtype.element_ty), mask=at_d)
    tl.store(grad_v + j[:, None] * z_n + dv[None, :], sum_v.to(grad_v.dtype.element_ty), mask=at_dv)


QUERIES = Tile(64, 32, 4, 3)
"""For the gradient of queries, head_dim up to 64."""

KEYS = Tile(128, 64, 4, 2)
"""For the gradients of keys, head_dim up to 64."""

WIDE_QUERIES = Tile(64, 64, 4, 2)
WIDE_KEYS = Tile(64, 64, 4, 2)


def tiles_for(query: Tensor, value: Tensor, narrow: bool) -> tuple[Tile, Tile]:
    """Sizes of blocks of both launches, measured on an H100; ``narrow`` for windows."""
    width = max(query.shape[-1], value.shape[-1])
    if query.dtype == torch.float32:
        return SMALL, SMALL._replace(columns=32) if width > 64 else SMALL
    if narrow:
        return WIDE_QUERIES, WIDE_KEYS
    return (QUERIES, KEYS) if width <= 64 else (WIDE_QUERIES, WIDE_KEYS)


def gradients(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    outcome: tuple[Tensor, Tensor],
    shape: Shape,
    raw: tuple[Tensor, Tensor] | None = None,
    valid: Tensor | None = None,
    tiles: tuple[Tile, Tile] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Gradients of query, key and value; and what the means of the queries' own windows take part in, if ``raw`` is given.

    Args:
        gradient: of the output, last stride 1.
        query: as the forward had it; so key, value, shape, raw and valid.
        key: its keys.
        value: its values.
        outcome: its output and log-sum-exps.
        shape: who sees what.
        raw: what the pools are of.
        valid: keys that count.
        tiles: sizes of blocks, for queries and for keys.

    Returns:
        The gradients, and float32 (batch, heads, Nq, 2): the weight of a query's own window and the slope of its score,
        each divided by the number of positions in it; or None.
    """
    batch, heads, queries, width = query.shape
    wide = value.shape[-1]
    kv_heads = (raw[0] if raw else key).shape[1] if shape.pools is None or raw else len(shape.pools.table)
    keys = key.shape[2] if raw is None else raw[0].shape[2]
    out, logsumexp = outcome
    grad_query = heads_last(query, width)
    pooled = shape.pools is not None
    grad_key = torch.empty_like(key) if pooled else heads_last(key, width)
    grad_value = torch.empty_like(value) if pooled else heads_last(value, wide)
    delta = torch.empty_like(logsumexp)
    own = raw is not None
    inner = raw or (key, value)
    parts = logsumexp.new_empty(*logsumexp.shape, 2) if own else None
    table = query if shape.pools is None else shape.pools.table
    mask = query if valid is None else valid.view(torch.uint8)
    masks = mask_strides(valid, shape)
    sizes = (batch, heads // kv_heads, queries, keys, keys - queries, *(shape.window or (0, 0)))
    widths = (width, wide, padded(width), padded(wide))
    kinds = (shape.is_causal, own, shape.window is not None, valid is not None, pooled, precision_of(query))
    along, across = tiles or tiles_for(query, value, shape.window is not None)
    longest = keys if shape.pools is None else shape.pools.longest
    strides = (*query.stride()[:3], *key.stride()[:3], *value.stride()[:3])
    launch(
        _query_gradient, (blocks(queries, along.rows), batch * heads),
        (query, key, value, *inner, out, gradient, logsumexp, grad_query, delta, delta if parts is None else parts,
         table, mask),
        (shape.scale, *sizes, *strides, *inner[0].stride()[:3], *inner[1].stride()[:3], *out.stride()[:3],
         *gradient.stride()[:3], *grad_query.stride()[:3], *masks),
        (*widths, along.rows, along.columns, *kinds), along.warps, along.stages,
    )  # fmt: skip
    launch(
        _key_gradient, (blocks(longest, across.columns), batch * kv_heads),
        (query, key, value, gradient, logsumexp, delta, grad_key, grad_value, table, mask),
        (shape.scale, *sizes, *strides, *gradient.stride()[:3], *grad_key.stride()[:3], *grad_value.stride()[:3], *masks),
        (*widths, across.rows, across.columns, *kinds), across.warps, across.stages,
    )  # fmt: skip
    return grad_query, grad_key, grad_value, parts
