"""Training pairs of several kinds beside one another, under one softmax."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from primaldual.kernels import statistics
from primaldual.kernels.flash import MergeableCall, runs_alone
from primaldual.kernels.masks import Attendable
from primaldual.kernels.merged import MergedCall, SinkCall, attention_of
from primaldual.kernels.row_scores import JoinedPairs, joined
from primaldual.kernels.statistics import KeyStatistics
from primaldual.primal.row_pairs import PositionWeights, RowPairs
from primaldual.primal.training_sets import OWN, Band, Kind, MaskedPairs, TrainingSet


@dataclass(frozen=True)
class JoinedSet(TrainingSet):
    """The pairs of several training sets: ``key`` and ``value`` hold those of each, one behind the other.

    Attributes:
        sets: each with its own masks.
        keys_seen: of the positions, how many each query has in some pair, broadcastable to (batch, heads, Nq, 1).
    """

    sets: tuple[TrainingSet, ...] = ()
    keys_seen: Tensor | None = None

    @classmethod
    def of(cls, sets: Sequence[TrainingSet], keys_seen: Tensor | None = None) -> Self:
        """The union of some sets; a pair that several of them hold counts once for each."""
        heads = max(each.key.shape[1] for each in sets)
        sets = [each.for_query_heads(heads) for each in sets]
        key, value = (joined([getattr(each, name) for each in sets], 2) for name in ("key", "value"))
        parts = (tensor.split([each.key.shape[2] for each in sets], 2) for tensor in (key, value))
        own = [
            replace(each, key=of_key, value=of_value)
            for each, of_key, of_value in zip(sets, *parts, strict=True)
        ]
        return cls(key, value, sets[0].query_length, Attendable(), sets=tuple(own), keys_seen=keys_seen)

    @property
    def kind(self) -> Kind:
        return Kind(OWN, any(each.kind.pooled_late for each in self.sets))

    def with_keys(self, key: Tensor) -> Self:
        parts = key.split([each.key.shape[2] for each in self.sets], 2)
        sets = (each.with_keys(part) for each, part in zip(self.sets, parts, strict=True))
        return replace(self, key=key, sets=tuple(sets))

    def to(self, dtype: torch.dtype) -> Self:
        return self.of([each.to(dtype) for each in self.sets], self.keys_seen)

    def for_query_heads(self, heads: int) -> Self:
        if heads == self.key.shape[1]:
            return self
        return self.of([each.for_query_heads(heads) for each in self.sets], self.keys_seen)

    def centred(self) -> tuple[Self, KeyStatistics]:
        first = self.sets[0]
        centre = statistics.centre(first.key, first.attendable.keys)[0].detach()
        moved = self.with_keys(self.key.to(centre.dtype) - centre)
        found = statistics.merged([each.centred()[1] for each in moved.sets])
        seen = found.seen
        if self.keys_seen is not None and seen is not None:  # pairs of one key alone are alike, however many
            seen = torch.where(self.keys_seen > 1, seen, self.keys_seen)
        return moved, KeyStatistics(found.mean + centre, found.variance, seen, centre)

    def softmax(self, query: Tensor, scale: float, dropout_p: float, sink: Tensor | None = None) -> Tensor:
        if dropout_p or not runs_alone(query, self.value) or not self._mergeable():
            return self.listed().softmax(query, scale, dropout_p, sink)
        moved = self.for_query_heads(query.shape[1])
        call: MergeableCall = MergedCall(tuple(each.mergeable_call(scale) for each in moved.sets))
        return attention_of(call if sink is None else SinkCall(call, sink), query)

    def _mergeable(self) -> bool:
        """Whether every set has a kernel of its own, and one of them gains by it; kernels take no learned weights."""
        length = self.query_length
        if any(each.log_weight is not None and each.log_weight.requires_grad for each in self.sets):
            return False
        bands = [each for each in self.sets if isinstance(each, Band)]
        rest = [each for each in self.sets if each.attendable.is_causal and not isinstance(each, Band)]
        return bool(bands) and all(each.key.shape[2] == length for each in (*bands, *rest))

    def listed(self) -> MaskedPairs:
        sets = [each.listed() for each in self.sets]
        masks, device = [], self.key.device
        for each in sets:
            masks.append(each.attendable.matrix(each.query_length, each.key.shape[2], device))
        weight = None
        if any(each.log_weight is not None for each in sets):
            weight = joined(
                [
                    self.key.new_zeros(1, 1, 1, each.key.shape[2])
                    if each.log_weight is None
                    else each.log_weight.to(self.key.dtype)
                    for each in sets
                ]
            )
        allowed = joined(masks)
        attendable = Attendable(keys=allowed) if allowed.shape[2] == 1 else Attendable(pairs=allowed)
        return MaskedPairs(self.key, self.value, self.query_length, attendable, log_weight=weight)

    def weighted_by(self, position_weights: PositionWeights) -> Self:
        """The same with positions that count differently from query to query, where sets are formed by queries."""
        return self._each(lambda each: each.weighted_by(position_weights))

    def less(self, vector: Tensor) -> Self:
        """The same with a vector (batch, heads, 1, D) taken off all keys."""
        return self._each(lambda each: each.less(vector))

    @property
    def shift(self) -> Tensor | None:
        """The vector that was taken off all keys."""
        return self._by_rows()[0].shift

    def centre(self) -> Tensor:
        """The mean of the keys of the first set."""
        return self._by_rows()[0].centre()

    def of_sequences(self, batch: slice) -> Self:
        """The pairs of some sequences, where every set is formed by queries."""
        return self._each(lambda each: each.of_sequences(batch))

    def of_rows(self, rows: slice) -> Self:
        """The pairs of some consecutive queries, likewise."""
        return self._each(lambda each: each.of_rows(rows))

    @property
    def cut(self) -> bool:
        """Whether blocks of queries leave out keys and sequences, see :class:`RowPairs`."""
        return all(each.cut for each in self._by_rows())

    def uncut(self) -> Self:
        """The same, with all keys of all sequences in every block of queries."""
        return self._each(lambda each: each.uncut())

    def picked(self, rows: Tensor) -> Self:
        """The pairs of some queries, given by number, of a set from :meth:`of_rows`."""
        return self._each(lambda each: each.picked(rows))

    def formed(self) -> JoinedPairs:
        """The pairs of a set from :meth:`of_rows` as operations on scores and weights."""
        return JoinedPairs(tuple(each.formed() for each in self._by_rows()))

    def _each(self, change: Callable[[RowPairs], RowPairs]) -> Self:
        return replace(self, sets=tuple(change(each) for each in self._by_rows()))

    def _by_rows(self) -> list[RowPairs]:
        return [each for each in self.sets if isinstance(each, RowPairs)]
