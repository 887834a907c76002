"""Which keys each head has, for kernels that serve all heads in one launch."""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor


class Pools(NamedTuple):
    """Means over windows of positions, for every head windows of its own length, one head behind the other.

    Attributes:
        table: int32 (heads, 3) on the device: where a head's pools begin, how many they are, their length.
        total: how many pools all heads have.
        longest: the most that a head has.
        shortest_window: the shortest length of windows.
        longest_window: the longest.
    """

    table: Tensor
    total: int
    longest: int
    shortest_window: int
    longest_window: int


@lru_cache(maxsize=256)
def pools(scales: tuple[int, ...], length: int, device: torch.device) -> Pools:
    """The pools of heads whose windows are so long, over a sequence of so many positions.

    Example:
        >>> pools((1, 4), 6, torch.device("cpu")).table.tolist()
        [[0, 6, 1], [6, 2, 4]]
    """
    rows, start = [], 0
    for scale in scales:
        count = -(-length // scale)
        rows.append((start, count, scale))
        start += count
    table = torch.tensor(rows, dtype=torch.int32).to(device)
    return Pools(table, start, max(row[1] for row in rows), min(scales), max(scales))
