"""Which keys each head has, for kernels that serve all heads in one launch."""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from primaldual.kernels.layout import SEQUENCE, Layout


class Run(NamedTuple):
    """Neighbouring heads with pools of one length.

    Attributes:
        heads: their numbers.
        pools: where the pools of all of them lie, one head behind the other.
    """

    heads: slice
    pools: slice


class Pools(NamedTuple):
    """Means over windows of positions, for every head windows of its own length, one head behind the other.

    Windows are consecutive positions, or square patches of a grid; lone tokens in front are pools by themselves.

    Attributes:
        table: int32 (heads, 3) on the device: where a head's pools begin, how many they are, their length.
        total: how many pools all heads have.
        longest: the most that a head has.
        runs: neighbouring heads that pool alike.
        places: lone tokens, and rows and columns of the grid, 0 for a sequence; see
            :mod:`primaldual.kernels.gpu.members`.
    """

    table: Tensor
    total: int
    longest: int
    runs: tuple[Run, ...]
    places: tuple[int, int, int]


@lru_cache(maxsize=256)
def pools(scales: tuple[int, ...], length: int, device: torch.device, layout: Layout = SEQUENCE) -> Pools:
    """The pools of heads whose windows are so long, over so many positions that lie so; without a suffix.

    Example:
        >>> pools((1, 4), 6, torch.device("cpu")).table.tolist()
        [[0, 6, 1], [6, 2, 4]]
    """
    layout.check(length)
    rows: list[tuple[int, int, int]] = []
    runs: list[Run] = []
    start = 0
    for head, scale in enumerate(scales):
        count = layout.windows(length, scale)
        begun = runs.pop() if rows and rows[-1][2] == scale else Run(slice(head, head), slice(start, start))
        rows.append((start, count, scale))
        start += count
        runs.append(Run(slice(begun.heads.start, head + 1), slice(begun.pools.start, start)))
    table = torch.tensor(rows, dtype=torch.int32).to(device)
    places = (layout.prefix, *(layout.grid or (0, 0)))
    return Pools(table, start, max(row[1] for row in rows), tuple(runs), places)
