"""Attentions as numbers and words, for JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from primaldual.errors import CheckpointError, PrimalDualError
from primaldual.kernels.layout import SEQUENCE, Layout
from primaldual.primal.attention import Attention
from primaldual.primal.head_groups import joined
from primaldual.primal.presets import faithful_spec, preset
from primaldual.primal.problem import PrimalProblem

Description = dict[str, Any]
"""A spec and a layout; or groups of these, each with its heads; or the reason why there is no spec."""


def described(attention: Attention, heads: int) -> Description:
    """An attention of ``heads`` query heads as numbers and words, for JSON."""
    groups = [
        {**_described(problem), "heads": list(members)} for problem, members in attention.problems(heads)
    ]
    if len(groups) > 1:
        return {"groups": groups}
    return {name: value for name, value in groups[0].items() if name != "heads"}


def rebuilt(description: Description, heads: int, head_dim: int) -> Attention:
    """The attention that :func:`described` describes, with freshly initialised parameters.

    Raises:
        CheckpointError: an invalid description, or one of a problem without a spec.
    """
    try:
        if "groups" in description:
            groups = description["groups"]
            return joined(
                (_rebuilt(group, len(group["heads"]), head_dim), group["heads"]) for group in groups
            )
        return _rebuilt(description, heads, head_dim)
    except CheckpointError:
        raise
    except (PrimalDualError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"a layer's attention is described as {description!r}, which cannot be read: {error}"
        ) from None


def _described(problem: PrimalProblem) -> Description:
    try:
        found: Description = {"attention": faithful_spec(problem)}
    except CheckpointError as error:
        return {"attention": None, "reason": str(error)}
    layout = problem.subset.layout
    if layout != SEQUENCE:
        found["layout"] = {**asdict(layout), "grid": layout.grid and list(layout.grid)}
    return found


def _rebuilt(description: Description, heads: int, head_dim: int) -> PrimalProblem:
    spec = description["attention"]
    if spec is None:
        raise CheckpointError(str(description.get("reason")))
    if not isinstance(spec, str):
        raise TypeError(f"attention must be a spec; got {spec!r}")
    problem = preset(spec)
    if layout := description.get("layout"):
        problem.subset.lay_out(Layout(**{**layout, "grid": layout["grid"] and tuple(layout["grid"])}))
    return problem.bind(heads, head_dim)
