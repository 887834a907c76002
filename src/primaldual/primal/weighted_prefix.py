"""Causal pooled pairs that stand for their members, as a training set."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from primaldual.kernels import statistics
from primaldual.kernels.flash import runs_alone
from primaldual.kernels.masks import keep_attendable
from primaldual.kernels.merged import SinkCall, attention_of
from primaldual.kernels.softmax import pooled_prefix_attention
from primaldual.kernels.statistics import KeyStatistics, accumulation_dtype
from primaldual.kernels.weighted_prefix import (
    RunningPairs,
    WithLogWeights,
    running_pairs,
    weighted_prefix_call,
)
from primaldual.primal.pooled_prefix import PooledPrefix
from primaldual.primal.training_sets import last, last_rows


@dataclass(frozen=True)
class WeightedPrefix(PooledPrefix):
    """The complete windows of ``scale`` before the query's, and its own so far, each counting for its members.

    ``key`` and ``value`` are the unpooled sequences.

    Attributes:
        scores: s_j, by which members share in their window, of the keys as they came: (batch or 1, heads or 1, N, 1).
    """

    scores: Tensor = field(kw_only=True)

    def to(self, dtype: torch.dtype) -> Self:
        return replace(super().to(dtype), scores=self.scores.to(accumulation_dtype(dtype)))

    def rows(self, block: slice) -> Self:
        found = super().rows(block)
        return replace(found, scores=self.scores[:, :, : found.key.shape[2]])

    def part(self, batch: slice, heads: slice, begin: int, key: Tensor, value: Tensor) -> Self:
        found, scores = super().part(batch, heads, begin, key, value), self.scores
        scores = scores if scores.shape[0] == 1 else scores[batch]
        scores = scores if scores.shape[1] == 1 else scores[:, heads]
        return replace(found, scores=scores[:, :, begin : begin + key.shape[2]])

    def centred(self) -> tuple[Self, KeyStatistics]:
        keys = self.attendable.keys
        centre = statistics.seen_centre(self.key, keys, max(self.first, self.scale))
        moved = self.with_keys(keep_attendable(self.key - centre, keys))
        pairs = moved._pairs()
        ends = pairs.ends(self.scale)
        found = statistics.partial_window_statistics(
            centre, ends.key, ends.present, pairs.key, pairs.present, self.scale
        )
        return moved, last_rows(found, self.query_length)._replace(shift=centre)

    def softmax(self, query: Tensor, scale: float, dropout_p: float, sink: Tensor | None = None) -> Tensor:
        wide, count = accumulation_dtype(query.dtype), self.query_length
        moved = self.to(wide)
        if dropout_p == 0 and count == self.key.shape[2] and runs_alone(query, self.value):
            call = moved.softmax_call(scale)
            out = attention_of(call if sink is None else SinkCall(call, sink), query.to(wide))
            return out.to(query.dtype)
        pairs = moved._pairs()
        ends = pairs.ends(self.scale)
        positions = torch.arange(count, device=query.device) + self.key.shape[2] - count
        return pooled_prefix_attention(
            query.to(wide),
            (ends.key, ends.value),
            (last(pairs.key, count), last(pairs.value, count)),
            ends.present,
            last(pairs.present, count),
            positions // self.scale,
            scale,
            dropout_p,
            sink,
            (ends.log_weight, last(pairs.log_weight, count)),
        ).to(query.dtype)

    def softmax_call(self, scale: float) -> WithLogWeights:
        return weighted_prefix_call(self._pairs(), scale, self.scale)

    def _pairs(self) -> RunningPairs:
        keys = self.attendable.keys
        key, value = (keep_attendable(part, keys).to(self.scores.dtype) for part in (self.key, self.value))
        return running_pairs(key, value, self.scores, self.scale, keys)
