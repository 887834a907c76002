"""Attention of the last token to cached pairs: keys split over programs, whose partial sums a second launch merges."""

import triton
import triton.language as tl

(
    KEY,
    VALUE,
    SHIFT,
    PARTIAL_KEY,
    PARTIAL_VALUE,
    MEAN,
    DEVIATIONS,
    SIZE,
    PREFIX,
    HEAD,
    KEY_STRIDE,
    VALUE_STRIDE,
    KEPT,
    REACH,
) = (tl.constexpr(column) for column in range(14))
"""Columns of the table, which has a row for each cached head: where its tensors begin, in elements from their base, -1 =
there is none; the size and prefix of its windows; the key head of a new token that it keeps; how far sequences are apart
in the caches, as KEY and VALUE in units of UNIT elements; how many heads are kept beside it, which tells how far
sequences are apart elsewhere; and how many slots before its own a token sees at most."""

COLUMNS = tl.constexpr(14)


@triton.jit
def own_window(position, size, prefix):
    """Number of the window of a position, tokens of it that come before, and whether the position completes it."""
    body = position - prefix
    single = body < 0
    offset = tl.where(single, 0, body % size)
    window = tl.where(single, position, prefix + body // size)
    return window, offset, single | (offset == size - 1)


@triton.jit
def _part(positions, table, rows, SPLITS: tl.constexpr, BN: tl.constexpr):
    """Batch, cached head and the slots from first to last that this program attends to."""
    pair = tl.program_id(0)
    batch, row = pair // rows, pair % rows
    entry = table + row * COLUMNS
    window, _, _ = own_window(tl.load(positions + batch), tl.load(entry + SIZE), tl.load(entry + PREFIX))
    seen = tl.minimum(window, tl.load(entry + REACH)).to(tl.int32) + 1
    slots = (window + 1).to(tl.int32)
    each = tl.cdiv(tl.cdiv(seen, SPLITS), BN) * BN
    first = slots - seen + tl.program_id(1) * each
    return batch.to(tl.int64), row, first, tl.minimum(first + each, slots)


@triton.jit
def cached(base, table, row, batch, PLACE: tl.constexpr, STRIDE: tl.constexpr, UNIT: tl.constexpr):
    """The first slot of a cached head in one sequence; that products with UNIT are its multiples allows wide loads."""
    entry = table + row * COLUMNS
    return base + tl.load(entry + PLACE) * UNIT + batch * (tl.load(entry + STRIDE) * UNIT)


@triton.jit
def attend_one(
    query, keys, values, sums, peaks, table, members, positions, factor, rows, heads,
    D: tl.constexpr, DV: tl.constexpr, BD: tl.constexpr, BDV: tl.constexpr, BN: tl.constexpr, SPLITS: tl.constexpr,
    UNIT: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """One query head for each cached head; every lane of keys keeps its own maximum, so that nothing waits in the loop."""
    batch, row, first, last = _part(positions, table, rows, SPLITS, BN)
    k = cached(keys, table, row, batch, KEY, KEY_STRIDE, UNIT)
    v = cached(values, table, row, batch, VALUE, VALUE_STRIDE, UNIT)
    head = tl.load(members + row)
    d, dv, lane = tl.arange(0, BD), tl.arange(0, BDV), tl.arange(0, BN)
    q = tl.load(query + (batch * heads + head) * D + d, mask=d < D, other=0.0) * factor
    peak = tl.full([BN], float("-inf"), tl.float32)
    total = tl.zeros([BN], tl.float32)
    acc = tl.zeros([BN, BDV], tl.float32)
    for start in tl.range(first, last, BN, num_stages=STAGES):
        slot = start + lane
        inside = slot < last
        key = tl.load(k + slot[:, None] * D + d[None, :], mask=inside[:, None] & (d < D)[None, :], other=0.0)
        value = tl.load(
            v + slot[:, None] * DV + dv[None, :], mask=inside[:, None] & (dv < DV)[None, :], other=0.0
        )
        score = tl.where(inside, tl.sum(key.to(tl.float32) * q[None, :], 1), float("-inf"))
        new = tl.maximum(peak, score)
        safe = tl.where(new == float("-inf"), 0.0, new)
        decay, weight = tl.math.exp2(peak - safe), tl.math.exp2(score - safe)
        acc = acc * decay[:, None] + weight[:, None] * value.to(tl.float32)
        total = total * decay + weight
        peak = new
    top = tl.max(peak, 0)
    share = tl.math.exp2(peak - tl.where(top == float("-inf"), 0.0, top))
    place = (batch * heads + head) * SPLITS + tl.program_id(1)
    tl.store(sums + place * DV + dv, tl.sum(acc * share[:, None], 0), mask=dv < DV)
    tl.store(peaks + place * 2, top)
    tl.store(peaks + place * 2 + 1, tl.sum(total * share, 0))


@triton.jit
def attend_group(
    query, keys, values, sums, peaks, table, members, positions, factor, rows, heads,
    D: tl.constexpr, DV: tl.constexpr, BD: tl.constexpr, BDV: tl.constexpr, BN: tl.constexpr, SPLITS: tl.constexpr,
    UNIT: tl.constexpr, GROUP: tl.constexpr, BG: tl.constexpr, HEADROOM: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Several query heads for each cached head, by products of matrices."""
    batch, row, first, last = _part(positions, table, rows, SPLITS, BN)
    k = cached(keys, table, row, batch, KEY, KEY_STRIDE, UNIT)
    v = cached(values, table, row, batch, VALUE, VALUE_STRIDE, UNIT)
    d, dv, lane, g = tl.arange(0, BD), tl.arange(0, BDV), tl.arange(0, BN), tl.arange(0, BG)
    head = tl.load(members + row * GROUP + g, mask=g < GROUP, other=-1)
    found = head >= 0
    q = tl.load(
        query + (batch * heads + head)[:, None] * D + d[None, :], mask=found[:, None] & (d < D)[None, :], other=0.0
    )  # fmt: skip
    if HEADROOM > 1:  # transformed queries are large where keys hardly differ, and float16 ends at 65504
        q = tl.minimum(tl.maximum(q / HEADROOM, -65504.0), 65504.0)
    q = q.to(keys.dtype.element_ty)
    peak = tl.full([BG], float("-inf"), tl.float32)
    total = tl.zeros([BG], tl.float32)
    acc = tl.zeros([BG, BDV], tl.float32)
    for start in range(first, last, BN):
        slot = start + lane
        inside = slot < last
        key = tl.load(k + slot[None, :] * D + d[:, None], mask=inside[None, :] & (d < D)[:, None], other=0.0)
        value = tl.load(
            v + slot[:, None] * DV + dv[None, :], mask=inside[:, None] & (dv < DV)[None, :], other=0.0
        )
        score = tl.dot(q, key, input_precision=PRECISION) * (factor * HEADROOM)
        score = tl.where(inside[None, :], score, float("-inf"))
        new = tl.maximum(peak, tl.max(score, 1))
        decay, weight = tl.math.exp2(peak - new), tl.math.exp2(score - new[:, None])
        acc = tl.dot(weight.to(value.dtype), value, acc * decay[:, None], input_precision=PRECISION)
        total = total * decay + tl.sum(weight, 1)
        peak = new
    place = (batch * heads + head) * SPLITS + tl.program_id(1)
    tl.store(sums + place[:, None] * DV + dv[None, :], acc, mask=found[:, None] & (dv < DV)[None, :])
    tl.store(peaks + place * 2, peak, mask=found)
    tl.store(peaks + place * 2 + 1, total, mask=found)


@triton.jit
def merge(
    sums, peaks, out, positions, heads, DV: tl.constexpr, BDV: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """The output of one query head from what every split found; the sequence has one token more afterwards."""
    pair = tl.program_id(0).to(tl.int64)
    split, dv = tl.arange(0, SPLITS), tl.arange(0, BDV)
    peak = tl.load(peaks + (pair * SPLITS + split) * 2)
    total = tl.load(peaks + (pair * SPLITS + split) * 2 + 1)
    share = tl.math.exp2(peak - tl.max(peak, 0))
    part = tl.load(
        sums + (pair * SPLITS + split)[:, None] * DV + dv[None, :], mask=(dv < DV)[None, :], other=0.0
    )
    mixed = tl.sum(part * share[:, None], 0) / tl.sum(total * share, 0)
    tl.store(out + pair * DV + dv, mixed.to(out.dtype.element_ty), mask=dv < DV)
    if pair % heads == 0:
        place = positions + pair // heads
        tl.store(place, tl.load(place) + 1)
