"""Windows of a sequence as far as they lie in each shard, and the means over these shares."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from primaldual.kernels.masks import keep_attendable
from primaldual.kernels.statistics import accumulation_dtype
from primaldual.primal.decoding.windows import Windows


@dataclass(frozen=True)
class WindowShares:
    """The shares that one shard, positions start to stop, has in the windows of a sequence, in their order.

    Example:
        >>> shares = WindowShares(Windows(size=4), start=6, stop=13)
        >>> shares.count, shares.index(torch.device("cpu")).tolist()  # of windows 4..7, 8..11 and 12..15
        (3, [0, 0, 1, 1, 1, 1, 2])
    """

    windows: Windows
    start: int
    stop: int

    @property
    def first(self) -> int:
        """The number of the window that the shard starts in."""
        return self._window(self.start)

    @property
    def count(self) -> int:
        """How many windows the shard has a share in."""
        return self._window(self.stop - 1) - self.first + 1

    def _window(self, position: int) -> int:
        prefix = self.windows.prefix
        return position if position < prefix else prefix + (position - prefix) // self.windows.size

    def index(self, device: torch.device) -> Tensor:
        """For every position of the shard the number of its share, (n,)."""
        position = torch.arange(self.start, self.stop, device=device)
        prefix = self.windows.prefix
        behind = prefix + torch.div(position - prefix, self.windows.size, rounding_mode="floor")
        return torch.where(position < prefix, position, behind) - self.first

    def means(self, rows: Tensor, mask: Tensor | None) -> Tensor:
        """The means of the attendable rows of every share, 0 where there are none: (batch, heads, count, D).

        Means of half precision are float32, for rounded ones would lose the differences of keys that lie far from 0.

        Args:
            rows: (batch, heads, n, D), finite where masked.
            mask: bool (batch or 1, heads or 1, 1, n), or None.
        """
        rows = keep_attendable(rows, mask)
        index, wide = self.index(rows.device), accumulation_dtype(rows.dtype)
        shape = (*rows.shape[:2], self.count, rows.shape[3])
        sums = rows.new_zeros(shape, dtype=wide).index_add(2, index, rows.to(wide))
        return sums / self.members(mask, index, wide).clamp(min=1)

    def members(self, mask: Tensor | None, index: Tensor, dtype: torch.dtype) -> Tensor:
        """How many attendable rows every share has, (batch or 1, heads or 1, count, 1)."""
        rows = (
            torch.ones(1, 1, len(index), 1, dtype=dtype, device=index.device)
            if mask is None
            else mask.transpose(-2, -1).to(dtype)
        )
        return rows.new_zeros(*rows.shape[:2], self.count, 1).index_add(2, index, rows)

    def spread(self, means: Tensor) -> Tensor:
        """Every position with the mean of its share: (batch, heads, n, D)."""
        return means.index_select(2, self.index(means.device))
