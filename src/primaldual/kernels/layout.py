"""How positions lie: a sequence, or an image, with lone tokens in front."""

from dataclasses import dataclass

from primaldual.errors import ArgumentError, ShapeError
from primaldual.kernels.arguments import MOST_POSITIONS, is_whole, shown, whole


@dataclass(frozen=True)
class Layout:
    """Where positions have structure: ``prefix`` lone tokens, a row-major ``grid`` or a sequence, ``suffix`` lone ones.

    Attributes:
        grid: (rows, columns) of the 2-D part, or None for a 1-D sequence.
        prefix: how many tokens in front (class, register) stay by themselves.
        suffix: how many of the last attendable tokens (separator) stay by themselves.

    Raises:
        ArgumentError: grid sides that are not integers 1 or more, a prefix or suffix that is not an integer 0 or more,
            a suffix behind a grid.
    """

    grid: tuple[int, int] | None = None
    prefix: int = 0
    suffix: int = 0

    def __post_init__(self) -> None:
        for name, count in (("prefix", self.prefix), ("suffix", self.suffix)):
            whole(name, count)
        if self.suffix and self.grid is not None:
            raise ArgumentError(f"suffix must be 0 behind a grid; got {self.suffix}")
        if self.grid is None:
            return
        sides = self.grid if isinstance(self.grid, tuple) and len(self.grid) == 2 else (0,)
        if not all(is_whole(side, 1, MOST_POSITIONS) for side in sides):
            raise ArgumentError(
                f"grid must be (rows, columns), both integers 1 or more; got {shown(self.grid)}"
            )

    def check(self, length: int) -> None:
        """Raise ShapeError unless a sequence of this length has the layout."""
        if self.grid is not None and length != self.prefix + self.grid[0] * self.grid[1]:
            rows, columns = self.grid
            raise ShapeError(
                f"grid {rows}x{columns} with prefix {self.prefix} needs "
                f"{self.prefix + rows * columns} positions; got {length}"
            )

    def windows(self, length: int, scale: int) -> int:
        """How many windows of ``scale`` a sequence of this length has; lone tokens count one each."""
        if scale == 1:
            return length
        if self.grid is None:
            body = max(length - self.prefix - self.suffix, 0)
            return min(length, self.prefix + self.suffix) + ceil_div(body, scale)
        return self.prefix + ceil_div(self.grid[0], scale) * ceil_div(self.grid[1], scale)

    def pooled(self, scale: int) -> "Layout":
        """The layout of the windows of ``scale``.

        Example:
            >>> Layout(grid=(5, 8), prefix=1).pooled(2)
            Layout(grid=(3, 4), prefix=1, suffix=0)
        """
        if scale == 1 or self.grid is None:
            return self
        rows, columns = self.grid
        return Layout((ceil_div(rows, scale), ceil_div(columns, scale)), self.prefix)


def ceil_div(count: int, size: int) -> int:
    """How many pieces of ``size`` cover ``count``."""
    return (count + size - 1) // size


SEQUENCE = Layout()
"""Positions in a row, none of them special."""
