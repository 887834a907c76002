"""Fit a problem to a layer: to its heads, the layout of its positions and the scale of its scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy

from primaldual.errors import ArgumentError
from primaldual.integrations.attention_sites import AttentionSite
from primaldual.integrations.pruning import pruned_problem
from primaldual.kernels.layout import SEQUENCE, Layout
from primaldual.primal.attention import Attention
from primaldual.primal.head_groups import joined
from primaldual.primal.problem import PrimalProblem


def fitted_problem(
    site: AttentionSite,
    problem: PrimalProblem,
    heads: Sequence[int] | None = None,
    layout: Layout | None = None,
) -> Attention:
    """A copy of a problem bound to a layer's heads, or to some of them beside what the others have now.

    Raises:
        ArgumentError: heads that the layer does not have, or scales that do not match.
        UnsupportedError: the layer scales its scores in its own way, and the kernel is not exponential.
    """
    if heads is None:
        return fit(problem, site, site.heads, layout)
    members = _members(heads, site.heads)
    if len(members) == site.heads:
        return fit(problem, site, site.heads, layout)
    rest = [head for head in range(site.heads) if head not in members]
    present = fit(PrimalProblem(), site, site.heads) if site.problem is None else site.problem
    kept = pruned_problem(present, rest, site.heads)
    others = [(part, [rest[place] for place in places]) for part, places in kept.problems(len(rest))]
    return joined([(fit(problem, site, len(members), layout), members), *others])


def _members(heads: Sequence[int], count: int) -> list[int]:
    """The numbers of the heads, sorted, without repetitions."""
    try:
        members = sorted(set(heads))
        whole = all(isinstance(head, int) and not isinstance(head, bool) for head in members)
    except TypeError:
        whole, members = False, []
    if not whole or not members or members[0] < 0 or members[-1] >= count:
        shown = list(heads) if isinstance(heads, Iterable) else heads
        raise ArgumentError(f"heads must be a list of some of the heads 0 to {count - 1}; got {shown!r}")
    return members


def fit(
    problem: PrimalProblem, site: AttentionSite, heads: int, layout: Layout | None = None
) -> PrimalProblem:
    """A copy of a problem, bound to a number of a layer's heads.

    A layout or a scale of scores that the problem states itself takes precedence over the layer's.
    """
    copy = deepcopy(problem)
    where = site.layout if layout is None else layout
    if copy.subset.layout == SEQUENCE:
        copy.subset.lay_out(where)
    scale = site.score_scale
    if scale is not None:
        copy.feature_map = copy.feature_map.rescaled(scale)
    return copy.bind(heads, site.head_dim)
