"""Training subsets: which pairs (k_j, y_j) a query or a head is fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor

from primaldual.errors import ArgumentError, ShapeError
from primaldual.kernels.masks import Attendable, band_mask
from primaldual.kernels.pooling import Layout, pool, window_index
from primaldual.kernels.statistics import accumulation_dtype
from primaldual.primal.parts import Part
from primaldual.primal.training_sets import Band, MaskedPairs, PooledPrefix, TrainingSet


class HeadGroup(NamedTuple):
    """Heads that share a fast form of their training set; None where only the dense form exists."""

    heads: list[int]
    scale: int
    training: TrainingSet | None


class KeyValueSource(Protocol):
    """Where keys and values come from: tensors, or inputs still to be projected."""

    length: int

    def take(self, heads: list[int]) -> tuple[Tensor, Tensor]:
        """Keys and values of these query heads."""

    def pooled(
        self, heads: list[int], scale: int, layout: Layout, key_mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Pooled keys and values of these query heads, and the mask of the pools."""


class TensorSource:
    """Keys and values given as tensors (batch, kv heads, Nk, D), for a number of query heads."""

    def __init__(self, key: Tensor, value: Tensor, query_heads: int) -> None:
        self.key = key
        self.value = value
        self.length = key.shape[2]
        self.query_heads = query_heads

    def take(self, heads: list[int]) -> tuple[Tensor, Tensor]:
        if len(heads) == self.query_heads:
            return self.key, self.value
        groups = self.query_heads // self.key.shape[1]
        picked = selection([head // groups for head in heads])
        return self.key[:, picked], self.value[:, picked]

    def pooled(
        self, heads: list[int], scale: int, layout: Layout, key_mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        key, value = self.take(heads)
        # Half-precision means of keys far from 0 would round away their differences.
        pooled_key, mask = pool(key.to(accumulation_dtype(key.dtype)), scale, key_mask, layout)
        return pooled_key, pool(value, scale, key_mask, layout)[0], mask


class Subset(Part):
    """A training subset; the base class states: every attendable pair, for every head.

    A subclass states ``allowed`` (pairs left out by position) or ``window`` (pairs averaged), which
    is enough; ``head_groups`` is the fast form.
    """

    def allowed(self, query_length: int, key_length: int, device: torch.device) -> Tensor | None:
        """Bool (Nq, Nk) or broadcastable to (batch, heads, Nq, Nk): pairs in the subset; None = all."""
        del query_length, key_length, device
        return None

    def head_scales(self, heads: int) -> tuple[int, ...]:
        """Window length of the pooled pairs of each head; 1 = not pooled."""
        return (1,) * heads

    def membership(self, scale: int, length: int, device: torch.device) -> Tensor | None:
        """Bool (Nt, N): which positions are averaged into each pair; None = every position is a pair."""
        del scale, length, device
        return None

    def head_groups(
        self,
        source: KeyValueSource,
        attendable: Attendable,
        heads: int,
        query_length: int,
        device: torch.device,
    ) -> list[HeadGroup]:
        """Groups of heads with the fast form of their training set, together covering all heads."""
        everyone = list(range(heads))
        allowed = self.allowed(query_length, source.length, device)
        if allowed is not None:
            attendable = restrict(attendable, allowed)
        return [HeadGroup(everyone, 1, MaskedPairs(*source.take(everyone), query_length, attendable))]


class AllKeys(Subset):
    """Every key that the mask allows."""


class Window(Subset):
    """Keys at most ``radius`` positions away; with causal masking, the ``radius`` before and the query's own.

    Args:
        radius: positions to each side, 0 or more.

    Raises:
        ArgumentError: a negative or fractional radius.
    """

    name = "window"

    def __init__(self, radius: int) -> None:
        super().__init__()
        if not isinstance(radius, int) or isinstance(radius, bool) or radius < 0:
            raise ArgumentError(f"radius must be an integer 0 or more; got {radius}")
        self.radius = radius

    def arguments(self) -> tuple[object, ...]:
        return (self.radius,)

    def allowed(self, query_length: int, key_length: int, device: torch.device) -> Tensor:
        return band_mask(query_length, key_length, self.radius, device)

    def head_groups(
        self,
        source: KeyValueSource,
        attendable: Attendable,
        heads: int,
        query_length: int,
        device: torch.device,
    ) -> list[HeadGroup]:
        if attendable.pairs is not None:
            return super().head_groups(source, attendable, heads, query_length, device)
        everyone = list(range(heads))
        return [HeadGroup(everyone, 1, Band(*source.take(everyone), query_length, attendable, self.radius))]

    def formula(self, style: str) -> list[str]:
        if style == "latex":
            return [rf"\text{{query }} i \text{{ is fitted on the keys }} |i - j| \le {self.radius}"]
        return [f"query i is fitted on the keys with |i − j| ≤ {self.radius}"]


class MaskedKeys(Subset):
    """A fixed sparse pattern: query i is fitted on the keys j with ``mask[..., i, j]``.

    Args:
        mask: bool (Nq, Nk), (heads, Nq, Nk) or (batch, heads, Nq, Nk); True = in the subset.

    Raises:
        ArgumentError: the mask is not a bool tensor with 2 to 4 dimensions.
    """

    name = "masked"

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or not 2 <= mask.dim() <= 4:
            raise ArgumentError(
                "mask must be a bool tensor (Nq, Nk), (heads, Nq, Nk) or (batch, heads, Nq, Nk)"
            )
        self.mask: Tensor
        self.register_buffer("mask", mask)

    def spec(self) -> str:
        return f"masked({'x'.join(map(str, self.mask.shape))})"

    def allowed(self, query_length: int, key_length: int, device: torch.device) -> Tensor:
        if self.mask.shape[-2:] != (query_length, key_length):
            raise ShapeError(
                f"masked keys were given for (Nq, Nk) = {tuple(self.mask.shape[-2:])}; got {(query_length, key_length)}"
            )
        return self.mask.to(device)

    def formula(self, style: str) -> list[str]:
        return (
            [r"\text{query } i \text{ is fitted on the keys of its row of a fixed mask}"]
            if style == "latex"
            else ["query i is fitted on the keys of its row of a fixed mask"]
        )


class PooledHeads(Subset):
    """Scaled heads: head h is fitted on ceil(N / r_h) pairs, means of keys and of values over r_h positions.

    Masked positions are left out of the means, an all-masked window is masked, a ragged tail is a
    shorter window, queries are never pooled. Causal: complete windows, and the mean of the current
    one so far. Source: Attention-SH, Nguyen et al., ICLR 2023; windows and means are our reading.

    Args:
        scales: r_h, one integer 1 or more per head; none = half of the heads 1, a quarter 2, a quarter 4.
        grid: (rows, columns) when positions are a row-major image: windows are r x r patches.
        prefix: tokens in front that stay unpooled (class token).

    Raises:
        ArgumentError: a scale below 1, or as many scales as do not match the heads.
    """

    name = "sh"

    def __init__(self, *scales: int, grid: tuple[int, int] | None = None, prefix: int = 0) -> None:
        super().__init__()
        if any(not isinstance(scale, int) or isinstance(scale, bool) or scale < 1 for scale in scales):
            raise ArgumentError(f"scales must be integers 1 or more; got {scales}")
        self.scales = scales
        self.layout = Layout(grid, prefix)
        self.grid = grid
        self.prefix = prefix

    def arguments(self) -> tuple[object, ...]:
        return self.scales

    def bind(self, heads: int, head_dim: int) -> Self:
        del head_dim
        self.head_scales(heads)
        return self

    def head_scales(self, heads: int) -> tuple[int, ...]:
        if not self.scales:
            return tuple(1 if 2 * head < heads else 2 if 4 * head < 3 * heads else 4 for head in range(heads))
        if len(self.scales) != heads:
            raise ArgumentError(
                f"scales must hold one integer for each of the {heads} heads; got {len(self.scales)}: {self.scales}"
            )
        return self.scales

    def membership(self, scale: int, length: int, device: torch.device) -> Tensor | None:
        if scale == 1:
            return None
        self.layout.check(length)
        index = window_index(length, scale, self.layout, device)
        return index == torch.arange(self.layout.windows(length, scale), device=device)[:, None]

    def head_groups(
        self,
        source: KeyValueSource,
        attendable: Attendable,
        heads: int,
        query_length: int,
        device: torch.device,
    ) -> list[HeadGroup]:
        self.layout.check(source.length)
        return [
            HeadGroup(members, scale, self._fast(source, attendable, scale, members, query_length))
            for scale, members in group_heads(self.head_scales(heads))
        ]

    def _fast(
        self, source: KeyValueSource, attendable: Attendable, scale: int, heads: list[int], query_length: int
    ) -> TrainingSet | None:
        attendable = attendable.select(selection(heads))
        if scale == 1:
            return MaskedPairs(*source.take(heads), query_length, attendable)
        if attendable.pairs is not None or (attendable.is_causal and self.layout != Layout()):
            return None
        if attendable.is_causal:
            whole = PooledPrefix(*source.take(heads), query_length, attendable, scale)
            return whole.for_query_heads(len(heads))
        key, value, mask = source.pooled(heads, scale, self.layout, attendable.keys)
        return MaskedPairs(key, value, query_length, Attendable(keys=mask))

    def formula(self, style: str) -> list[str]:
        scales = ", ".join(map(str, self.scales)) or "1, …, 2, …, 4"
        window = "r_h × r_h patches" if self.grid else "windows of r_h positions"
        if style == "latex":
            scales = scales.replace("…", r"\ldots")
            return [
                r"\text{head } h \text{ is fitted on } \lceil N/r_h \rceil \text{ means of pairs over "
                + window.replace("r_h × r_h", r"$r_h \times r_h$").replace("of r_h", r"of $r_h$")
                + rf"}},\quad r = ({scales})"
            ]
        return [f"head h is fitted on means of pairs over {window},  r = ({scales})"]


def selection(heads: Sequence[int]) -> slice | list[int]:
    """A slice (no copy) when the heads are consecutive, else the list."""
    ordered = list(heads)
    if ordered == list(range(ordered[0], ordered[0] + len(ordered))):
        return slice(ordered[0], ordered[0] + len(ordered))
    return ordered


def group_heads(scales: Sequence[int]) -> list[tuple[int, list[int]]]:
    """Heads by scale, in order of first appearance.

    Example:
        >>> group_heads((1, 2, 1))
        [(1, [0, 2]), (2, [1])]
    """
    groups: dict[int, list[int]] = {}
    for head, scale in enumerate(scales):
        groups.setdefault(scale, []).append(head)
    return list(groups.items())


def restrict(attendable: Attendable, allowed: Tensor) -> Attendable:
    """Add a pattern of pairs to what may be attended."""
    pattern = allowed[(None,) * (4 - allowed.dim())]
    pairs = pattern if attendable.pairs is None else attendable.pairs & pattern
    return Attendable(attendable.keys, pairs, attendable.is_causal)
