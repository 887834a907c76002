"""A problem made to fit a layer: its heads, how its positions lie, the scale of its scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy

from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.integrations.pruning import pruned_problem
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
    """A copy of a problem bound to a layer's heads, or to some of them beside what the others have now.

    Raises:
        ArgumentError: heads that the layer does not have, or scales that do not match.
        UnsupportedError: a layer with another scale of scores, and a kernel that has none.
    """
    if heads is None:
        return fit(problem, site, site.heads, layout)
    members = _members(heads, site.heads)
    if len(members) == site.heads:
        return fit(problem, site, site.heads, layout)
    rest = [head for head in range(site.heads) if head not in members]
    present = fit(PrimalProblem(), site, site.heads) if site.problem is None else site.problem
    kept = pruned_problem(present, rest, site.heads)
    groups = [(fit(problem, site, len(members), layout), members)]
    if isinstance(kept, HeadGroups):
        groups += [(part, [rest[place] for place in places]) for part, places in kept.problems()]
    else:
        groups.append((kept, rest))
    return HeadGroups(groups)


def _members(heads: Sequence[int], count: int) -> list[int]:
    """Numbers of heads, each once and in order."""
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
    """A copy bound to so many heads of a layer.

    What the problem itself says of positions and of the scale of scores stands; else the layer's is taken.
    """
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
        if copy.feature_map.scale is None:
            copy.feature_map = Exponential(scale=scale)
    return copy.bind(heads, site.head_dim)
