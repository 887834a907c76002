"""What the kernels of linear attention share: rows, features, and products in the right precision."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def row_mask(start, length, COLUMNS: tl.constexpr, BLOCK: tl.constexpr, WIDTH: tl.constexpr):
    """(BLOCK, WIDTH or 1): whether rows stand before ``length``, and columns before ``COLUMNS``."""
    inside = (start + tl.arange(0, BLOCK) < length)[:, None]
    if COLUMNS != WIDTH:
        inside = inside & (tl.arange(0, WIDTH) < COLUMNS)[None, :]
    return inside


@triton.jit
def load_rows(base, start, stride, inside, BLOCK: tl.constexpr, WIDTH: tl.constexpr):
    """(BLOCK, WIDTH) numbers from row ``start`` on, 0 outside."""
    first = base + tl.cast(start, tl.int64) * stride
    places = tl.arange(0, BLOCK)[:, None] * stride + tl.arange(0, WIDTH)[None, :]
    return tl.load(first + places, mask=inside, other=0.0)


@triton.jit
def store_rows(base, start, stride, rows, inside, BLOCK: tl.constexpr, WIDTH: tl.constexpr):
    """Write (BLOCK, WIDTH) numbers from row ``start`` on, in the type of the tensor."""
    first = base + tl.cast(start, tl.int64) * stride
    places = tl.arange(0, BLOCK)[:, None] * stride + tl.arange(0, WIDTH)[None, :]
    tl.store(first + places, rows.to(base.dtype.element_ty), mask=inside)


@triton.jit
def attended(mask, start, length, inside, BLOCK: tl.constexpr):
    """The part of ``inside`` whose keys a mask lets attend; no mask = all of it."""
    if mask is not None:
        rows = start + tl.arange(0, BLOCK)
        inside = inside & (tl.load(mask + rows, mask=rows < length, other=0) != 0)[:, None]
    return inside


@triton.jit
def features(rows, inside, FEATURES: tl.constexpr, OPERAND: tl.constexpr):
    """phi(rows) in the type of products, 0 outside."""
    wide = rows.to(tl.float32)
    if FEATURES == "elu+1":
        rising = tl.maximum(wide, 0.0)
        wide = tl.exp(wide - rising) + rising
    return tl.where(inside, wide, 0.0).to(OPERAND)


@triton.jit
def through_features(gradient, rows, inside, FEATURES: tl.constexpr):
    """The gradient of rows from that of phi(rows), 0 outside."""
    if FEATURES == "elu+1":
        wide = rows.to(tl.float32)
        gradient = gradient * tl.exp(wide - tl.maximum(wide, 0.0))
    return tl.where(inside, gradient, 0.0)


@triton.jit
def product(left, right, PRECISION: tl.constexpr):
    """left @ right, summed in float32; "interpreted": Triton's interpreter multiplies no bfloat16 numbers."""
    if PRECISION == "interpreted":
        sums = tl.dot(left.to(tl.float32), right.to(tl.float32))
    else:
        sums = tl.dot(left, right, input_precision=PRECISION)
    return sums


@triton.jit
def product_with_sums(left, sums, OPERAND: tl.constexpr, PRECISION: tl.constexpr):
    """left @ sums for float32 sums, bfloat16 ones as two terms: large common parts of sums cancel in gradients."""
    if OPERAND == tl.bfloat16:  # noqa: SIM300
        high = sums.to(tl.bfloat16)
        low = (sums - high.to(tl.float32)).to(tl.bfloat16)
        rows = product(left, high, PRECISION) + product(left, low, PRECISION)
    else:
        rows = product(left, sums, PRECISION)
    return rows


@triton.jit
def no_zeros(totals):
    """Denominators, infinite where they are 0, so that a row without a key gives 0."""
    return tl.where(totals != 0, totals, float("inf"))


@triton.jit
def sum_places(D: tl.constexpr, DV: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr):
    """Where a state (D, DV) and, behind it, a total (D) stand, and which of these places exist."""
    rows, columns = tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_DV)
    inside = (rows < D)[:, None] & (columns < DV)[None, :]
    return rows[:, None] * DV + columns[None, :], inside, D * DV + rows, rows < D


@triton.jit
def store_sums(
    sums, state, total, D: tl.constexpr, DV: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr
):
    """Write a state and a total."""
    places, inside, behind, exists = sum_places(D, DV, BLOCK_D, BLOCK_DV)
    tl.store(sums + places, state, mask=inside)
    tl.store(sums + behind, total, mask=exists)


@triton.jit
def added_sums(
    sums, first, last, D: tl.constexpr, DV: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr
):
    """The sum of the states and totals number ``first`` to ``last`` - 1."""
    places, inside, behind, exists = sum_places(D, DV, BLOCK_D, BLOCK_DV)
    state = tl.zeros((BLOCK_D, BLOCK_DV), tl.float32)
    total = tl.zeros((BLOCK_D,), tl.float32)
    for number in range(first, last):
        each = sums + number * (D * DV + D)
        state += tl.load(each + places, mask=inside, other=0.0)
        total += tl.load(each + behind, mask=exists, other=0.0)
    return state, total


@triton.jit
def of_head(base, head, heads, batch_stride, head_stride):
    """Where head number ``head`` of all sequences begins."""
    return (
        base + tl.cast(head // heads, tl.int64) * batch_stride + tl.cast(head % heads, tl.int64) * head_stride
    )


@triton.jit
def lower_triangle(matrix, BLOCK: tl.constexpr):
    """A kernel matrix of the rows of one block, 0 where the key stands behind the query."""
    rows = tl.arange(0, BLOCK)
    return tl.where(rows[:, None] >= rows[None, :], matrix, 0.0)
