"""Keys and values of all processes where those of scaled heads travelled as means: pooled pairs, and nothing longer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from primaldual.kernels.statistics import accumulation_dtype
from primaldual.parallel.sequences import Sent, in_sequence
from primaldual.parallel.shards import Shards
from primaldual.parallel.window_shares import WindowShares
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.sources import TensorSource, pick


class SentPairs(NamedTuple):
    """Keys and values that travelled alike.

    Attributes:
        sent: how.
        own: keys and values of this process, (batch, kv heads, n, D) each.
        parts: of keys and of values, what every process sent.
    """

    sent: Sent
    own: tuple[Tensor, Tensor]
    parts: tuple[list[Tensor], list[Tensor]]


class PooledSource:
    """Keys and values of all positions, where not causal, for queries of this process.

    Args:
        groups: keys and values by how they travelled; every query head belongs to one.
        sharing: query heads for each key head.
        shards: how the sequence is split.
    """

    tensors = None

    def __init__(self, groups: Sequence[SentPairs], sharing: int, shards: Shards) -> None:
        self.groups = groups
        self.sharing = sharing
        self.shards = shards
        self.length = shards.total

    def take(self, heads: list[int]) -> tuple[Tensor, Tensor]:
        holders = [group for group in self.groups if not set(heads).isdisjoint(group.sent.heads)]
        order = self._order(holders, heads)

        def whole(which: int) -> Tensor:
            each = [
                in_sequence(group.sent, group.own[which], group.parts[which], self.shards)
                for group in holders
            ]
            return pick(torch.cat(each, 1), order).to(holders[0].own[which].dtype)

        return whole(0), whole(1)

    def pooled(self, heads: HeadSet, key_mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        (group,) = (group for group in self.groups if heads.members[0] in group.sent.heads)
        windows = group.sent.windows
        if windows is None:
            alone = HeadSet(list(range(len(heads.members))), heads.scale, heads.positions)
            return TensorSource(*self.take(heads.members), len(heads.members)).pooled(alone, key_mask)
        order, wide = self._order([group], heads.members), accumulation_dtype(group.own[0].dtype)
        shares = [WindowShares(windows, *span) for span in self.shards.spans]
        device = group.own[0].device
        number = torch.cat([torch.arange(each.first, each.first + each.count) for each in shares]).to(device)
        masks = [None if key_mask is None else key_mask[..., each.start : each.stop] for each in shares]
        counts = torch.cat(
            [each.members(mask, each.index(device), wide) for each, mask in zip(shares, masks, strict=True)],
            2,
        )
        last = shares[-1].first + shares[-1].count
        totals = counts.new_zeros(*counts.shape[:2], last, 1).index_add(2, number, counts)
        weights = counts / totals.index_select(2, number).clamp(min=1)

        def means(parts: list[Tensor]) -> Tensor:
            rows = pick(torch.cat(parts, 2), order).to(wide)
            weighted = rows * weights
            return weighted.new_zeros(*rows.shape[:2], last, rows.shape[3]).index_add(2, number, weighted)

        key, value = means(group.parts[0]), means(group.parts[1]).to(group.own[1].dtype)
        return key, value, None if key_mask is None else (totals > 0).transpose(-2, -1)

    def _order(self, holders: Sequence[SentPairs], heads: list[int]) -> list[int]:
        """Where the key head of each query head is among those of some groups; once where all that share one follow."""
        place: dict[int, int] = {}
        start = 0
        for group in holders:
            for head in group.sent.heads:
                place[head] = start + group.sent.kv_heads.index(head // self.sharing)
            start += len(group.sent.kv_heads)
        order = [place[head] for head in heads]
        once = order[:: self.sharing]
        return once if [number for number in once for _ in range(self.sharing)] == order else order
