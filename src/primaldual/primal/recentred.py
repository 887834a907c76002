"""No transform, computed from keys that lie around 0."""

from __future__ import annotations

from torch import Tensor

from primaldual.kernels.statistics import seen_centre
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.training_sets import ALL, TrainingSet
from primaldual.primal.transforms import Identity


class Recentred(Identity):
    """T(x) = x, where forms of a softmax take one vector off all keys, which changes no weight.

    The gradient of a query is sum_j dS_j k_j with sum_j dS_j = 0. Kernels keep that sum to a rounding of its terms, which
    a vector that all keys have in common multiplies. Causal queries are taken in blocks that share such a vector, the
    first ones in float64, as :func:`primaldual.kernels.statistics.row_blocks` says.
    """

    uses_statistics = True

    @property
    def keeps_queries(self) -> bool:
        return False

    def into_query(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        del heads
        key, shared = training.key, training.key.shape[2]
        if training.kind.seen != ALL:
            shared = max(training.first + shared - training.query_length, 1)
        centre = seen_centre(key, training.attendable.keys, shared)
        return query, training.with_keys(key - centre.to(key.dtype))
