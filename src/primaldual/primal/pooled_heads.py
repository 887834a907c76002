"""Scaled heads: the subset in which every head is fitted on pairs pooled at its own scale."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import ClassVar, Self

import torch
from torch import Tensor

from primaldual.errors import ArgumentError
from primaldual.kernels.arguments import MOST_POSITIONS, flag, is_whole, shown
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.layout import SEQUENCE, Layout
from primaldual.kernels.masks import Attendable
from primaldual.kernels.pooling import window_index
from primaldual.kernels.row_pools import Arrangement, IndexedPools
from primaldual.kernels.statistics import accumulation_dtype
from primaldual.kernels.weighted_pooling import log_counts
from primaldual.primal.decoding.windows import Windows
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.pooled_prefix import PooledPrefix
from primaldual.primal.row_pairs import RowPairs
from primaldual.primal.sources import KeyValueSource, selection
from primaldual.primal.subsets import DensePairs, Subset
from primaldual.primal.training_sets import ALL, OWN, PREFIX, Kind, MaskedPairs, TrainingSet
from primaldual.primal.weighted_prefix import WeightedPrefix


class PooledHeads(Subset):
    """Scaled heads: head h is fitted on ceil(N / r_h) pairs, means of keys and of values over r_h positions.

    Masked positions are left out of the means, an all-masked window is masked, a ragged tail is a
    shorter window, queries are never pooled. Causal: complete windows, and the mean of the current
    one so far. Source: Attention-SH, Nguyen et al., ICLR 2023; windows and means are our reading.

    With ``weighted`` a pair counts for its n members: log n is added to its logit. :class:`AnchoredHeads` does more.

    Args:
        scales: r_h, one integer 1 or more per head, or one for all; none = half of the heads 1, a quarter 2, a quarter 4.
        grid: (rows, columns) when positions are a row-major image: windows are r x r patches.
        prefix: tokens in front that stay unpooled (class token).
        suffix: last attendable tokens that stay unpooled (separator); under a causal mask, those before each query.
        weighted: pairs count for their members.

    Raises:
        ArgumentError: a scale below 1, or as many scales as do not match the heads; a flag that is not a bool.

    Example:
        >>> from primaldual import PrimalProblem
        >>> key, value = torch.zeros(1, 1, 4, 2), torch.tensor([1.0, 3.0, 5.0, 7.0]).view(1, 1, 4, 1)
        >>> PrimalProblem(subset=PooledHeads(2)).attend(key, key, value, is_causal=True).flatten()
        tensor([1.0000, 2.0000, 3.5000, 4.0000])
    """

    name = "sh"
    summary = "Attention-SH: each head on pooled keys and values, at its own scale"
    cost = "mean(1/r) of softmax"
    examples: ClassVar[tuple[str, ...]] = (
        "sh(1,2,3,4)",
        "sh(2,1,2,5)",
        "sh",
        "sh(2,2,2,2)",
        "sh(1,2,3,4,prefix=1)",
        "sh(1,2,3,4,suffix=2)",
        "sh(1,2,3,4,prefix=1,suffix=1,weighted=true)",
    )
    repeatable = True

    def __init__(
        self,
        *scales: int,
        grid: tuple[int, int] | None = None,
        prefix: int = 0,
        suffix: int = 0,
        weighted: bool = False,
    ) -> None:
        super().__init__()
        if not all(is_whole(scale, 1, MOST_POSITIONS) for scale in scales):
            raise ArgumentError(f"scales must be integers 1 or more; got {shown(scales)}")
        self.scales = scales
        self.lay_out(Layout(grid, prefix, suffix))
        self.weighted = flag("weighted", weighted)

    def lay_out(self, layout: Layout) -> None:
        super().lay_out(layout)
        self.grid, self.prefix, self.suffix = layout.grid, layout.prefix, layout.suffix

    def arguments(self) -> tuple[object, ...]:
        return self.scales

    def bind(self, heads: int, head_dim: int) -> Self:
        del head_dim
        self.head_scales(heads)
        return self

    def keep_heads(self, members: list[int], heads: int) -> None:
        scales = self.head_scales(heads)
        self.scales = tuple(scales[head] for head in members)

    @property
    def fixed_heads(self) -> int | None:
        return len(self.scales) if len(self.scales) > 1 else None

    def head_scales(self, heads: int) -> tuple[int, ...]:
        if not self.scales:
            return tuple(1 if 2 * head < heads else 2 if 4 * head < 3 * heads else 4 for head in range(heads))
        if len(self.scales) == 1:
            return self.scales * heads
        if len(self.scales) != heads:
            raise ArgumentError(
                f"scales must be one integer, or one for each of the {heads} heads; got {len(self.scales)}: {self.scales}"
            )
        return self.scales

    def membership(self, heads: HeadSet, allowed: Tensor) -> Tensor | None:
        if heads.scale == 1:
            return None
        length = allowed.shape[-1]
        self.layout.check(length)
        front = Layout(self.grid, self.prefix)
        index = window_index(length, heads.scale, front, allowed.device)
        windows = index == torch.arange(front.windows(length, heads.scale), device=allowed.device)[:, None]
        if not self.suffix:
            return windows
        body = allowed & (torch.arange(length, device=allowed.device) >= self.prefix)
        from_end = body.flip(-1).cumsum(-1).flip(-1).unsqueeze(-2)
        wanted = torch.arange(self.suffix, 0, -1, device=allowed.device)[:, None]
        last = body.unsqueeze(-2) & (from_end == wanted)
        return torch.cat([windows & ~last.any(-2, keepdim=True), last], -2)

    def dense_pairs(self, key: Tensor, value: Tensor, allowed: Tensor, heads: HeadSet) -> DensePairs:
        plain = super().dense_pairs(key, value, allowed, heads)
        if plain.shares is None or not self.weighted:
            return plain
        members = (plain.shares > 0).sum(-1)
        return plain._replace(log_weight=members.clamp(min=1).to(key.dtype).log())

    def training_kind(self, heads: HeadSet, pairs: bool, is_causal: bool) -> Kind | str:
        if heads.scale == 1:
            return Kind(OWN if pairs else PREFIX if is_causal else ALL)
        if pairs or (is_causal and self.layout != SEQUENCE):
            return Kind(OWN, pooled_late=True)
        return Kind(PREFIX, pooled_late=True) if is_causal else Kind(ALL)

    def training_set(
        self, source: KeyValueSource, attendable: Attendable, heads: HeadSet, query_length: int
    ) -> TrainingSet:
        self.layout.check(source.length)
        attendable = attendable.select(selection(heads.members))
        if heads.scale == 1:
            return MaskedPairs(*source.take(heads.members), query_length, attendable)
        if attendable.is_causal:
            key, value = (for_query_heads(part, len(heads.members)) for part in source.take(heads.members))
            if not self.weighted:
                return PooledPrefix(key, value, query_length, attendable, scale=heads.scale)
            scores = key.new_zeros(1, 1, key.shape[2], 1, dtype=accumulation_dtype(key.dtype))
            return WeightedPrefix(key, value, query_length, attendable, scale=heads.scale, scores=scores)
        key, value, mask = source.pooled(heads, attendable.keys)
        counts = None
        if self.weighted:
            counts = log_counts(source.length, heads.scale, attendable.keys, self.layout, value)
            counts = counts[(None,) * (4 - counts.dim())]
        return MaskedPairs(key, value, query_length, Attendable(keys=mask), log_weight=counts)

    def row_pairs(
        self, source: KeyValueSource, attendable: Attendable, heads: HeadSet, query_length: int
    ) -> RowPairs:
        self.layout.check(source.length)
        pairs = super().row_pairs(source, attendable, heads, query_length)
        assert isinstance(pairs, RowPairs)
        if heads.scale == 1:
            return pairs
        pairs = replace(pairs, weighted=self.weighted)
        if self.suffix:
            return replace(pairs, form_pools=partial(self._by_query, heads.scale))
        return pairs.pooled(Arrangement.of(self.layout, source.length, heads.scale, pairs.key.device))

    def _by_query(self, scale: int, allowed: Tensor, anchor: Tensor | None) -> IndexedPools:
        """Windows, but for the last ``suffix`` positions of every query, which are pools by themselves."""
        del anchor
        length, front = allowed.shape[-1], Layout(self.grid, self.prefix)
        windows = front.windows(length, scale)
        position = torch.arange(length, device=allowed.device)
        body = allowed & (position >= self.prefix)
        from_end = body.flip(-1).cumsum(-1).flip(-1)
        index = window_index(length, scale, front, allowed.device)
        index = torch.where(body & (from_end <= self.suffix), windows + self.suffix - from_end, index)
        rest = windows + self.suffix
        return IndexedPools(torch.where(allowed, index, rest), rest + 1)

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

    def consecutive_from(self, heads: HeadSet) -> int | None:
        return self.prefix if heads.scale > 1 and self.grid is None and not self.suffix else None

    def windows(self, heads: HeadSet) -> Windows | None:
        plain = self.grid is None and not self.suffix and not self.weighted
        return Windows(heads.scale, self.prefix) if plain else None

    def means_of_windows(self, heads: HeadSet) -> bool:
        return not self.weighted
