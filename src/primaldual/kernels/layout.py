"""How positions lie: a sequence, or an image, with lone tokens in front."""

from dataclasses import dataclass

from primaldual.errors import ArgumentError, ShapeError


@dataclass(frozen=True)
class Layout:
    """Where positions have structure: ``prefix`` lone tokens, then a row-major ``grid`` or a sequence.

    Attributes:
        grid: (rows, columns) of the 2-D part, or None for a 1-D sequence.
        prefix: how many tokens in front (class, register) stay by themselves.

    Raises:
        ArgumentError: grid sides that are not integers 1 or more, a prefix that is no integer 0 or more.
    """

    grid: tuple[int, int] | None = None
    prefix: int = 0

    def __post_init__(self) -> None:
        if not _is_integer(self.prefix, 0):
            raise ArgumentError(f"prefix must be an integer 0 or more; got {self.prefix}")
        if self.grid is None:
            return
        if (
            not isinstance(self.grid, tuple)
            or len(self.grid) != 2
            or not all(_is_integer(side, 1) for side in self.grid)
        ):
            raise ArgumentError(f"grid must be (rows, columns), both integers 1 or more; got {self.grid}")

    def check(self, length: int) -> None:
        """Raise ShapeError unless a sequence of this length has the layout."""
        if self.grid is not None and length != self.prefix + self.grid[0] * self.grid[1]:
            rows, columns = self.grid
            raise ShapeError(
                f"grid {rows}x{columns} with prefix {self.prefix} needs "
                f"{self.prefix + rows * columns} positions; got {length}"
            )

    def windows(self, length: int, scale: int) -> int:
        """How many windows of ``scale`` a sequence of this length has; prefix tokens count one each."""
        if scale == 1:
            return length
        if self.grid is None:
            return self.prefix + ceil_div(length - self.prefix, scale)
        return self.prefix + ceil_div(self.grid[0], scale) * ceil_div(self.grid[1], scale)

    def pooled(self, scale: int) -> "Layout":
        """The layout of the windows of ``scale``.

        Example:
            >>> Layout(grid=(5, 8), prefix=1).pooled(2)
            Layout(grid=(3, 4), prefix=1)
        """
        if scale == 1 or self.grid is None:
            return self
        rows, columns = self.grid
        return Layout((ceil_div(rows, scale), ceil_div(columns, scale)), self.prefix)


def ceil_div(count: int, size: int) -> int:
    """How many pieces of ``size`` cover ``count``."""
    return (count + size - 1) // size


def _is_integer(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


SEQUENCE = Layout()
"""Positions in a row, none of them special."""
