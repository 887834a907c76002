"""A problem made to fit a layer: its heads, how its positions lie, the scale of its scores."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.integrations.sites import Attending, AttentionSite
from primaldual.kernels.layout import SEQUENCE, Layout
from primaldual.primal.feature_maps import Exponential
from primaldual.primal.head_groups import HeadGroups
from primaldual.primal.problem import PrimalProblem


def fitted_problem(
    site: AttentionSite,
    problem: PrimalProblem,
    heads: Sequence[int] | None = None,
    layout: Layout | None = None,
) -> Attending:
    """A copy of a problem bound to a layer's heads, or to some of them beside softmax or what they have now.

    Raises:
        ArgumentError: heads that the layer does not have, or scales that do not match.
        UnsupportedError: a layer with another scale of scores, and a kernel that has none.
    """
    if heads is None or sorted(set(heads)) == list(range(site.heads)):
        return fit(problem, site, site.heads, layout)
    members = sorted(set(heads))
    if not members or members[0] < 0 or members[-1] >= site.heads:
        raise ArgumentError(f"heads must be among 0 to {site.heads - 1}; got {list(heads)}")
    groups = [(fit(problem, site, len(members), layout), members)]
    rest = [head for head in range(site.heads) if head not in members]
    present = site.problem
    if present is None:
        groups.append((fit(PrimalProblem(), site, len(rest), layout), rest))
    elif isinstance(present, HeadGroups) or present.subset.head_scales(site.heads) != (1,) * site.heads:
        raise UnsupportedError("heads of a layer whose heads differ already; revert it first")
    else:
        groups.append((deepcopy(present), rest))
    return HeadGroups(groups)


def fit(
    problem: PrimalProblem, site: AttentionSite, heads: int, layout: Layout | None = None
) -> PrimalProblem:
    """A copy bound to so many heads of a layer."""
    copy = deepcopy(problem)
    where = site.layout if layout is None else layout
    if copy.subset.layout == SEQUENCE:
        copy.subset.lay_out(where)
    scale = site.score_scale
    if scale is not None:
        if not isinstance(copy.feature_map, Exponential):
            raise UnsupportedError(
                f"scores with a scale of {scale:g} need the exponential kernel; got {problem.spec()!r}"
            )
        copy.feature_map = Exponential(scale=scale)
    return copy.bind(heads, site.head_dim)
