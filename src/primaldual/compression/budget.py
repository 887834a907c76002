"""Scales of all heads that a budget allows."""

from __future__ import annotations

from collections.abc import Sequence

from primaldual.compression.choice import choose
from primaldual.compression.costs import Costs
from primaldual.compression.sensitivity import Sensitivity
from primaldual.errors import ArgumentError
from primaldual.integrations.attention_sites import AttentionSite

ATTEMPTS = 5
"""How often scales are chosen anew where heads together cost more than the sum of what they cost alone."""


def choose_scales(
    found: Sensitivity, sites: Sequence[AttentionSite], costs: Costs, budget: float
) -> dict[str, tuple[int, ...]]:
    """For every layer the scales of its heads: the least total loss at a share of the costs.

    Raises:
        ArgumentError: a budget below the cheapest choice.
    """
    options = choose(found.losses.tolist(), costs.shares.tolist(), budget)
    chosen: dict[str, tuple[int, ...]] = {site.path: () for site in sites}
    for (layer, _), option in zip(found.heads, options, strict=True):
        chosen[sites[layer].path] += (found.scales[option],)
    return chosen


def choose_within(
    found: Sensitivity, sites: Sequence[AttentionSite], costs: Costs, budget: float
) -> tuple[dict[str, tuple[int, ...]], float]:
    """The same, such that all heads together keep the budget, and the share of the costs that they take.

    Raises:
        ArgumentError: a budget that no choice was found to keep.
    """
    least, level = cheapest(costs), budget
    shares: list[float] = []
    while level >= least * (1 - 1e-12) and len(shares) < ATTEMPTS:
        chosen = choose_scales(found, sites, costs, level)
        shares.append(costs.of(chosen))
        if shares[-1] <= budget * (1 + 1e-5):
            return chosen, shares[-1]
        level *= 0.99 * budget / shares[-1]
    lowest = min([least, *shares])
    raise ArgumentError(
        f"budget must allow the cheapest choice, which takes {lowest:.3g} of the original's {costs.unit}"
        f"{costs.where}; got {budget:.4g}{costs.advice if lowest >= 1 else ''}"
    )


def cheapest(costs: Costs) -> float:
    """What the cheapest scale of every head costs, over the original."""
    return float(costs.shares.min(1).values.sum())
