"""What the scales of heads cost, as shares of what the attention of the original costs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from primaldual.compression.sensitivity import Sensitivity
from primaldual.integrations.attention_sites import AttentionSite

Scales = Mapping[str, Sequence[int]]


class Costs(ABC):
    """What to spend a budget on.

    Attributes:
        unit: what is counted, in words.
        where: the circumstances, for messages.
        advice: what to try where no choice costs less than the original, for messages.
        shares: what every scale of every head costs, over the original's cost of all heads, (rows, columns).
    """

    unit: ClassVar[str]
    where: str = ""
    advice: ClassVar[str] = ""
    shares: Tensor

    @abstractmethod
    def of(self, scales: Scales) -> float:
        """What these scales cost together, over the original."""


class Operations(Costs):
    """Scores computed: pairs of a query and a training pair."""

    unit = "attention work"

    def __init__(self, found: Sensitivity, sites: Sequence[AttentionSite]) -> None:
        self.found, self.sites = found, sites
        self.shares = found.works / found.whole

    def of(self, scales: Scales) -> float:
        return work_of(self.found, self.sites, scales)


def work_of(found: Sensitivity, sites: Sequence[AttentionSite], scales: Scales) -> float:
    """Scores computed with these scales, over those with none."""
    total = sum(
        float(found.works[row, found.scales.index(scales[sites[layer].path][head])])
        for row, (layer, head) in enumerate(found.heads)
    )
    return total / found.whole
