"""No transform, computed from keys that lie around 0."""

from __future__ import annotations

from torch import Tensor

from primaldual.kernels.statistics import seen_centre
from primaldual.primal.choices import Choices
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.training_sets import ALL, Kind, TrainingSet
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

    def scores_refusal(self, kind: Kind) -> str | None:
        return "a vector is taken off the keys, which their own scores do not show"

    def into_query(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        del heads
        key, shared = training.key, training.key.shape[2]
        if training.kind.seen != ALL:
            shared = max(training.first + shared - training.query_length, 1)
        centre = seen_centre(key, training.attendable.keys, shared)
        return query, training.with_keys(key - centre.to(key.dtype))


def recentred(choices: Choices, heads: int, head_dim: int) -> Choices:
    """The same attention by forms that keep keys around 0, where its weights allow and every query is served by few.

    Args:
        choices: of an attention.
        heads: query heads.
        head_dim: D.
    """
    alike = all(choices.subset.means_of_windows(one) for one in choices.subset.head_sets(heads))
    softmax = choices.untransformed and choices.softmax_scale(head_dim) is not None
    return choices._replace(transform=Recentred()) if alike and softmax else choices
