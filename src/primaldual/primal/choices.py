"""The four choices that make a primal problem."""

from __future__ import annotations

from typing import NamedTuple

from primaldual.primal.feature_maps import FeatureMap
from primaldual.primal.normalizers import Normalizer
from primaldual.primal.subsets import Subset
from primaldual.primal.transforms import Transform


class Choices(NamedTuple):
    """The parts of a problem, in the order of a spec."""

    feature_map: FeatureMap
    normalizer: Normalizer
    transform: Transform
    subset: Subset

    def spec(self) -> str:
        """The problem as a spec."""
        return "+".join(filter(None, (part.spec() for part in self))) or "softmax"

    def softmax_scale(self, head_dim: int) -> float | None:
        """The factor on the scores where the attention is a softmax of them, else None."""
        return self.feature_map.score_scale(head_dim) if self.normalizer.cancels_query_factors else None
