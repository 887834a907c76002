"""How the tokens of timm's models lie: lone tokens (class, distillation, register), then a grid of patches."""

from __future__ import annotations

from math import isqrt
from typing import Any, Protocol

from torch import Tensor, nn

from primaldual.errors import ShapeError, UnsupportedError
from primaldual.integrations.sites import Attending
from primaldual.kernels.layout import SEQUENCE, Layout
from primaldual.primal.depthwise import DepthwiseConvolution
from primaldual.primal.head_groups import HeadGroups
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.subsets import Subset

MOST_LONE_TOKENS = 8
"""Most tokens that are taken for lone ones; with more, an image that is no square could pass for one."""


class Positions(Protocol):
    """What says how the tokens of a call lie."""

    def layout(self, length: int) -> Layout:
        """The layout of so many tokens."""


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
                f"{length} tokens are no square of patches behind at most {MOST_LONE_TOKENS} lone tokens; "
                "say how they lie: layout=Layout(grid=..., prefix=...), or Layout() for a plain sequence"
            )
        return Layout((side, side), length - side * side)


class EmbeddedImage:
    """The grid of the image that a model has embedded.

    That is ``embedding.grid_size``, which ``set_input_size`` changes; models with ``dynamic_img_size`` take images
    of any size, so there the grids that have passed are remembered, by their number of patches.

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
    """The layout of tokens of which the model says nothing: fine for all who do not ask."""

    def __init__(self) -> None:
        """Without a grid or a prefix."""

    @property
    def grid(self) -> tuple[int, int] | None:
        """What nobody knows."""
        raise unknown()

    prefix = grid  # type: ignore[assignment] # nor that


def unknown() -> UnsupportedError:
    """The error that says so."""
    return UnsupportedError(
        "the model does not say how its tokens lie; give layout=Layout(grid=..., prefix=...), or layout=Layout() "
        "for a plain sequence"
    )


def size(embedding: nn.Module) -> tuple[int, int]:
    """Rows and columns of patches of the image that a model was made for."""
    grid: Any = embedding.grid_size
    return int(grid[0]), int(grid[1])


def groups(problem: Attending, heads: int) -> list[tuple[PrimalProblem, int]]:
    """The problems of a layer, each with its number of heads."""
    if isinstance(problem, HeadGroups):
        return [(part, len(members)) for part, members in problem.problems()]
    return [(problem, heads)]


def pools(problem: Attending, heads: int) -> bool:
    """Whether some of the heads are fitted on pooled pairs."""
    return any(
        scale != 1 for part, count in groups(problem, heads) for scale in part.subset.head_scales(count)
    )


def needs_positions(problem: PrimalProblem, heads: int) -> bool:
    """Whether it matters how positions lie: pooled heads, convolutions."""
    convolves = any(isinstance(part, DepthwiseConvolution) for part in problem.modules())
    return convolves or pools(problem, heads)


def stated_layout(problem: PrimalProblem) -> Layout:
    """The layout that a problem states itself, in its subset or in a convolution; else a plain sequence."""
    if problem.subset.layout != SEQUENCE:
        return problem.subset.layout
    for part in problem.modules():
        if isinstance(part, DepthwiseConvolution) and part.grid is not None:
            return Layout(part.grid, part.prefix)
    return SEQUENCE


def lay_out(problem: Attending, layout: Layout) -> None:
    """Say how positions lie, to all subsets of a problem."""
    for part in problem.modules():
        if isinstance(part, Subset) and part.layout != layout:
            part.lay_out(layout)
