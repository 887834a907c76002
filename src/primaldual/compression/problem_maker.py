"""The attention of a compressed layer from a spec with a place for its scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from primaldual.compression.anchors import set_anchors
from primaldual.errors import SpecError
from primaldual.integrations.attention_sites import AttentionSite
from primaldual.integrations.fitted_problem import fit
from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem


class ProblemMaker:
    """Problems of a template for layers, with anchors where the data's queries are.

    Attributes:
        min_length: sequences of fewer keys are left unpooled where the attention can; 0 = none.
        leaves_short: whether the problems made so can.
    """

    def __init__(self, attention: str, model: nn.Module, queries: Mapping[str, Tensor]) -> None:
        if not isinstance(attention, str) or attention.count("...") != 1:
            raise SpecError(
                f'attention must be a spec with three dots in place of the scales, such as "sh(...)"; got {attention!r}'
            )
        self.attention = attention
        self.like = next(model.parameters())
        self.queries = queries
        self.min_length = 0
        self.leaves_short = False

    def __call__(self, site: AttentionSite, scales: Sequence[int]) -> PrimalProblem:
        problem = fit(preset(self.attention.replace("...", ",".join(map(str, scales)))), site, site.heads)
        set_anchors(problem, self.queries[site.path])
        if self.min_length:
            self.leaves_short = problem.subset.pool_from(self.min_length)
        return problem.to(device=self.like.device, dtype=self.like.dtype).eval()
