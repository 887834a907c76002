"""Sums over batches of what is seen of the heads of every layer."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.analysis.attention_maps import LayerMaps, inside, pairwise_distances
from primaldual.analysis.head_outputs import OutputLikeness
from primaldual.integrations.attention_hooks import AttentionCall
from primaldual.integrations.attention_sites import AttentionSite


class HeadSums:
    """Entropy, distances and likeness of the heads of some layers, batch by batch; the means by the layer's path.

    Called with what :func:`primaldual.integrations.attention_hooks.watching` shows, and :meth:`take` with the maps.
    """

    def __init__(self, sites: list[AttentionSite]) -> None:
        self._entropy = {site.path: torch.zeros(site.heads, dtype=torch.float64) for site in sites}
        self._distances = {
            site.path: torch.zeros(site.heads, site.heads, dtype=torch.float64) for site in sites
        }
        self._likeness = {site.path: OutputLikeness() for site in sites}
        self.cases = dict.fromkeys(self._entropy, 0)

    def take(self, maps: LayerMaps) -> None:
        """Take in the maps of a layer."""
        self.cases[maps.name] += len(maps.weights)
        self._entropy[maps.name] += entropy(maps).sum(0).cpu()
        self._distances[maps.name] += pairwise_distances(maps).sum(0).cpu()

    def __call__(self, seen: AttentionCall) -> None:
        self._likeness[seen.site.path].add(seen.outputs, seen.real_queries())

    def entropy(self, path: str) -> Tensor:
        """Mean over cases, (heads,)."""
        return self._entropy[path] / max(self.cases[path], 1)

    def distances(self, path: str) -> Tensor:
        """Mean over cases, (heads, heads)."""
        return self._distances[path] / max(self.cases[path], 1)

    def likeness(self, path: str) -> Tensor:
        """(heads, heads)."""
        return self._likeness[path].value()


def entropy(maps: LayerMaps) -> Tensor:
    """Entropy of the weights over the log of the number of keys: (batch, heads), mean over queries that have keys.

    Of a head with a sink, of the weights over their sum. NaN where weights are not shares: negative, or above 1 together.

    Example:
        >>> weights = torch.tensor([[[[1.0, 0.0], [0.5, 0.5]]]])
        >>> entropy(LayerMaps("layer", weights, torch.ones(1, 2, dtype=torch.bool)))
        tensor([[0.5000]], dtype=torch.float64)
    """
    weights = inside(maps)
    total = weights.sum(-1)
    rows = total > 0
    proper = bool((weights >= 0).all() and (total < 1 + 1e-3).all())
    if not proper:
        return torch.full(weights.shape[:2], torch.nan, dtype=torch.float64, device=weights.device)
    keys = (weights > 0).sum(-1).clamp(min=2)
    shares = weights / torch.where(rows, total, 1.0).unsqueeze(-1)
    spread = torch.special.entr(shares).sum(-1) / keys.double().log()
    return (spread * rows).sum(-1) / rows.sum(-1).clamp(min=1)
