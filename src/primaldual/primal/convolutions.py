"""Convolutions as input transforms: every training key takes from its neighbours."""

from __future__ import annotations

from functools import partial
from typing import TypeVar

from primaldual.errors import ArgumentError, ShapeError
from primaldual.kernels.arguments import flag
from primaldual.kernels.layout import Layout
from primaldual.primal.convolution_decoding import CausalConvolution
from primaldual.primal.decoding.incremental import Incremental
from primaldual.primal.depthwise import DepthwiseConvolution
from primaldual.primal.head_sets import HeadSet


class Convolution(DepthwiseConvolution):
    """T(k_j) = sum_t w_t * k_(j+t), t = -r..r: a filter of 2 r + 1 taps along the sequence of training keys.

    Positions outside, masked ones and those that the query may not attend count as 0. With pooled heads
    the sequence is that of the pools. This is our reading: the paper's abstract names convolutions
    and does not define them.

    Args:
        kernel_size: 2 r + 1, odd.
        causal: taps at j, j - 1, ..., j - 2 r instead, so that nothing is cut off under a causal mask; that is
            the fast one there.
        queries: queries are convolved too. Where they are as many as the keys they are taken to stand where
            the keys do, and each sees itself and the neighbours whose keys it may attend; a causal or other
            mask by query then needs the whole sequence, not its last queries.
        prefix: tokens in front that stay as they are and are seen by no other; default the subset's.

    Raises:
        ArgumentError: a kernel size that is not odd, a flag that is not a bool, a negative prefix.

    Example:
        >>> from primaldual import PrimalProblem
        >>> problem = PrimalProblem(transform=Convolution(3)).bind(heads=2, head_dim=4)
        >>> problem.transform.weight[0, 0].tolist()
        [0.0, 1.0, 0.0]
    """

    name = "conv"
    summary = "keys convolved along the sequence, filters learned"
    cost = "that of softmax, about"
    examples = (
        "conv(3)",
        "conv(3,causal=true)",
        "conv(3,prefix=2)",
        "conv(5,queries=true)",
        "conv(3,causal=true,queries=true,prefix=1)",
    )
    dimensions = 1

    def __init__(
        self, kernel_size: int = 3, *, causal: bool = False, queries: bool = False, prefix: int = 0
    ) -> None:
        super().__init__(kernel_size, queries, Layout(prefix=prefix))
        self.causal = flag("causal", causal)

    def positions(self, heads: HeadSet, length: int) -> Layout:
        return Layout(prefix=_common_prefix(self.prefix, heads))

    def formula(self, style: str) -> list[str]:
        reach = self.kernel_size - 1 if self.causal else self.kernel_size // 2
        if style == "latex":
            span = rf"0 \le t \le {reach}" if self.causal else rf"|t| \le {reach}"
            position = "j-t" if self.causal else "j+t"
            return [
                rf"T(k_j) = \sum_{{{span}}} w_t \odot k_{{{position}}},\quad " + _rest(self.queries, style),
                *_lone(self.prefix, style),
            ]
        span = f"0 ≤ t ≤ {reach}" if self.causal else f"|t| ≤ {reach}"
        position = "j−t" if self.causal else "j+t"
        return [
            f"T(k_j) = Σ_({span}) w_t ⊙ k_({position}),  " + _rest(self.queries, style),
            *_lone(self.prefix, style),
        ]

    @property
    def shift_equivariant(self) -> bool:
        return not self.prefix and not self.queries

    def incremental(self, heads: HeadSet, exact: bool) -> Incremental | None:
        if self.queries or not self.causal:
            return None
        prefix = self.positions(heads, 0).prefix
        return CausalConvolution(partial(self.filters, heads), self.kernel_size, prefix)


class Convolution2d(DepthwiseConvolution):
    """T(k_ij) = sum_st w_st * k_(i+s, j+t), s, t = -r..r: a filter of (2 r + 1)^2 taps over the image of training keys.

    Otherwise as :class:`Convolution`. With pooled heads the image is that of the pools. Our reading too.

    Args:
        kernel_size: 2 r + 1, odd.
        queries: queries are convolved too, as in :class:`Convolution`.
        grid: (rows, columns) of the unpooled image; default the subset's, else a square.
        prefix: tokens in front that stay as they are and are seen by no other; default the subset's.

    Raises:
        ArgumentError: a kernel size that is not odd, a flag that is not a bool, an invalid grid or prefix.
            When it is used: another grid or prefix than the subset's.
        ShapeError: when it is used, a number of positions that is not the grid's, or no square.

    Example:
        >>> from primaldual import preset
        >>> preset("conv2d(3,grid=8x8,prefix=1)").transform.grid
        (8, 8)
    """

    name = "conv2d"
    summary = "keys convolved over an image, filters learned"
    cost = "that of softmax, about"
    examples = ("conv2d(3,grid=3x4)", "conv2d(3,prefix=3)")
    dimensions = 2
    two_dimensional = True

    def __init__(
        self,
        kernel_size: int = 3,
        *,
        queries: bool = False,
        grid: tuple[int, int] | None = None,
        prefix: int = 0,
    ) -> None:
        super().__init__(kernel_size, queries, Layout(grid, prefix))

    def positions(self, heads: HeadSet, length: int) -> Layout:
        prefix = _common_prefix(self.prefix, heads)
        grid = _common("grid", self.grid, heads.positions.grid, heads.scale)
        if grid is not None:
            return Layout(grid, prefix)
        if heads.scale > 1:
            raise ArgumentError(
                f"conv2d over pooled heads needs the grid of the subset, sh(..., grid=RxC); got a subset that pools "
                f"windows of {heads.scale} in a row"
            )
        side = int(max(length - prefix, 0) ** 0.5 + 0.5)
        if side == 0 or side * side != length - prefix:
            raise ShapeError(
                f"conv2d without a grid takes the positions after the prefix as a square image; got {length} positions "
                f"with prefix {prefix}, and {length - prefix} is not a square"
            )
        return Layout((side, side), prefix)

    def formula(self, style: str) -> list[str]:
        reach = self.kernel_size // 2
        if style == "latex":
            return [
                rf"T(k_{{ij}}) = \sum_{{|s|, |t| \le {reach}}} w_{{st}} \odot k_{{i+s,\,j+t}},\quad "
                + _rest(self.queries, style),
                *_lone(self.prefix, style),
            ]
        return [
            f"T(k_ij) = Σ_(|s|, |t| ≤ {reach}) w_st ⊙ k_(i+s, j+t),  " + _rest(self.queries, style),
            *_lone(self.prefix, style),
        ]


Value = TypeVar("Value")


def _common(name: str, own: Value | None, of_subset: Value | None, scale: int) -> Value | None:
    """What the transform and the subset say about a layout, where neither contradicts the other."""
    if own is None or own == of_subset:
        return of_subset
    if of_subset is not None:
        raise ArgumentError(
            f"{name} of the convolution and of the subset must agree; got {own} and {of_subset}"
        )
    if scale > 1:
        raise ArgumentError(
            f"{name} {own} of the convolution must be the subset's too, which pools positions; it has none"
        )
    return own


def _common_prefix(own: int, heads: HeadSet) -> int:
    return _common("prefix", own or None, heads.positions.prefix or None, heads.scale) or 0


def _rest(queries: bool, style: str) -> str:
    """What becomes of the queries."""
    if style == "latex":
        return r"\text{queries likewise}" if queries else r"T(x) = x \text{ for queries}"
    return "queries likewise" if queries else "T(x) = x for queries"


def _lone(prefix: int, style: str) -> list[str]:
    """What becomes of the tokens in front."""
    if not prefix:
        return []
    words = f"the first {prefix} keys stay as they are" if prefix > 1 else "the first key stays as it is"
    return [rf"\text{{{words}}}"] if style == "latex" else [words]
