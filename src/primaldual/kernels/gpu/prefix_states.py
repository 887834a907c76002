"""Statistics of the keys, or pools of them, before every block of a sequence, and sums over the queries behind it."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from primaldual.kernels.gpu.block_sums import columns, pools_up_to, summed_before, summed_behind
from primaldual.kernels.gpu.keys import Pools
from primaldual.kernels.gpu.launch import blocks, launch
from primaldual.kernels.gpu.pools import pool

BLOCK = 64
"""Queries and keys of a block; the windows of pools have lengths that divide it."""

TILE = 64
"""Blocks that are summed at a time."""

SUMS = 5
"""Vectors that the queries of a block give a backward: three for the keys before them, one for beta, one for the gain."""


@triton.jit(do_not_specialize=["batches", "length"])
def _window_moments(
    k, moments, table, batches, length, k_b, k_h, k_n, D: tl.constexpr, BD: tl.constexpr, BLOCK: tl.constexpr
):
    head = tl.program_id(1) // batches
    batch = (tl.program_id(1) % batches).to(tl.int64)
    heads = tl.num_programs(1) // batches
    scale = tl.load(table + head * 3 + 2)
    d = tl.arange(0, BD)
    row = tl.arange(0, BLOCK)
    wide = (tl.program_id(0) * BLOCK + row)[:, None].to(tl.int64)
    mask = (wide < length) & (d < D)[None, :]
    k += batch * k_b + head * k_h
    first = tl.load(k + d, mask=d < D, other=0.0).to(tl.float32)[None, :]
    key = tl.load(k + wide * k_n + d[None, :], mask=mask, other=0.0).to(tl.float32)
    pools, _ = pools_up_to(row, tl.where(mask, key - first, 0.0), scale, BLOCK)
    mean = tl.sum(pools, 0)[None, :] / BLOCK
    centred = pools - mean
    at = ((batch * heads + head) * tl.num_programs(0) + tl.program_id(0)) * 2 * D
    tl.store(moments + at + d[None, :], first + mean, mask=(d < D)[None, :])
    tl.store(moments + at + D + d, tl.sum(centred * centred, 0) / scale.to(tl.float32), mask=d < D)


@triton.jit(do_not_specialize=["batches", "chunks"])
def _scan(
    moments, states, k, table, batches, chunks, k_b, k_h,
    D: tl.constexpr, BD: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr, POOLED: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(0) // batches
    batch = (tl.program_id(0) % batches).to(tl.int64)
    heads = tl.num_programs(0) // batches
    d = tl.arange(0, BD)
    row = tl.arange(0, TILE)
    number = BLOCK
    if POOLED:
        number = BLOCK // tl.load(table + head * 3 + 2)
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
        between = tl.maximum(squares - sums * before, 0.0) * number
        tl.store(states + place, before, mask=mask)
        tl.store(states + place + D, tl.maximum(spreads, 0.0) + between, mask=mask)
        total += tl.sum(mean, 0)
        within += tl.sum(spread, 0)
        squared += tl.sum(square, 0)


@triton.jit(do_not_specialize=["batches", "groups", "chunks"])
def _scan_back(
    sums, states, batches, groups, chunks,
    D: tl.constexpr, BD: tl.constexpr, TILE: tl.constexpr, DIVIDE: tl.constexpr, SUMS: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(0) // batches
    batch = (tl.program_id(0) % batches).to(tl.int64)
    heads = tl.num_programs(0) // batches
    d = tl.arange(0, BD)
    row = tl.arange(0, TILE)
    sums += (batch * heads + head) * chunks * SUMS * D
    states += (batch * (heads // groups) + head // groups) * chunks * 2 * D
    constant = tl.zeros([BD], tl.float32)
    slope = tl.zeros([BD], tl.float32)
    moved = tl.zeros([BD], tl.float32)
    tiles = (chunks + TILE - 1) // TILE
    for step in range(tiles):
        c = (tiles - 1 - step) * TILE + row
        mask = (c < chunks)[:, None] & (d < D)[None, :]
        place = sums + c[:, None] * SUMS * D + d[None, :]
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


def prefix_states(key: Tensor, windows: Pools | None = None) -> Tensor:
    """Of the keys before every block, or of their pools: mean less the first key, and sum of squared deviations from it.

    A feature that has not changed has exactly 0 for both.

    Args:
        key: (batch, kv heads, N, D), last stride 1.
        windows: the pools, windows of lengths that divide BLOCK; None = the keys themselves.

    Returns:
        float32 (batch, kv heads, blocks, 2, D).
    """
    (batch, heads, length, width), chunks = key.shape, blocks(key.shape[2], BLOCK)
    constants, table = (width, columns(width), BLOCK), key if windows is None else windows.table
    if windows is None:
        moments = pool(key, key, None, True, BLOCK).moments
        assert moments is not None
    else:
        moments = key.new_empty(batch, heads, chunks, 2, width, dtype=torch.float32)
        launch(
            _window_moments, (chunks, batch * heads), (key, moments, table), (batch, length, *key.stride()[:3]),
            constants, 4, 1,
        )  # fmt: skip
    states = torch.empty_like(moments)
    launch(
        _scan, (batch * heads, 1), (moments, states, key, table), (batch, chunks, *key.stride()[:2]),
        (*constants, TILE, windows is not None), 4, 1,
    )  # fmt: skip
    return states


def sum_behind(sums: Tensor, states: Tensor, divides: bool) -> None:
    """In place of what the queries of a block give for the keys before it, what those of all blocks behind it give.

    Args:
        sums: float32 (batch, heads, blocks, SUMS, D): for a key k, counted from the mean before the block, a query gives
            constant + 2 (k slope - moved); the first three are the sums of these. The first two come out.
        states: see :func:`prefix_states`.
        divides: whether there are slopes.
    """
    batch, heads, chunks, _, width = sums.shape
    launch(
        _scan_back, (batch * heads, 1), (sums, states), (batch, heads // states.shape[1], chunks),
        (width, columns(width), TILE, divides, SUMS), 4, 1,
    )  # fmt: skip
