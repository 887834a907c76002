"""How the tokens of timm's models lie: lone tokens (class, distillation, register), then a grid of patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any, Protocol

from torch import nn

from primaldual.errors import ShapeError, UnsupportedError
from primaldual.integrations.timm_grids import SeenGrids
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
        side = isqrt(max(length - self.prefix, 0))
        if side == 0 or side * side != length - self.prefix:
            raise ShapeError(
                f"tokens must be a square of patches behind {self.prefix} lone tokens; got {length}: state their "
                "layout, as Layout(grid=..., prefix=...), or Layout() for a plain sequence"
            )
        return Layout((side, side), self.prefix)


class EmbeddedImage:
    """The grid of the image that a model has embedded.

    That is ``embedding.grid_size``, which ``set_input_size`` changes. Models with ``dynamic_img_size`` take images
    of any size; there it is the grid that the embedding has seen, see :class:`SeenGrids`.

    Args:
        embedding: the model's ``patch_embed``.
        prefix: its lone tokens.
        around: the modules from the model down to the layer, for images of any size; () = images have one size.
    """

    def __init__(self, embedding: nn.Module, prefix: int, around: Sequence[nn.Module]) -> None:
        self.embedding = embedding
        self.prefix = prefix
        self.seen = SeenGrids.of(embedding)
        self.handles = [module.register_forward_pre_hook(self.seen.follow) for module in around]
        if around:
            self.handles.append(embedding.register_forward_hook(self.seen.see))

    def layout(self, length: int) -> Layout:
        grid = self.seen.grid(length - self.prefix) or size(self.embedding)
        layout = Layout(grid, self.prefix)
        layout.check(length)
        return layout

    def forget(self) -> None:
        """Stop watching the model."""
        for handle in self.handles:
            handle.remove()


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
