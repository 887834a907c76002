"""Factored attention to the pairs so far: sums over features, of a size that does not grow."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.primal.decoding.fixed_size import FixedSizeDecoder
from primaldual.primal.decoding.memory import Memory
from primaldual.primal.decoding.new_tokens import NewTokens
from primaldual.primal.decoding.pair_stream import PairStream
from primaldual.primal.decoding.windows import NewPairs
from primaldual.primal.feature_maps import FeatureMap

MOST_FEATURES = 8192
"""Most features whose sums are kept; a cache of a few thousand keys is smaller than the sums of more."""


class FeatureSums(FixedSizeDecoder):
    """out = Phi(T q) . S / Phi(T q) . z,  S = sum_j Phi(T k_j) v_j^T,  z = sum_j Phi(T k_j).

    Sums run over the complete pairs; the query's own pair joins them for the query alone while its
    window is incomplete. S and z lie side by side, in float32 or wider.

    Args:
        stream: what tokens become.
        feature_map: Phi, finite.
        normalize: divide by the sum of the kernels.
    """

    most = 512  # each token attends to the new ones one by one, a square of products

    def __init__(self, stream: PairStream, feature_map: FeatureMap, normalize: bool) -> None:
        self.stream = stream
        self.feature_map = feature_map
        self.normalize = normalize

    def start(self, query: Tensor, key: Tensor, value: Tensor, capacity: int) -> Memory:
        memory = self.stream.start(key, value)
        count = self.feature_map.feature_count(key.shape[3])
        assert count is not None
        wide = torch.promote_types(value.dtype, torch.float32)
        memory["sums"] = value.new_zeros(*value.shape[:2], count, value.shape[3] + 1, dtype=wide)
        return memory

    def one(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, position: int) -> Tensor:
        dtype = query.dtype
        query, key, value = self.stream.one(query, key, value, memory, position)
        keys, values = self._pairs(key.to(dtype), value, memory)
        sums = memory["sums"] + keys.transpose(2, 3) @ values
        if self.stream.windows.closes(position):
            memory["sums"] = sums
        return self._divided(self.grouped_features(query.to(dtype), sums) @ sums, query.shape[1], dtype)

    def many(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, tokens: NewTokens) -> Tensor:
        new, sums, dtype = NewPairs(self.stream.windows, tokens), memory["sums"], query.dtype
        query, key, value = self.stream.many(query, key, value, memory, new)
        keys, values = self._pairs(key.to(dtype), value, memory)
        queries = self.grouped_features(query.to(dtype), sums)
        visible = new.visible.repeat(1, 1, query.shape[1] // keys.shape[1], 1)
        among = (queries @ keys.transpose(2, 3)).masked_fill_(~visible, 0.0)
        self._add(keys, values, memory, new)
        return self._divided(queries @ sums + among @ values, query.shape[1], dtype)

    def absorb(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, tokens: NewTokens) -> None:
        new, dtype = NewPairs(self.stream.windows, tokens), key.dtype
        _, key, value = self.stream.many(query[:, :, :1], key, value, memory, new)
        self._add(*self._pairs(key.to(dtype), value, memory), memory, new)

    def _pairs(self, key: Tensor, value: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Phi of keys, and values with a column of ones."""
        sums = memory["sums"]
        return self.features(key, sums), pad(value.to(sums.dtype), (0, 1), value=1.0)

    def _add(self, keys: Tensor, values: Tensor, memory: Memory, new: NewPairs) -> None:
        """Sum the complete pairs up."""
        if new.kept is not None:
            keys = torch.where(new.kept[:, None, :, None], keys, 0.0)
        memory["sums"] = memory["sums"] + keys.transpose(2, 3) @ values

    def _divided(self, sums: Tensor, heads: int, dtype: torch.dtype) -> Tensor:
        out, total = sums[..., :-1], sums[..., -1:]
        if self.normalize:
            out = torch.where(total == 0, 0.0, out / torch.where(total == 0, 1.0, total))
        return self.by_query_heads(out, heads).to(dtype)
