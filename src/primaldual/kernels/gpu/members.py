"""Which positions a pool is the mean of, for kernels: windows of a sequence, or patches of a grid, behind kept tokens.

KEPT counts the tokens in front that are pools by themselves. HEIGHT and WIDTH are the sides of a row-major grid behind
them; HEIGHT = 0 means a sequence.
"""

import triton
import triton.language as tl


@triton.jit
def steps_of(scale, HEIGHT: tl.constexpr):
    """The most members that a pool has."""
    steps = scale
    if HEIGHT > 0:
        steps = scale * scale
    return steps


@triton.jit
def member(pool, step, scale, keys, KEPT: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):
    """The position of a member of each pool, and whether there is one; ``step`` is below :func:`steps_of`."""
    window = pool
    if KEPT > 0:
        window = pool - KEPT
    if HEIGHT > 0:
        across = (WIDTH + scale - 1) // scale
        row = window // across * scale + step // scale
        column = window % across * scale + step % scale
        position = row * WIDTH + column
        there = (row < HEIGHT) & (column < WIDTH)
    else:
        position = window * scale + step
        there = position < keys
    if KEPT > 0:
        lone = pool < KEPT
        position = tl.where(lone, pool, position + KEPT)
        there = ((there & (pool >= KEPT)) | (lone & (step == 0))) & (position < keys)
    return position, there


@triton.jit
def pool_of(position, scale, keys, KEPT: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):
    """The pool that each position is a member of, and how many members it has."""
    body, length = position, keys
    if KEPT > 0:
        body, length = position - KEPT, keys - KEPT
    if HEIGHT > 0:
        row = body // WIDTH // scale
        column = body % WIDTH // scale
        pool = row * ((WIDTH + scale - 1) // scale) + column
        high = tl.minimum(scale, tl.maximum(1, HEIGHT - row * scale))
        count = high * tl.minimum(scale, tl.maximum(1, WIDTH - column * scale))
    else:
        pool = body // scale
        count = tl.minimum(scale, tl.maximum(1, length - pool * scale))
    if KEPT > 0:
        lone = position < KEPT
        pool = tl.where(lone, position, pool + KEPT)
        count = tl.where(lone, 1, count)
    return pool, count
