"""Which keys still have a weight where c_i - c_j is added to scores: what is provably nothing need not be computed."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from primaldual.kernels.statistics import accumulation_dtype

FEW_QUERIES = 8
"""Queries for which it takes longer to find what may be left out than to compute it."""


@dataclass(frozen=True)
class DecayReach:
    """Keys whose weight beside that of the query's nearest key is above the cube of the type's rounding unit u.

    The nearest key n of query i is the one with the least c among those that it may attend. As scores s_ij are at most
    scale |q_i| max |k|, and u^3 is 1.7e-21 in float32, a key may be left out where

        c_j > c_n + room,   room = max_i (scale |q_i| max_j |k_j| - s_in) - 3 log u

    Attributes:
        key: (batch, heads, Nk, D).
        sums: c, (1 or batch, heads, Nk), float64.
        scale: factor on the scores.
        key_mask: bool (batch or 1, heads or 1, 1, Nk), or None.
    """

    key: Tensor
    sums: Tensor
    scale: float
    key_mask: Tensor | None

    def room(self, query: Tensor, own: slice, heads: slice) -> Tensor | None:
        """The room of queries of some heads at the positions ``own``, (batch, heads, 1); None = nothing is left out."""
        least = -3 * math.log(torch.finfo(accumulation_dtype(query.dtype)).eps)
        if query.shape[2] < FEW_QUERIES or not self._span > least:  # NaN too
            return None
        highest = self.scale * query.norm(dim=-1) * self._largest_key[:, heads]
        score = self.scale * (query * self.key[:, heads, own]).sum(-1)
        is_nearest = self.sums[:, heads, own] == self.least[:, heads, own]
        spread = highest - torch.where(is_nearest, score, -highest)
        return spread.amax(-1, keepdim=True).to(self.sums.dtype) + least

    def begins(self, room: Tensor | None, first: int, heads: slice, step: int) -> list[int]:
        """For each of these heads the first key that queries from position ``first`` on need, in whole steps."""
        if first < step or room is None:
            return [0] * (heads.stop - heads.start)
        near = self.sums[:, heads, :first] <= self.least[:, heads, first, None] + room
        begins = torch.where(near.any(-1), near.to(torch.uint8).argmax(-1), first).amin(0)
        found: list[int] = (begins // step * step).tolist()
        return found

    @cached_property
    def least(self) -> Tensor:
        """c of the nearest key of each position, (batch or 1, heads, Nk); infinite before the first."""
        sums = self.sums
        if self.key_mask is not None:
            sums = sums.where(self.key_mask.squeeze(-2), torch.inf)
        return sums.cummin(-1).values

    @cached_property
    def _span(self) -> float:
        """How much c varies at most in a head of a sequence."""
        return float((self.sums.amax(-1) - self.sums.amin(-1)).max())

    @cached_property
    def _largest_key(self) -> Tensor:
        """The largest norm of a key, (batch, heads, 1)."""
        return self.key.norm(dim=-1).amax(-1, keepdim=True)
