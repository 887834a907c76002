"""Statistics of the keys before every block of a sequence, and sums over the queries behind it."""

import triton
import triton.language as tl
from torch import Tensor

from primaldual.kernels.gpu.launch import launch
from primaldual.kernels.gpu.pools import pool
from primaldual.kernels.gpu.softmax import padded

BLOCK = 64
"""Queries and keys of a block."""

TILE = 64
"""Blocks that are summed at a time."""


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


@triton.jit(do_not_specialize=["batches", "chunks"])
def _scan(
    moments, states, k, batches, chunks, k_b, k_h,
    D: tl.constexpr, BD: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(0) // batches
    batch = (tl.program_id(0) % batches).to(tl.int64)
    heads = tl.num_programs(0) // batches
    d = tl.arange(0, BD)
    row = tl.arange(0, TILE)
    first_key = tl.load(k + batch * k_b + head * k_h + d, mask=d < D, other=0.0).to(tl.float32)
    moments += (batch * heads + head) * chunks * 2 * D
    states += (batch * heads + head) * chunks * 2 * D
    total = tl.zeros([BD], tl.float32)
    within = tl.zeros([BD], tl.float32)
    squared = tl.zeros([BD], tl.float32)
    for start in range(0, chunks, TILE):
        c = start + row
        place = c[:, None] * 2 * D + d[None, :]
        mask = (c < chunks)[:, None] & (d < D)[None, :]
        mean = tl.where(mask, tl.load(moments + place, mask=mask, other=0.0) - first_key[None, :], 0.0)
        spread = tl.load(moments + place + D, mask=mask, other=0.0)
        square = mean * mean
        sums = total[None, :] + summed_before(row, mean, TILE)
        spreads = within[None, :] + summed_before(row, spread, TILE)
        squares = squared[None, :] + summed_before(row, square, TILE)
        before = sums / tl.maximum(c, 1)[:, None].to(tl.float32)
        between = tl.maximum(squares - sums * before, 0.0) * BLOCK
        tl.store(states + place, before, mask=mask)
        tl.store(states + place + D, tl.maximum(spreads, 0.0) + between, mask=mask)
        total += tl.sum(mean, 0)
        within += tl.sum(spread, 0)
        squared += tl.sum(square, 0)


@triton.jit(do_not_specialize=["batches", "groups", "chunks"])
def _scan_back(
    sums, states, batches, groups, chunks,
    D: tl.constexpr, BD: tl.constexpr, TILE: tl.constexpr, DIVIDE: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(0) // batches
    batch = (tl.program_id(0) % batches).to(tl.int64)
    heads = tl.num_programs(0) // batches
    d = tl.arange(0, BD)
    row = tl.arange(0, TILE)
    sums += (batch * heads + head) * chunks * 4 * D
    states += (batch * (heads // groups) + head // groups) * chunks * 2 * D
    constant = tl.zeros([BD], tl.float32)
    slope = tl.zeros([BD], tl.float32)
    moved = tl.zeros([BD], tl.float32)
    tiles = (chunks + TILE - 1) // TILE
    for step in range(tiles):
        c = (tiles - 1 - step) * TILE + row
        mask = (c < chunks)[:, None] & (d < D)[None, :]
        place = sums + c[:, None] * 4 * D + d[None, :]
        first = tl.load(place, mask=mask, other=0.0)
        later = constant[None, :] + summed_behind(row, first, TILE)
        constant += tl.sum(first, 0)
        if DIVIDE:
            second = tl.load(place + D, mask=mask, other=0.0)
            mean = tl.load(states + c[:, None] * 2 * D + d[None, :], mask=mask, other=0.0)
            third = tl.load(place + 2 * D, mask=mask, other=0.0) + mean * second
            slopes = slope[None, :] + summed_behind(row, second, TILE)
            shifts = moved[None, :] + summed_behind(row, third, TILE)
            later -= 2 * (shifts - mean * slopes)
            tl.store(place + D, slopes, mask=mask)
            slope += tl.sum(second, 0)
            moved += tl.sum(third, 0)
        tl.store(place, later, mask=mask)


def prefix_states(key: Tensor) -> Tensor:
    """Of the keys before every block: mean less the first key, and sum of squared deviations from the mean.

    A feature that has not changed has exactly 0 for both.

    Args:
        key: (batch, kv heads, N, D), last stride 1.

    Returns:
        float32 (batch, kv heads, blocks, 2, D).
    """
    *_, moments = pool(key, key, None, True, BLOCK)
    assert moments is not None
    (batch, heads, _, width), chunks = key.shape, moments.shape[2]
    states = moments.new_empty(moments.shape)
    launch(
        _scan, (batch * heads, 1), (moments, states, key), (batch, chunks, *key.stride()[:2]),
        (width, padded(width), BLOCK, TILE), 8, 1,
    )  # fmt: skip
    return states


def sum_behind(sums: Tensor, states: Tensor, divides: bool) -> None:
    """In place of what the queries of a block give for the keys before it, what those of all blocks behind it give.

    Args:
        sums: float32 (batch, heads, blocks, 4, D): for a key k, counted from the mean before the block, a query gives
            constant + 2 (k slope - moved); the first three are the sums of these. The first two come out.
        states: see :func:`prefix_states`.
        divides: whether there are slopes.
    """
    batch, heads, chunks, _, width = sums.shape
    launch(
        _scan_back, (batch * heads, 1), (sums, states), (batch, heads // states.shape[1], chunks),
        (width, padded(width), TILE, divides), 8, 1,
    )  # fmt: skip
