"""Causal pooled pairs as a training set: complete windows, and the query's own so far."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from primaldual.kernels import pooling, statistics
from primaldual.kernels.flash import CutCall
from primaldual.kernels.masks import keep_attendable
from primaldual.kernels.pooled_prefix import PooledPrefixCall
from primaldual.kernels.softmax import pooled_prefix_attention
from primaldual.kernels.statistics import KeyStatistics
from primaldual.primal.training_sets import PREFIX, Kind, TrainingSet, last, last_rows


class PooledPrefix(TrainingSet):
    """Causal pooled pairs: the complete windows of ``scale`` before the query's, and its own window so far.

    ``key`` and ``value`` are the unpooled sequences.
    """

    @property
    def kind(self) -> Kind:
        return Kind(PREFIX, pooled_late=True)

    def centred(self) -> tuple[Self, KeyStatistics]:
        keys = self.attendable.keys
        centre = statistics.seen_centre(self.key, keys, max(self.first, self.scale))
        shifted = keep_attendable(self.key - centre, keys)
        pools, kept = self._pools(shifted)
        partial, present = pooling.prefix_means(shifted, self.scale, keys)
        found = statistics.partial_window_statistics(centre, pools, kept, partial, present, self.scale)
        return self.with_keys(shifted), last_rows(found, self.query_length)._replace(shift=centre)

    def softmax(self, query: Tensor, scale: float, dropout_p: float, sink: Tensor | None = None) -> Tensor:
        keys, key = self.attendable.keys, self.key.to(query.dtype)
        key_pools, kept = self._pools(key)
        value_pools, _ = self._pools(self.value)
        partial_key, present = pooling.prefix_means(key, self.scale, keys)
        partial_value, _ = pooling.prefix_means(self.value, self.scale, keys)
        positions = (
            torch.arange(self.query_length, device=query.device) + self.key.shape[2] - self.query_length
        )
        return pooled_prefix_attention(
            query,
            (key_pools, value_pools),
            (last(partial_key, self.query_length), last(partial_value, self.query_length)),
            kept,
            last(present, self.query_length),
            positions // self.scale,
            scale,
            dropout_p,
            sink,
        )

    def softmax_call(self, scale: float) -> CutCall:
        keys = self.attendable.keys
        key, value = keep_attendable(self.key, keys), keep_attendable(self.value, keys)
        return PooledPrefixCall(key.to(value.dtype), value, scale, self.scale, keys)

    def _pools(self, tensor: Tensor) -> tuple[Tensor, Tensor]:
        pools, mask = pooling.pool(tensor, self.scale, self.attendable.keys)
        if mask is None:
            mask = torch.ones(1, 1, 1, pools.shape[-2], dtype=torch.bool, device=pools.device)
        return pools, mask.transpose(-2, -1)
