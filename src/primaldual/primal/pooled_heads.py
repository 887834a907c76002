"""Scaled heads: the subset in which every head is fitted on pairs pooled at its own scale."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from primaldual.errors import ArgumentError
from primaldual.kernels.layout import SEQUENCE, Layout
from primaldual.kernels.masks import Attendable
from primaldual.kernels.pooling import window_index
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.sources import KeyValueSource, selection
from primaldual.primal.subsets import Subset
from primaldual.primal.training_sets import MaskedPairs, PooledPrefix, TrainingSet


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
    piecewise = True

    def __init__(self, *scales: int, grid: tuple[int, int] | None = None, prefix: int = 0) -> None:
        super().__init__()
        if any(not isinstance(scale, int) or isinstance(scale, bool) or scale < 1 for scale in scales):
            raise ArgumentError(f"scales must be integers 1 or more; got {scales}")
        self.scales = scales
        self.lay_out(Layout(grid, prefix))

    def lay_out(self, layout: Layout) -> None:
        super().lay_out(layout)
        self.grid, self.prefix = layout.grid, layout.prefix

    def arguments(self) -> tuple[object, ...]:
        return self.scales

    def bind(self, heads: int, head_dim: int) -> Self:
        del head_dim
        self.head_scales(heads)
        return self

    def keep_heads(self, members: list[int], heads: int) -> None:
        scales = self.head_scales(heads)
        self.scales = tuple(scales[head] for head in members)

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

    def training_set(
        self, source: KeyValueSource, attendable: Attendable, heads: HeadSet, query_length: int
    ) -> TrainingSet | None:
        self.layout.check(source.length)
        attendable = attendable.select(selection(heads.members))
        if heads.scale == 1:
            return MaskedPairs(*source.take(heads.members), query_length, attendable)
        if attendable.pairs is not None or (attendable.is_causal and self.layout != SEQUENCE):
            return None
        if attendable.is_causal:
            whole = PooledPrefix(*source.take(heads.members), query_length, attendable, heads.scale)
            return whole.for_query_heads(len(heads.members))
        key, value, mask = source.pooled(heads, attendable.keys)
        return MaskedPairs(key, value, query_length, Attendable(keys=mask))

    def formula(self, style: str) -> list[str]:
        scales = ", ".join(map(str, self.scales)) or "1, …, 2, …, 4"
        window = "r_h × r_h patches" if self.grid else "windows of r_h positions"
        if style == "latex":
            scales = scales.replace("…", r"\ldots")
            return [
                r"\text{head } h \text{ is fitted on } \lceil N/r_h \rceil \text{ means of pairs over "
                + window.replace("r_h × r_h", r"} r_h \times r_h \text{").replace(
                    "of r_h", r"of } r_h \text{"
                )
                + rf"}},\quad r = ({scales})"
            ]
        return [f"head h is fitted on means of pairs over {window},  r = ({scales})"]
