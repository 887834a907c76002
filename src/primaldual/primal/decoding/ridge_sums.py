"""Ridge regression on features, token by token: its weights and the inverse of the second moments, of fixed size."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.kernels.prefix_ridge import extended
from primaldual.kernels.statistics import accumulation_dtype
from primaldual.primal.decoding.fixed_size import FixedSizeDecoder
from primaldual.primal.decoding.memory import Memory
from primaldual.primal.decoding.new_tokens import NewTokens
from primaldual.primal.decoding.pair_stream import PairStream
from primaldual.primal.decoding.windows import NewPairs
from primaldual.primal.feature_maps import FeatureMap


class RidgeSums(FixedSizeDecoder):
    """out = Phi(T q) W,  W = P sum_j Phi_j v_j',  P = (lambda I + sum_j Phi_j Phi_j')^-1, in float32 or wider.

    Args:
        stream: what tokens become; every token is a pair.
        feature_map: Phi, finite.
        penalty: lambda, above 0.
    """

    most = 64  # tokens attend to the new ones one by one, a square of products

    def __init__(self, stream: PairStream, feature_map: FeatureMap, penalty: float) -> None:
        self.stream = stream
        self.feature_map = feature_map
        self.penalty = penalty

    def start(self, query: Tensor, key: Tensor, value: Tensor, capacity: int) -> Memory:
        memory = self.stream.start(key, value)
        count = self.feature_map.feature_count(key.shape[3])
        assert count is not None
        wide = accumulation_dtype(value.dtype)
        identity = torch.eye(count, dtype=wide, device=value.device)
        memory["inverse"] = (identity / self.penalty).expand(*value.shape[:2], count, count).clone()
        memory["weights"] = value.new_zeros(*value.shape[:2], count, value.shape[3], dtype=wide)
        return memory

    def one(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, position: int) -> Tensor:
        dtype = query.dtype
        query, key, value = self.stream.one(query, key, value, memory, position)
        self._extend(key.to(dtype), value, memory)
        weights = memory["weights"]
        out = self.grouped_features(query.to(dtype), weights) @ weights
        return self.by_query_heads(out, query.shape[1]).to(dtype)

    def many(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, tokens: NewTokens) -> Tensor:
        new, dtype, weights = NewPairs(self.stream.windows, tokens), query.dtype, memory["weights"]
        query, key, value = self.stream.many(query, key, value, memory, new)
        moved, left = self._extend(key.to(dtype), value, memory, tokens.members)
        queries = self.grouped_features(query.to(dtype), weights)
        visible = new.visible.repeat(1, 1, query.shape[1] // key.shape[1], 1)
        among = (queries @ moved.mT).masked_fill_(~visible, 0.0)
        return self.by_query_heads(queries @ weights + among @ left, query.shape[1]).to(dtype)

    def absorb(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, tokens: NewTokens) -> None:
        new, dtype = NewPairs(self.stream.windows, tokens), key.dtype
        _, key, value = self.stream.many(query[:, :, :1], key, value, memory, new)
        starts = range(0, key.shape[2], self.most)
        for cut in (slice(start, start + self.most) for start in starts):
            members = None if tokens.members is None else tokens.members[:, cut]
            self._extend(key[:, :, cut].to(dtype), value[:, :, cut], memory, members)

    def _extend(
        self, key: Tensor, value: Tensor, memory: Memory, members: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Take in some tokens; what :func:`primaldual.kernels.prefix_ridge.extended` finds of them."""
        weights = memory["weights"]
        keys = self.features(key, weights)
        if members is not None:
            keys = torch.where(members[:, None, :, None], keys, 0.0)
        moved, left, *found = extended(keys, value.to(weights.dtype), memory["inverse"], weights)
        memory["inverse"], memory["weights"] = found
        return moved, left
