"""Which heads a part is asked about, and how their positions lie."""

from __future__ import annotations

from dataclasses import dataclass

from primaldual.kernels.layout import Layout


@dataclass(frozen=True)
class HeadSet:
    """Heads of a problem whose training pairs are pooled alike.

    Attributes:
        members: their numbers in the problem.
        scale: window length of their pooled pairs; 1 = pairs are positions.
        positions: the layout of the unpooled positions.

    Example:
        >>> HeadSet([2, 3], scale=2, positions=Layout(grid=(5, 8), prefix=1)).layout
        Layout(grid=(3, 4), prefix=1, suffix=0)
    """

    members: list[int]
    scale: int
    positions: Layout

    @property
    def layout(self) -> Layout:
        """The layout of their training pairs."""
        return self.positions.pooled(self.scale)

    def pairs(self, length: int) -> int:
        """How many training pairs a sequence of this length has."""
        return self.positions.windows(length, self.scale)

    def single(self, length: int) -> bool:
        """Whether every position is a pair by itself, once: no pools, and no union."""
        return self.scale == 1 and self.pairs(length) == length
