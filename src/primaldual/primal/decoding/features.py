"""Factored attention to the pairs so far: sums over features, of a size that does not grow."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.primal.decoding.arrival import Arrival
from primaldual.primal.decoding.memory import Memory
from primaldual.primal.decoding.pairs import PairStream
from primaldual.primal.feature_maps import FeatureMap

MOST_FEATURES = 8192
"""Most features whose sums are kept; a cache of a few thousand keys is smaller than the sums of more."""


class FeatureSums:
    """out = Phi(T q) . S / Phi(T q) . z,  S = sum_j Phi(T k_j) v_j^T,  z = sum_j Phi(T k_j).

    Sums run over the complete pairs; the query's own pair joins them for the query alone while its
    window is not complete. S and z lie side by side, in float32 or wider.

    Args:
        pairs: what tokens become.
        feature_map: Phi, finite.
        normalize: divide by the sum of the kernels.
    """

    def __init__(self, pairs: PairStream, feature_map: FeatureMap, normalize: bool) -> None:
        self.pairs = pairs
        self.feature_map = feature_map
        self.normalize = normalize

    def places(self, length: int) -> int:
        """No token is cached."""
        del length
        return 0

    def start(self, key: Tensor, value: Tensor, capacity: int) -> Memory:
        """The memory of no tokens."""
        del capacity
        memory = self.pairs.start(key, value)
        count = self.feature_map.feature_count(key.shape[3])
        assert count is not None
        wide = torch.promote_types(value.dtype, torch.float32)
        memory["sums"] = value.new_zeros(*value.shape[:2], count, value.shape[3] + 1, dtype=wide)
        return memory

    def one(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, position: int) -> Tensor:
        """The output of the token at a position, above 0, of every row."""
        dtype = query.dtype
        query, key, value = self.pairs.one(query, key, value, memory, position)
        queries, keys, values = self._features(query.to(dtype), key.to(dtype), value, memory)
        sums = memory["sums"] + keys.transpose(2, 3) @ values
        if self.pairs.windows.closes(position):
            memory["sums"] = sums
        return self._divided(queries @ sums, query.shape[1], dtype)

    def many(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, arrival: Arrival) -> Tensor:
        """The outputs of n tokens of every row."""
        new, dtype = self.pairs.windows.of(arrival), query.dtype
        query, key, value = self.pairs.many(query, key, value, memory, new)
        queries, keys, values = self._features(query.to(dtype), key.to(dtype), value, memory)
        visible = new.visible.repeat(1, 1, query.shape[1] // keys.shape[1], 1)
        among = (queries @ keys.transpose(2, 3)).masked_fill_(~visible, 0.0)
        out = self._divided(queries @ memory["sums"] + among @ values, query.shape[1], dtype)
        if new.kept is not None:
            keys = torch.where(new.kept[:, None, :, None], keys, 0.0)
        memory["sums"] = memory["sums"] + keys.transpose(2, 3) @ values
        return out

    def absorb(self, key: Tensor, value: Tensor, memory: Memory, arrival: Arrival) -> None:
        """Take in n first tokens without attending."""
        new, dtype = self.pairs.windows.of(arrival), key.dtype
        no_query = key.new_zeros(key.shape[0], self.pairs.query_heads, 1, key.shape[3])
        query, key, value = self.pairs.many(no_query, key, value, memory, new)
        _, keys, values = self._features(query, key.to(dtype), value, memory)
        if new.kept is not None:
            keys = torch.where(new.kept[:, None, :, None], keys, 0.0)
        memory["sums"] = memory["sums"] + keys.transpose(2, 3) @ values

    def _features(
        self, query: Tensor, key: Tensor, value: Tensor, memory: Memory
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Phi of queries (batch, kv heads, group * n, F) and of keys, and values with a column of ones."""
        wide = memory["sums"].dtype
        queries, keys = self.feature_map.features(query), self.feature_map.features(key)
        assert queries is not None
        assert keys is not None
        queries = torch.unflatten(queries, 1, (keys.shape[1], -1)).flatten(2, 3)
        return queries.to(wide), keys.to(wide), pad(value.to(wide), (0, 1), value=1.0)

    def _divided(self, sums: Tensor, heads: int, dtype: torch.dtype) -> Tensor:
        out, total = sums[..., :-1], sums[..., -1:]
        if self.normalize:
            out = torch.where(total == 0, 0.0, out / torch.where(total == 0, 1.0, total))
        return torch.unflatten(out, 2, (heads // sums.shape[1], -1)).flatten(1, 2).to(dtype)
