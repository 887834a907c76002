"""Scaled heads whose pairs stand for their members to first order, the most important of them by themselves."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn

from primaldual.errors import ArgumentError
from primaldual.kernels import dense
from primaldual.kernels.arguments import MOST_POSITIONS, finite, is_whole, shown
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.layout import Layout
from primaldual.kernels.masks import Attendable
from primaldual.kernels.modes import serves_other_lengths
from primaldual.kernels.row_pools import IndexedPools
from primaldual.kernels.salient_pooling import salient_pool, salient_pools
from primaldual.kernels.statistics import accumulation_dtype
from primaldual.kernels.weighted_pooling import anchored_pool
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.pooled_heads import PooledHeads
from primaldual.primal.row_pairs import RowPairs
from primaldual.primal.sources import KeyValueSource, selection
from primaldual.primal.subsets import EVERY_KEY, DensePairs, Subset
from primaldual.primal.training_sets import OWN, Kind, MaskedPairs, TrainingSet
from primaldual.primal.weighted_prefix import WeightedPrefix


class AnchoredHeads(PooledHeads):
    r"""Scaled heads for models that are trained already: softmax's numerator and denominator kept near typical queries.

    A pair of members j stands for them around the query that the head's anchor a_h / c belongs to, c the scores' scale:

        s_j = a_h . k_j,   share_j = exp(s_j) / sum exp(s),   pair = sum_j share_j (k_j, v_j),
        added to its logit: log sum_j exp(s_j) - sum_j share_j s_j

    At that query the attention is exact, its denominator to first order around it, for softmax without a transform.
    Anchors are parameters; at 0, where they start, shares are 1/n and log n is added: ``sh(...,weighted=true)``.
    :func:`primaldual.compress` sets them to the mean queries of real inputs.

    With ``kept`` = p, of the ceil(n/r) pairs a share p are single keys, those with the largest s_j, which a typical query
    attends most; the others are pooled over the gaps that these leave. Separators and other sinks are among them, so
    no position has to be named. A query that may attend fewer than ``min_length`` keys has every one of them for a pair:
    short sequences, where pooling takes longer than what it saves, get plain softmax.

    This subset is ours; the paper's heads are :class:`PooledHeads`.

    Args:
        scales: r_h, as in :class:`PooledHeads`.
        kept: p, from 0 to below 1.
        min_length: fewer keys are not pooled; with ``kept`` only.
        grid: as in PooledHeads; without ``kept``, whose keys choose themselves.
        prefix: likewise.
        suffix: likewise.

    Raises:
        ArgumentError: scales that do not fit, a kept outside [0, 1), kept beside grid, prefix or suffix, a min_length
            that is negative or without kept.

    Example:
        >>> from primaldual.primal.presets import preset
        >>> problem = preset("anchored(1,2,kept=0.5)").bind(heads=2, head_dim=4)
        >>> problem.subset.anchor.shape
        torch.Size([2, 4])
    """

    name = "anchored"
    summary = "scaled heads for trained models: pairs exact at a typical query"
    cost = "that of sh, and a few passes"
    examples = ("anchored(1,2,3,4,prefix=1,suffix=1)", "anchored(1,2,3,4,kept=0.5)")
    repeatable = False  # what is added to logits depends on the keys

    def __init__(
        self,
        *scales: int,
        kept: float = 0.0,
        min_length: int = 0,
        grid: tuple[int, int] | None = None,
        prefix: int = 0,
        suffix: int = 0,
    ) -> None:
        if finite("kept", kept, 0, 1) == 1:
            raise ArgumentError("kept must be below 1; got 1")
        if kept and (grid is not None or prefix or suffix):
            raise ArgumentError(
                f"kept keys are those of the largest scores wherever they stand; got kept={kept} beside grid, prefix or "
                "suffix: leave one out"
            )
        if not is_whole(min_length, 0, MOST_POSITIONS):
            raise ArgumentError(f"min_length must be an integer 0 or more; got {shown(min_length)}")
        if min_length and not kept:
            raise ArgumentError(f"min_length must be 0 without kept; got {min_length}: give kept=0.5, say")
        self.kept = float(kept)
        self.min_length = int(min_length)
        super().__init__(*scales, grid=grid, prefix=prefix, suffix=suffix)
        self.anchor: nn.Parameter | None
        self.register_parameter("anchor", None)

    def lay_out(self, layout: Layout) -> None:
        super().lay_out(Layout() if self.kept else layout)

    def bind(self, heads: int, head_dim: int) -> Self:
        super().bind(heads, head_dim)
        self.anchor = nn.Parameter(torch.zeros(heads, head_dim))
        return self

    def keep_heads(self, members: list[int], heads: int) -> None:
        super().keep_heads(members, heads)
        if self.anchor is not None:
            self.anchor = nn.Parameter(self.anchor.detach()[members], self.anchor.requires_grad)

    def dense_pairs(self, key: Tensor, value: Tensor, allowed: Tensor, heads: HeadSet) -> DensePairs:
        used = allowed.any(-2).unsqueeze(-1)
        key, value = torch.where(used, key, 0.0), torch.where(used, value, 0.0)
        if heads.scale == 1:
            return super().dense_pairs(key, value, allowed, heads)
        scores = self._scores(key, heads).squeeze(-1)
        if self.kept:
            membership = dense.salient_membership(
                scores.detach(), allowed, heads.scale, self.kept, self.min_length
            )
        else:
            found = self.membership(heads, allowed)
            assert found is not None
            membership = found
        members = allowed.unsqueeze(-2) & membership
        valid = members.any(-1)
        local = torch.where(members | ~valid.unsqueeze(-1), scores[:, :, None, None], -torch.inf)
        total = local.logsumexp(-1, keepdim=True)
        shares = torch.where(members, scores[:, :, None, None] - total, -torch.inf).exp()
        keys, values = ((shares @ part.to(shares.dtype).unsqueeze(2)).to(part.dtype) for part in (key, value))
        added = total.squeeze(-1) - (shares * scores[:, :, None, None]).sum(-1)
        return DensePairs(keys, values, valid, shares, torch.where(valid, added, 0.0).to(key.dtype))

    def training_kind(self, heads: HeadSet, pairs: bool, is_causal: bool) -> Kind | str:
        if heads.scale > 1 and is_causal and self.kept:
            return Kind(OWN, pooled_late=True)
        return super().training_kind(heads, pairs, is_causal)

    def training_set(
        self, source: KeyValueSource, attendable: Attendable, heads: HeadSet, query_length: int
    ) -> TrainingSet:
        if heads.scale == 1:
            return super().training_set(source, attendable, heads, query_length)
        self.layout.check(source.length)
        mask = attendable.select(selection(heads.members)).keys
        key, value = (for_query_heads(part, len(heads.members)) for part in source.take(heads.members))
        scores = self._scores(key, heads)
        if attendable.is_causal:
            masks, scores = (
                attendable.select(selection(heads.members)),
                scores.to(accumulation_dtype(key.dtype)),
            )
            return WeightedPrefix(key, value, query_length, masks, scale=heads.scale, scores=scores)
        if self.kept:
            found: tuple[Tensor, Tensor, Tensor, Tensor | None] = salient_pool(
                key, value, scores, heads.scale, self.kept, mask, self.min_length
            )
        else:
            found = anchored_pool(key, value, scores, heads.scale, mask, self.layout)
        return MaskedPairs(found[0], found[1], query_length, Attendable(keys=found[3]), log_weight=found[2])

    def row_pairs(
        self, source: KeyValueSource, attendable: Attendable, heads: HeadSet, query_length: int
    ) -> RowPairs:
        by_scores = bool(self.kept) and heads.scale > 1
        subset = Subset if by_scores else PooledHeads
        pairs = subset.row_pairs(self, source, attendable, heads, query_length)
        assert isinstance(pairs, RowPairs)
        if heads.scale == 1:
            return pairs
        pairs = pairs.anchored(
            self._scores(for_query_heads(source.take(heads.members)[0], len(heads.members)), heads)
        )
        return replace(pairs, form_pools=partial(self._salient, heads.scale)) if by_scores else pairs

    def _salient(self, scale: int, allowed: Tensor, anchor: Tensor | None) -> IndexedPools:
        assert anchor is not None
        return salient_pools(anchor, allowed, scale, self.kept, self.min_length)

    def for_length(self, key_length: int) -> Subset:
        """All keys where no query can attend enough of them."""
        if self.min_length and not serves_other_lengths() and key_length < self.min_length:
            return EVERY_KEY
        return self

    def anchor_at(self, slopes: Tensor) -> None:
        if self.anchor is not None:
            with torch.no_grad():
                self.anchor.copy_(slopes)

    def pool_from(self, length: int) -> bool:
        if self.kept:
            self.min_length = max(self.min_length, length)
        return bool(self.kept)

    def _scores(self, key: Tensor, heads: HeadSet) -> Tensor:
        """s_j of the keys, (batch, heads, N, 1)."""
        if self.anchor is None:
            return torch.zeros_like(key[..., :1])
        return (key * self.anchor[heads.members].unsqueeze(1)).sum(-1, keepdim=True)

    def formula(self, style: str) -> list[str]:
        kept = f", {self.kept:g} of them single keys" if self.kept else ""
        kept += f", and on all if these are fewer than {self.min_length}" if self.min_length else ""
        scales = ", ".join(map(str, self.scales)) or "1, …, 2, …, 4"
        if style == "latex":
            scales = scales.replace("…", r"\ldots")
            return [
                r"\text{head } h \text{ is fitted on } \lceil N/r_h \rceil \text{ pairs that are exact at its anchor"
                + kept
                + rf"}},\quad r = ({scales})"
            ]
        return [f"head h is fitted on N/r_h pairs that are exact at its anchor{kept},  r = ({scales})"]
