"""Where the pooled pairs of every head are to be exact: at the mean of its queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from primaldual.integrations.attention_hooks import AttentionCall, call, watching
from primaldual.integrations.attention_sites import AttentionSite
from primaldual.primal.problem import PrimalProblem


@torch.no_grad()
def mean_queries(model: nn.Module, sites: Sequence[AttentionSite], data: Sequence[Any]) -> dict[str, Tensor]:
    """The mean query of every head over all tokens of the data, by the layer's path: (heads, head_dim)."""
    sums = {site.path: torch.zeros(site.heads, site.head_dim, dtype=torch.float64) for site in sites}
    counts = dict.fromkeys(sums, 0.0)

    def look(seen: AttentionCall) -> None:
        query, rows = seen.query, seen.real_queries()
        real = query.new_ones(query.shape[0], query.shape[2], dtype=torch.bool) if rows is None else rows
        sums[seen.site.path] += torch.where(real[:, None, :, None], query, 0.0).double().sum((0, 2)).cpu()
        counts[seen.site.path] += float(real.sum())

    with watching(sites, look):
        for batch in data:
            call(model, batch)
    return {path: total / max(counts[path], 1.0) for path, total in sums.items()}


@torch.no_grad()
def set_anchors(problem: PrimalProblem, mean_query: Tensor) -> None:
    """Set the anchors of a problem's pooled heads, if it has them, to the scores' slope at a query."""
    scale = problem.feature_map.score_scale(mean_query.shape[-1])
    if scale is not None:
        problem.subset.anchor_at(mean_query * scale)
