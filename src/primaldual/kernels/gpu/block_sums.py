"""Sums over the rows of a block and means over windows of them, as products with zeros and ones."""

import torch
import triton
import triton.language as tl

from primaldual.kernels.gpu.softmax import padded

INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)
"""Triton's interpreter does not multiply bfloat16."""


NARROWEST = tl.constexpr(64)
"""Fewest columns of a block: what Triton 3.6 compiles for products of fewer reads outside of memory on an H100."""

DIGITS = tl.constexpr(3)
"""So many bfloat16 hold a float32; two hold what sums of bfloat16 and float16 need, 16 bits."""


@triton.jit
def _times(ones, tile, acc):
    if INTERPRETED:
        return tl.dot(ones.to(tl.float32), tile.to(tl.float32), acc, input_precision="ieee")
    return tl.dot(ones.to(tl.bfloat16), tile, acc)


@triton.jit
def ones_times(ones, tile, PARTS: tl.constexpr):
    """A product of zeros and ones with float32, which so many bfloat16 stand for."""
    high = tile.to(tl.bfloat16)
    rest = tile - high.to(tl.float32)
    middle = rest.to(tl.bfloat16)
    acc = tl.zeros(tile.shape, tl.float32)
    if PARTS == DIGITS:
        acc = _times(ones, (rest - middle.to(tl.float32)).to(tl.bfloat16), acc)
    return _times(ones, high, _times(ones, middle, acc))


@triton.jit
def summed_up_to(rows, tile, N: tl.constexpr, PARTS: tl.constexpr = DIGITS):
    """Sums of the rows up to each, as a product with ones: a scan along rows takes several times as long."""
    return ones_times(tl.arange(0, N)[None, :] <= rows[:, None], tile, PARTS)


@triton.jit
def summed_from(rows, tile, N: tl.constexpr, PARTS: tl.constexpr = DIGITS):
    """Sums of the rows from each on."""
    return ones_times(tl.arange(0, N)[None, :] >= rows[:, None], tile, PARTS)


@triton.jit
def summed_before(rows, tile, N: tl.constexpr, PARTS: tl.constexpr = DIGITS):
    """Sums of the rows before each: subtracting a row from sums that hold it would round by what is not seen yet."""
    return ones_times(tl.arange(0, N)[None, :] < rows[:, None], tile, PARTS)


@triton.jit
def summed_behind(rows, tile, N: tl.constexpr, PARTS: tl.constexpr = DIGITS):
    """Sums of the rows behind each."""
    return ones_times(tl.arange(0, N)[None, :] > rows[:, None], tile, PARTS)


@triton.jit
def pools_up_to(rows, tile, scale, N: tl.constexpr, PARTS: tl.constexpr = DIGITS):
    """For the rows of a block: the mean of the window that each is in, and that of the window up to the row."""
    other = tl.arange(0, N)[None, :]
    window, of_other = rows[:, None] // scale, other // scale
    pools = ones_times(of_other == window, tile, PARTS) / scale.to(tl.float32)
    own = ones_times((of_other == window) & (other <= rows[:, None]), tile, PARTS)
    return pools, own / (rows % scale + 1).to(tl.float32)[:, None]


@triton.jit
def pools_before(rows, pools, scale, N: tl.constexpr, PARTS: tl.constexpr = DIGITS):
    """Sums over the windows of a block before that of each row, of what every row of a window holds."""
    before = tl.arange(0, N)[None, :] // scale < rows[:, None] // scale
    return ones_times(before, pools, PARTS) / scale.to(tl.float32)


@triton.jit
def rows_behind(rows, tile, scale, N: tl.constexpr, PARTS: tl.constexpr = DIGITS):
    """Sums over the rows of a block in windows behind that of each row."""
    return ones_times(tl.arange(0, N)[None, :] // scale > rows[:, None] // scale, tile, PARTS)


@triton.jit
def to_members(rows, of_pools, of_own, scale, N: tl.constexpr, PARTS: tl.constexpr = DIGITS):
    """Gradients of the rows of a block from those of their windows' means, complete and so far."""
    other = tl.arange(0, N)[None, :]
    members = (other // scale == rows[:, None] // scale) & (other >= rows[:, None])
    share = of_own / (rows % scale + 1).to(tl.float32)[:, None]
    return of_pools / scale.to(tl.float32) + ones_times(members, share, PARTS)


def columns(width: int) -> int:
    """The columns of a block that holds so many features."""
    return max(NARROWEST.value, padded(width))


def parts_of(dtype: torch.dtype) -> int:
    """How many bfloat16 stand for float32 in sums of keys and queries of a type.

    Example:
        >>> parts_of(torch.bfloat16), parts_of(torch.float32)
        (2, 3)
    """
    return DIGITS.value if dtype == torch.float32 else 2
