"""The training pairs of some heads, as tensors: what statistics they have, and their softmax."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels import statistics
from primaldual.kernels.flash import CutCall, FlashCall, MergeableCall, runs_alone
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.masks import Attendable, band_mask, keep_attendable
from primaldual.kernels.softmax import attention_with_sink, softmax_attention
from primaldual.kernels.statistics import KeyStatistics
from primaldual.kernels.window import window_attention, window_call, window_counts, window_statistics

ALL = "all"
"""All queries see the same training keys."""
PREFIX = "prefix"
"""A query sees the training keys up to its own position."""
OWN = "own"
"""A query sees training keys of its own."""


class Kind(NamedTuple):
    """How training keys differ from query to query.

    Attributes:
        seen: ALL (every query has the same), PREFIX (all keys up to its own) or OWN (a window, a pattern).
        pooled_late: keys are still to be averaged, query by query.
    """

    seen: str
    pooled_late: bool = False


@dataclass(frozen=True)
class TrainingSet:
    """Training pairs of a group of heads.

    Attributes:
        key: (batch, kv heads, Nt, D), finite everywhere.
        value: (batch, kv heads, Nt, Dv), finite everywhere.
        query_length: Nq; queries are the last Nq positions of a causal sequence.
        attendable: which pairs each query may use.
        log_weight: log of what each pair counts, (batch or 1, heads or 1, 1, Nt); None = 1 each.
        first: the query from which on outputs count; statistics and centres serve those.
        scale: window length of pairs that are pooled late, 1 otherwise.
    """

    key: Tensor
    value: Tensor
    query_length: int
    attendable: Attendable
    log_weight: Tensor | None = field(default=None, kw_only=True)
    first: int = field(default=0, kw_only=True)
    scale: int = field(default=1, kw_only=True)

    @property
    def kind(self) -> Kind:
        """How training keys differ from query to query."""
        raise NotImplementedError

    @property
    def square(self) -> bool:
        """Whether query i has the keys 0..i for its training keys, as many queries as keys."""
        return self.kind == (PREFIX, False) and self.query_length == self.key.shape[2]

    def centred(self) -> tuple[Self, KeyStatistics]:
        """The set with one constant vector taken off all keys, in float32 or wider, and the statistics of the keys."""
        raise NotImplementedError

    def softmax(self, query: Tensor, scale: float, dropout_p: float, sink: Tensor | None = None) -> Tensor:
        """sum_j softmax_j(scale q . k_j) v_j: (batch, heads, Nq, Dv).

        Args:
            query: (batch, heads, Nq, D).
            scale: factor on the scores.
            dropout_p: probability of dropping a weight.
            sink: score of one more pair, of value 0: (batch or 1, heads, Nq or 1); None = there is none.
        """
        raise NotImplementedError

    def softmax_call(self, scale: float) -> CutCall:
        """The same as a call that saves nothing by itself, for as many queries as keys."""
        raise NotImplementedError

    def mergeable_call(self, scale: float) -> MergeableCall:
        """The same as one of several calls of one softmax, for as many queries as keys."""
        raise NotImplementedError

    def listed(self) -> MaskedPairs:
        """The same pairs under a mask."""
        raise NotImplementedError

    def with_keys(self, key: Tensor) -> Self:
        """The same set with other keys."""
        return replace(self, key=key)

    def to(self, dtype: torch.dtype) -> Self:
        """The same set in another type."""
        return replace(self, key=self.key.to(dtype), value=self.value.to(dtype))

    def double(self) -> Self:
        """The same set in float64."""
        return self.to(torch.float64)

    def row_blocks(self) -> list[slice]:
        """Blocks of queries that share a centre of keys without loss, the last first; none where all have one anyway."""
        if self.kind.seen != PREFIX:
            return []
        return statistics.row_blocks(self.query_length, self.key.shape[2], self.scale)

    def rows(self, block: slice) -> Self:
        """The set of the queries before ``block.stop``, for outputs from ``block.start`` on."""
        if block.stop == self.query_length:
            return replace(self, first=block.start)
        last = self.key.shape[2] - self.query_length + block.stop
        return replace(
            self,
            key=self.key[:, :, :last],
            value=self.value[:, :, :last],
            query_length=block.stop,
            attendable=self.attendable.between(0, last),
            first=block.start,
        )

    def part(self, batch: slice, heads: slice, begin: int, key: Tensor, value: Tensor) -> Self:
        """The set of some sequences and heads, given their keys and values from ``begin`` on, maybe not to the end."""
        attendable = self.attendable.of_sequences(batch).select(heads).between(begin, begin + key.shape[2])
        weight = Attendable(self.log_weight).of_sequences(batch).select(heads).keys
        return replace(self, key=key, value=value, attendable=attendable, log_weight=weight)

    def for_query_heads(self, heads: int) -> Self:
        """The same set with one key head for every query head."""
        if heads == self.key.shape[1]:
            return self
        return replace(self, key=for_query_heads(self.key, heads), value=for_query_heads(self.value, heads))


class MaskedPairs(TrainingSet):
    """All pairs under a mask, or every prefix of them."""

    @property
    def kind(self) -> Kind:
        if self.attendable.pairs is not None:
            return Kind(OWN)
        return Kind(PREFIX if self.attendable.is_causal else ALL)

    def centred(self) -> tuple[Self, KeyStatistics]:
        keys, length = self.attendable.keys, self.key.shape[2]
        if self.kind.seen == PREFIX:
            offset = length - self.query_length
            centre = statistics.seen_centre(self.key, keys, max(self.first + offset, 1))
            shifted = keep_attendable(self.key - centre, keys)
            found = last_rows(statistics.prefix_statistics(centre, shifted, keys), self.query_length)
            return self.with_keys(shifted), found._replace(shift=centre)
        mean, shifted = statistics.centre(self.key, keys)
        if self.kind.seen == ALL:
            found = statistics.shared_statistics(mean, shifted, keys)
        else:
            allowed = self.attendable.matrix(self.query_length, length, self.key.device)
            found = statistics.pairwise_statistics(mean, shifted, allowed)
        return self.with_keys(shifted), found._replace(shift=mean.detach())

    def softmax(self, query: Tensor, scale: float, dropout_p: float, sink: Tensor | None = None) -> Tensor:
        pairs = query, self.key.to(query.dtype), self.value.to(query.dtype), self.attendable, scale
        if sink is not None:
            return attention_with_sink(*pairs, sink, dropout_p, self.log_weight)
        return softmax_attention(*pairs, dropout_p, self.log_weight)

    def softmax_call(self, scale: float) -> FlashCall:
        key = self.key.to(self.value.dtype)
        keys, is_causal = self.attendable.keys, self.attendable.is_causal
        return FlashCall(key, self.value, scale, keys, is_causal, self.log_weight)

    def mergeable_call(self, scale: float) -> FlashCall:
        call = self.softmax_call(scale)
        if self.attendable.pairs is None:
            return call
        allowed = self.attendable.matrix(self.query_length, self.key.shape[2], self.key.device)
        return replace(call, key_mask=allowed, is_causal=False)

    def listed(self) -> MaskedPairs:
        return self


@dataclass(frozen=True)
class Band(TrainingSet):
    """The pairs at most ``radius`` positions from the query, under a key mask, causal or not."""

    radius: int

    @property
    def kind(self) -> Kind:
        return Kind(OWN)

    def centred(self) -> tuple[Self, KeyStatistics]:
        mean, variance = window_statistics(
            self.key,
            self.radius,
            query_length=self.query_length,
            key_mask=self.attendable.keys,
            is_causal=self.attendable.is_causal,
        )
        seen = window_counts(
            self.attendable.keys,
            self.radius,
            query_length=self.query_length,
            key_length=self.key.shape[2],
            is_causal=self.attendable.is_causal,
            device=self.key.device,
        )
        shift, shifted = statistics.centre(self.key, self.attendable.keys)
        return self.with_keys(shifted), KeyStatistics(mean, variance, seen, shift.detach())

    def mergeable_call(self, scale: float) -> MergeableCall:
        return window_call(
            self.key.to(self.value.dtype),
            self.value,
            self.radius,
            key_mask=self.attendable.keys,
            is_causal=self.attendable.is_causal,
            scale=scale,
        )

    def listed(self) -> MaskedPairs:
        band = band_mask(self.query_length, self.key.shape[2], self.radius, self.key.device)
        allowed = replace(self.attendable, pairs=band[None, None])
        return MaskedPairs(self.key, self.value, self.query_length, allowed)

    def softmax(self, query: Tensor, scale: float, dropout_p: float, sink: Tensor | None = None) -> Tensor:
        if sink is not None and not (dropout_p == 0 and runs_alone(query, self.value)):
            return self.listed().softmax(query, scale, dropout_p, sink)
        return window_attention(
            query,
            self.key.to(query.dtype),
            self.value,
            self.radius,
            key_mask=self.attendable.keys,
            is_causal=self.attendable.is_causal,
            scale=scale,
            dropout_p=dropout_p,
            sink=sink,
        )


def last(rows: Tensor, count: int) -> Tensor:
    """The last ``count`` rows of (..., N, D); rows of zeros (or False) in front where there are fewer."""
    length = rows.shape[-2]
    return rows[..., length - count :, :] if count <= length else pad(rows, (0, 0, count - length, 0))


def last_rows(found: KeyStatistics, count: int) -> KeyStatistics:
    """The statistics of the last ``count`` queries."""
    return KeyStatistics(*(last(part, count) for part in found[:3] if isinstance(part, Tensor)))
