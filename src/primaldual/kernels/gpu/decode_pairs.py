"""What a new token makes of a decoding state: its training pair in the cache, and queries that carry the transform."""

import triton
import triton.language as tl

from primaldual.kernels.gpu.decode import (
    COLUMNS,
    DEVIATIONS,
    HEAD,
    KEPT,
    KEY,
    KEY_STRIDE,
    MEAN,
    PARTIAL_KEY,
    PARTIAL_VALUE,
    PREFIX,
    SHIFT,
    SIZE,
    VALUE,
    VALUE_STRIDE,
    cached,
    own_window,
)


@triton.jit
def _change_queries(
    query, changed, members, mean, divisor, window, q_h,
    D: tl.constexpr, BD: tl.constexpr, GROUP: tl.constexpr, CENTRED: tl.constexpr,
):  # fmt: skip
    """Queries of one cached head, in float32; 0 where they see a single pair."""
    d = tl.arange(0, BD)
    for member in range(GROUP):
        head = tl.load(members + member)
        if head >= 0:
            q = tl.load(query + head * q_h + d, mask=d < D, other=0.0).to(tl.float32)
            if CENTRED:
                q = tl.where(window == 0, 0.0, (q - mean) / divisor)
            tl.store(changed + head * D + d, q, mask=d < D)


@triton.jit
def take_in(
    query, key, value, keys, values, wide, changed, table, members, positions, beta, eps, rows, heads,
    q_b, q_h, k_b, k_h, v_b, v_h,
    D: tl.constexpr, DV: tl.constexpr, BD: tl.constexpr, BDV: tl.constexpr, UNIT: tl.constexpr, GROUP: tl.constexpr,
    CENTRED: tl.constexpr, SCALED: tl.constexpr,
):  # fmt: skip
    """One cached head of one sequence: mean of the own window, running statistics, cache, and changed queries.

    q' = (q - beta mu) / (sigma^2 + eps) by the statistics of the complete pairs and the own one
    """  # fmt: skip
    pair = tl.program_id(0)
    batch, row = (pair // rows).to(tl.int64), pair % rows
    entry = table + row * COLUMNS
    size = tl.load(entry + SIZE)
    position = tl.load(positions + batch)
    window, offset, complete = own_window(position, size, tl.load(entry + PREFIX))
    head = tl.load(entry + HEAD)
    apart = batch * tl.load(entry + KEPT)
    d, dv = tl.arange(0, BD), tl.arange(0, BDV)
    in_d, in_dv = d < D, dv < DV
    own_key = tl.load(key + batch * k_b + head * k_h + d, mask=in_d, other=0.0).to(tl.float32)
    own_value = tl.load(value + batch * v_b + head * v_h + dv, mask=in_dv, other=0.0).to(tl.float32)
    place = tl.load(entry + SHIFT)
    shift = tl.load(wide + place + apart * D + d, mask=in_d & (place >= 0), other=0.0)
    own_key -= shift
    if size > 1:
        key_place = tl.load(entry + PARTIAL_KEY) + apart * D
        value_place = tl.load(entry + PARTIAL_VALUE) + apart * DV
        own_key += tl.load(wide + key_place + d, mask=in_d & (offset > 0), other=0.0)
        own_value += tl.load(wide + value_place + dv, mask=in_dv & (offset > 0), other=0.0)
        if not complete:
            tl.store(wide + key_place + d, own_key, mask=in_d)
            tl.store(wide + value_place + dv, own_value, mask=in_dv)
        count = (offset + 1).to(tl.float32)
        own_key /= count
        own_value /= count
    slot = cached(keys, table, row, batch, KEY, KEY_STRIDE, UNIT) + window * D
    tl.store(slot + d, own_key.to(keys.dtype.element_ty), mask=in_d)
    slot = cached(values, table, row, batch, VALUE, VALUE_STRIDE, UNIT) + window * DV
    tl.store(slot + dv, own_value.to(values.dtype.element_ty), mask=in_dv)
    mean, divisor = tl.zeros([BD], tl.float32), tl.full([BD], 1.0, tl.float32)
    if CENTRED:
        mean_place, spread_place = tl.load(entry + MEAN) + apart * D, tl.load(entry + DEVIATIONS) + apart * D
        mean = tl.load(wide + mean_place + d, mask=in_d, other=0.0)
        spread = tl.load(wide + spread_place + d, mask=in_d, other=0.0)
        former = window.to(tl.float32)
        step = own_key - mean
        spread += step * step * (former / (former + 1))
        mean += step / (former + 1)
        if complete:
            tl.store(wide + mean_place + d, mean, mask=in_d)
            tl.store(wide + spread_place + d, spread, mask=in_d)
        if SCALED:
            divisor = spread / (former + 1) + eps
        mean = (mean + shift) * beta
    _change_queries(
        query + batch * q_b, changed + batch * heads * D, members + row * GROUP, mean, divisor, window, q_h,
        D, BD, GROUP, CENTRED,
    )  # fmt: skip
