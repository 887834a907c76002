"""Training pairs that every query forms of what it may attend: pools, filters and masks that differ by query."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from primaldual.kernels import statistics
from primaldual.kernels.layout import ceil_div
from primaldual.kernels.masks import Attendable
from primaldual.kernels.row_pools import (
    Arrangement,
    IndexedPools,
    Pools,
    Shares,
    anchored_shares,
    equal_shares,
)
from primaldual.kernels.row_scores import Filter, FormedPairs
from primaldual.primal.training_sets import OWN, Kind, TrainingSet

PositionWeights = Callable[[slice, Tensor], Tensor]
FormPools = Callable[[Tensor, Tensor | None], IndexedPools]


@dataclass(frozen=True)
class RowPairs(TrainingSet):
    """Pairs of every query: means over pools of the keys that it may attend, and a filter over these.

    Attributes:
        windows: which pair each position belongs to, and the order of keys and values; None = each is one by itself,
            unless ``form_pools`` is there.
        form_pools: gives the pools of some queries from what they may attend, bool (batch or 1, heads or 1, R, N), and
            ``anchor``.
        anchor: s_j of anchored pools, (batch, heads, 1, N); None = equal shares.
        weighted: log n is added to the score of a pool of n members.
        taps: a filter over the pairs; None = none.
        omitted: bool (batch or 1, heads or 1, Nq, Nt), pairs that a query leaves out; None = none.
        position_weights: log of what each position counts, of some queries and like a tensor; None = 1.
        added: the same of the queries of this set, (batch or 1, heads or 1, Nq, N).
        reach: how far from a query its keys are at most; None = any distance.
        shift: a vector that was taken off all keys, (batch, heads, 1, D); None = none was.
        unshifted: the keys before that.
        cut: whether blocks of queries leave out keys that none of them reaches, and other sequences; a transform that
            holds numbers of every position needs all of them.
    """

    windows: Arrangement | None = field(default=None, kw_only=True)
    form_pools: FormPools | None = field(default=None, kw_only=True)
    anchor: Tensor | None = field(default=None, kw_only=True)
    weighted: bool = field(default=False, kw_only=True)
    taps: Filter | None = field(default=None, kw_only=True)
    omitted: Tensor | None = field(default=None, kw_only=True)
    position_weights: PositionWeights | None = field(default=None, kw_only=True)
    added: Tensor | None = field(default=None, kw_only=True)
    reach: int | None = field(default=None, kw_only=True)
    shift: Tensor | None = field(default=None, kw_only=True)
    unshifted: Tensor | None = field(default=None, kw_only=True)
    cut: bool = field(default=True, kw_only=True)

    @property
    def kind(self) -> Kind:
        return Kind(OWN, pooled_late=True)

    @property
    def size(self) -> int:
        """Most members of a pair."""
        return 1 if self.windows is None else self.windows.pools.size

    @property
    def count(self) -> int:
        """Nt."""
        return self.key.shape[2] // self.size

    @property
    def length(self) -> int:
        """N."""
        return self.key.shape[2] if self.windows is None else self.windows.length

    def anchored(self, scores: Tensor) -> Self:
        """The same with pools by shares exp(s_j), see ``weighted_pooling.anchored_pool``; scores (batch, heads, N, 1)."""
        return replace(self, anchor=self._arranged(scores.transpose(-2, -1)))

    def pooled(self, windows: Arrangement) -> Self:
        """The same with windows of positions for pairs."""
        key, value = (windows.arranged(each, -2) for each in (self.key, self.value))
        return replace(self, key=key, value=value, windows=windows)

    def to(self, dtype: torch.dtype) -> Self:
        if self.unshifted is None or self.shift is None:
            key = self.key.to(dtype)
        else:
            key = self.unshifted.to(dtype) - self.shift.to(dtype)
        return replace(self, key=key, value=self.value.to(dtype))

    def uncut(self) -> Self:
        """The same, with all keys of all sequences in every block of queries."""
        return replace(self, cut=False)

    def weighted_by(self, position_weights: PositionWeights) -> Self:
        """The same with positions that count differently from query to query."""
        return replace(self, position_weights=position_weights)

    def centre(self) -> Tensor:
        """The mean of the keys that some query may attend by the mask of all, (batch, heads, 1, D), without gradient."""
        keys = self.attendable.keys
        return statistics.centre(self.key.detach(), None if keys is None else self._arranged(keys))[0]

    def less(self, vector: Tensor) -> Self:
        """The same with a vector (batch, heads, 1, D) taken off all keys, unless a filter is still to come."""
        if self.taps is not None:
            return self
        return replace(self, key=self.key - vector, shift=vector, unshifted=self.key)

    def of_sequences(self, batch: slice) -> Self:
        """The pairs of some sequences."""

        def pick(tensor: Tensor | None) -> Tensor | None:
            return tensor if tensor is None or tensor.shape[0] == 1 else tensor[batch]

        def position_weights(rows: slice, like: Tensor) -> Tensor:
            assert self.position_weights is not None
            found = self.position_weights(rows, like)
            return found if found.shape[0] == 1 else found[batch]

        return replace(
            self,
            key=self.key[batch],
            value=self.value[batch],
            shift=pick(self.shift),
            unshifted=pick(self.unshifted),
            attendable=self.attendable.of_sequences(batch),
            anchor=pick(self.anchor),
            omitted=pick(self.omitted),
            position_weights=self.position_weights and position_weights,
        )

    def of_rows(self, rows: slice) -> Self:
        """The pairs of some consecutive queries, without those that are out of their reach."""
        allowed = self.attendable.rows(rows, self.query_length, self.length, self.key.device)
        added = None if self.position_weights is None else self.position_weights(rows, self.key)
        block = replace(
            self,
            query_length=rows.stop - rows.start,
            attendable=Attendable(pairs=self._arranged(allowed)),
            added=None if added is None else self._arranged(added),
            omitted=None if self.omitted is None else _rows(self.omitted, rows),
        )
        if not self.cut:
            return block
        before = self.length - self.query_length
        reach = self.length + self.query_length if self.reach is None else self.reach
        first = max(0, rows.start + before - reach)
        end = before + rows.stop + (0 if self.attendable.is_causal else reach)
        return block._between(min(first, self.length - 1), max(1, min(end, self.length)))

    def picked(self, rows: Tensor) -> Self:
        """The pairs of some queries, given by number, of a set from :meth:`of_rows`."""

        def pick(tensor: Tensor | None) -> Tensor | None:
            return tensor if tensor is None or tensor.shape[2] == 1 else tensor.index_select(2, rows)

        return replace(
            self,
            query_length=len(rows),
            attendable=Attendable(pairs=pick(self.attendable.pairs)),
            added=pick(self.added),
            omitted=pick(self.omitted),
        )

    def formed(self) -> FormedPairs:
        """The pairs of a set from :meth:`of_rows` as operations on scores and weights."""
        allowed = self.attendable.pairs
        assert allowed is not None
        pools: Pools | None = self.windows and self.windows.pools
        if self.form_pools is not None:
            pools = self.form_pools(allowed, self.anchor)
        shares = self._shares(allowed, pools)
        if self.omitted is not None:
            assert pools is not None
            assert shares.scale is not None
            shares = shares._replace(valid=shares.valid & ~self.omitted, scale=shares.scale * ~self.omitted)
        if (added := self.added) is not None:
            if pools is None:
                shares = shares._replace(log_weight=added)
            else:
                own = shares.offset
                shares = shares._replace(offset=-added if own is None else own - added)
        return FormedPairs(self.key, self.value, shares, pools, self.taps)

    def _shares(self, allowed: Tensor, pools: Pools | None) -> Shares:
        """What each position counts in its pair."""
        if pools is None:
            return Shares(allowed, allowed, None)
        if self.anchor is not None:
            return anchored_shares(pools, allowed, self.anchor.to(self.key.dtype))
        return equal_shares(pools, allowed, self.key.dtype, self.weighted)

    def _arranged(self, tensor: Tensor) -> Tensor:
        """(..., N) as keys lie."""
        return tensor if self.windows is None else self.windows.arranged(tensor, -1)

    def _between(self, first: int, end: int) -> Self:
        """The set without pairs that have no member up to a position, and single keys before another one."""
        pairs = end if self.windows is None else self.windows.begun(end)
        if self.taps is not None and self.taps.layout.grid is not None:  # whole rows
            front, columns = self.taps.layout.prefix, self.taps.layout.grid[1]
            pairs = min(self.count, front + ceil_div(max(pairs - front, 0), columns) * columns)
        first = first if self.windows is None and self.taps is None else 0
        if (first, pairs) == (0, self.count):
            return self

        def cut(tensor: Tensor, dim: int = 3) -> Tensor:
            parts = tensor.unflatten(dim, (self.size, -1))
            return parts.narrow(dim + 1, first, pairs - first).flatten(dim, dim + 1)

        return replace(
            self,
            key=cut(self.key, 2),
            value=cut(self.value, 2),
            unshifted=None if self.unshifted is None else cut(self.unshifted, 2),
            attendable=Attendable(pairs=None if (seen := self.attendable.pairs) is None else cut(seen)),
            anchor=None if self.anchor is None else cut(self.anchor),
            added=None if self.added is None else cut(self.added),
            omitted=None if self.omitted is None else self.omitted[..., first:pairs],
        )


def _rows(mask: Tensor, rows: slice) -> Tensor:
    return mask if mask.shape[2] == 1 else mask[:, :, rows]
