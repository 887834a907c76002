"""How the tokens of timm's models lie: lone tokens (class, distillation, register), then a grid of patches."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Protocol

from primaldual.errors import ShapeError, UnsupportedError
from primaldual.kernels.layout import Layout


class Positions(Protocol):
    """States how the tokens of a call lie."""

    def layout(self, length: int) -> Layout:
        """The layout of ``length`` tokens."""


@dataclass(frozen=True)
class SquareImage:
    """A square image of any size behind a known number of lone tokens: with 5 of them, 201 tokens are 14 x 14 patches.

    Attributes:
        prefix: class, distillation and register tokens together.

    Example:
        >>> SquareImage(prefix=5).layout(201).grid
        (14, 14)
    """

    prefix: int

    def layout(self, length: int) -> Layout:
        """The grid and the prefix of ``length`` tokens.

        Raises:
            ShapeError: the tokens behind the prefix do not form a square.
        """
        side = isqrt(max(length - self.prefix, 0))
        if side == 0 or side * side != length - self.prefix:
            raise ShapeError(
                f"tokens must be a square of patches behind {self.prefix} lone tokens; got {length}: state their "
                "layout, as Layout(grid=..., prefix=...), or Layout() for a plain sequence"
            )
        return Layout((side, side), self.prefix)


class UnknownLayout(Layout):
    """The layout of a model that does not state it: an error for whoever reads it."""

    def __init__(self) -> None:
        """Neither a grid nor a prefix is known."""

    @property
    def grid(self) -> tuple[int, int] | None:
        """Unknown."""
        raise unknown()

    prefix = grid  # type: ignore[assignment] # reading it raises as well


def unknown() -> UnsupportedError:
    """The error for a layout that is needed and unknown."""
    return UnsupportedError(
        "the model does not state the layout of its tokens; give layout=Layout(grid=..., prefix=...), or layout=Layout() "
        "for a plain sequence"
    )
