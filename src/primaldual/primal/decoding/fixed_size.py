"""Decoders by features, whose memory has one size however many tokens there are."""

from __future__ import annotations

from torch import Tensor

from primaldual.primal.decoding.decoder import Decoder
from primaldual.primal.decoding.memory import Memory
from primaldual.primal.feature_maps import FeatureMap


class FixedSizeDecoder(Decoder):
    """A decoder that keeps sums over features, and no token.

    Attributes:
        feature_map: Phi, finite.
    """

    feature_map: FeatureMap

    def filled(self, memory: Memory, lengths: list[int]) -> list[int]:
        return [0] * len(lengths)

    def features(self, inputs: Tensor, like: Tensor) -> Tensor:
        """Phi of (batch, heads, n, D), in the type of what is kept."""
        found = self.feature_map.features(inputs.to(like.dtype))
        assert found is not None
        return found

    def grouped_features(self, query: Tensor, like: Tensor) -> Tensor:
        """Phi of queries by the key heads of what is kept, (batch, kv heads, query heads of each * n, F)."""
        return self.features(query, like).unflatten(1, (like.shape[1], -1)).flatten(2, 3)

    def by_query_heads(self, grouped: Tensor, heads: int) -> Tensor:
        """What belongs to queries by key heads, (batch, heads, n, Dv)."""
        return grouped.unflatten(2, (heads // grouped.shape[1], -1)).flatten(1, 2)
