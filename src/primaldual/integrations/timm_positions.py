"""How the tokens of timm's models lie: lone tokens (class, distillation, register), then a grid of patches."""

from __future__ import annotations

from math import isqrt
from typing import Any, Protocol

from torch import Tensor, nn

from primaldual.errors import ShapeError, UnsupportedError
from primaldual.kernels.layout import Layout
from primaldual.primal.attention import Attention

MOST_LONE_TOKENS = 8
"""Largest number of lone tokens that is guessed; with more, other images could be mistaken for square ones."""


class Positions(Protocol):
    """States how the tokens of a call lie."""

    def layout(self, length: int) -> Layout:
        """The layout of ``length`` tokens."""


class SquareImage:
    """The smallest number of lone tokens that leaves a square of patches: 197 tokens are 1 and 14 x 14.

    Example:
        >>> layout = SquareImage().layout(201)
        >>> layout.grid, layout.prefix
        ((14, 14), 5)
    """

    def layout(self, length: int) -> Layout:
        side = isqrt(length)
        if side == 0 or length - side * side > MOST_LONE_TOKENS:
            raise ShapeError(
                f"{length} tokens are not a square of patches behind at most {MOST_LONE_TOKENS} lone tokens; "
                "state their layout: layout=Layout(grid=..., prefix=...), or Layout() for a plain sequence"
            )
        return Layout((side, side), length - side * side)


class EmbeddedImage:
    """The grid of the image that a model has embedded.

    That is ``embedding.grid_size``, which ``set_input_size`` changes. Models with ``dynamic_img_size`` take images
    of any size; for these the grids seen so far are remembered by their number of patches.

    Args:
        embedding: the model's ``patch_embed``.
        prefix: its lone tokens.
        dynamic: whether images may have any size.
    """

    def __init__(self, embedding: nn.Module, prefix: int, dynamic: bool) -> None:
        self.embedding = embedding
        self.prefix = prefix
        self.seen: dict[int, tuple[int, int]] = {}
        self.handle = embedding.register_forward_hook(self.see) if dynamic else None

    def see(self, embedding: nn.Module, arguments: object, patches: Tensor) -> None:
        """Remember the grid of patches (batch, rows, columns, features)."""
        del embedding, arguments
        rows, columns = patches.shape[1:3]
        self.seen[rows * columns] = (rows, columns)

    def layout(self, length: int) -> Layout:
        grid = self.seen.get(length - self.prefix)
        layout = Layout(grid or size(self.embedding), self.prefix)
        layout.check(length)
        return layout

    def forget(self) -> None:
        """Stop watching the model."""
        if self.handle is not None:
            self.handle.remove()


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


def size(embedding: nn.Module) -> tuple[int, int]:
    """Rows and columns of patches of the image that a model was made for."""
    grid: Any = embedding.grid_size
    return int(grid[0]), int(grid[1])


def lay_out(attention: Attention, heads: int, layout: Layout) -> None:
    """Tell all subsets of an attention how positions lie."""
    for problem, _ in attention.problems(heads):
        if problem.subset.layout != layout:
            problem.subset.lay_out(layout)
