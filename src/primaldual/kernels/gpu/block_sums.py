"""Sums over the rows of a block and means over windows of them, as products with zeros and ones."""

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)
"""Triton's interpreter does not multiply bfloat16."""


@triton.jit
def ones_times(ones, tile):
    """A product of zeros and ones with float32, exact to float32: three bfloat16 hold it."""
    if INTERPRETED:
        return tl.dot(ones.to(tl.float32), tile, input_precision="ieee")
    ones = ones.to(tl.bfloat16)
    high = tile.to(tl.bfloat16)
    rest = tile - high.to(tl.float32)
    middle = rest.to(tl.bfloat16)
    low = (rest - middle.to(tl.float32)).to(tl.bfloat16)
    return tl.dot(ones, low, tl.dot(ones, middle, tl.dot(ones, high)))


@triton.jit
def summed_up_to(rows, tile, N: tl.constexpr):
    """Sums of the rows up to each, as a product with ones: a scan along rows takes several times as long."""
    return ones_times(tl.arange(0, N)[None, :] <= rows[:, None], tile)


@triton.jit
def summed_from(rows, tile, N: tl.constexpr):
    """Sums of the rows from each on."""
    return ones_times(tl.arange(0, N)[None, :] >= rows[:, None], tile)


@triton.jit
def summed_before(rows, tile, N: tl.constexpr):
    """Sums of the rows before each: subtracting a row from sums that hold it would round by what is not seen yet."""
    return ones_times(tl.arange(0, N)[None, :] < rows[:, None], tile)


@triton.jit
def summed_behind(rows, tile, N: tl.constexpr):
    """Sums of the rows behind each."""
    return ones_times(tl.arange(0, N)[None, :] > rows[:, None], tile)


@triton.jit
def pools_up_to(rows, tile, scale, N: tl.constexpr):
    """For the rows of a block: the mean of the window that each is in, and that of the window up to the row."""
    other = tl.arange(0, N)[None, :]
    window, of_other = rows[:, None] // scale, other // scale
    pools = ones_times(of_other == window, tile) / scale.to(tl.float32)
    own = ones_times((of_other == window) & (other <= rows[:, None]), tile)
    return pools, own / (rows % scale + 1).to(tl.float32)[:, None]


@triton.jit
def pools_before(rows, pools, scale, N: tl.constexpr):
    """Sums over the windows of a block before that of each row, of what every row of a window holds."""
    before = tl.arange(0, N)[None, :] // scale < rows[:, None] // scale
    return ones_times(before, pools) / scale.to(tl.float32)


@triton.jit
def rows_behind(rows, tile, scale, N: tl.constexpr):
    """Sums over the rows of a block in windows behind that of each row."""
    return ones_times(tl.arange(0, N)[None, :] // scale > rows[:, None] // scale, tile)


@triton.jit
def to_members(rows, of_pools, of_own, scale, N: tl.constexpr):
    """Gradients of the rows of a block from those of their windows' means, complete and so far."""
    other = tl.arange(0, N)[None, :]
    members = (other // scale == rows[:, None] // scale) & (other >= rows[:, None])
    share = of_own / (rows % scale + 1).to(tl.float32)[:, None]
    return of_pools / scale.to(tl.float32) + ones_times(members, share)
