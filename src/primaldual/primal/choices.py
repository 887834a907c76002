"""The choices that make a primal problem."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from primaldual.kernels.layout import SEQUENCE, Layout
from primaldual.kernels.masks import Attendable
from primaldual.primal.composed_solvers import ComposedSolver
from primaldual.primal.feature_maps import FeatureMap
from primaldual.primal.normalizers import Normalizer
from primaldual.primal.orders import Order
from primaldual.primal.pair_weights import PairWeights
from primaldual.primal.solvers import Solver
from primaldual.primal.subsets import Subset
from primaldual.primal.token_inputs import Inputs, TokenInput, joined_needs
from primaldual.primal.transforms import Transform


class Choices(NamedTuple):
    """The parts of a problem, in the order of a spec."""

    feature_map: FeatureMap
    normalizer: Normalizer
    transform: Transform
    subset: Subset
    pair_weights: PairWeights
    solver: Solver
    order: Order

    def spec(self) -> str:
        """The problem as a spec."""
        return "+".join(filter(None, (part.spec() for part in self))) or "softmax"

    @property
    def untransformed(self) -> bool:
        """Whether the kernel gets queries and keys as they are."""
        return self.transform.keeps_queries and not self.transform.spec()

    @property
    def token_inputs(self) -> tuple[TokenInput, ...]:
        """What the parts need of every token beside query, key and value."""
        return joined_needs(self)

    def for_length(self, key_length: int) -> Choices:
        """Choices that give the same outputs in calls with this number of keys."""
        subset = self.subset.for_length(key_length)
        return self if subset is self.subset else self._replace(subset=subset)

    def with_inputs(self, inputs: Inputs) -> Choices:
        """The choices of one call, whose inputs per token are known."""
        transform = self.transform.with_inputs(inputs) if inputs else self.transform
        subset = self.subset.with_inputs(inputs) if inputs else self.subset
        if transform is self.transform and subset is self.subset:
            return self
        return self._replace(transform=transform, subset=subset)

    def of_call(self, query: Tensor, key: Tensor, attendable: Attendable) -> Choices:
        """The choices of one call, whose queries and keys are known."""
        return self._replace(subset=self.subset.of_call(query, key, attendable))

    def amortized(self) -> Choices:
        """The same choices with the values for coefficients."""
        return self if self.solver.amortized else self._replace(solver=Solver())

    @property
    def composed(self) -> ComposedSolver:
        """The solver, where it is composed of several attentions by the other choices."""
        assert isinstance(self.solver, ComposedSolver)
        return self.solver

    @property
    def layout(self) -> Layout:
        """How positions lie, as far as the parts say: the subset, or a transform over a grid."""
        grids = [step.layout for step in self.transform.steps() if step.layout.grid is not None]
        return grids[0] if self.subset.layout == SEQUENCE and grids else self.subset.layout

    def needs_layout(self, heads: int) -> bool:
        """Whether it matters how positions lie: to pooled pairs, and to transforms over neighbours."""
        return self.transform.neighbours or self.subset.pools(heads)

    def softmax_scale(self, head_dim: int) -> float | None:
        """The factor on the scores where the attention is a softmax of them, else None."""
        plain = (
            self.solver.amortized
            and self.normalizer.cancels_query_factors
            and not (self.normalizer.sink or self.pair_weights.uneven)
        )
        return self.feature_map.score_scale(head_dim) if plain else None
