"""Fast forms of "the training pairs of every query": what each kind can compute without an N x N x D tensor."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels import pooling, statistics
from primaldual.kernels.flash import FlashCall, SoftmaxCall
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.linear import linear_attention
from primaldual.kernels.masks import Attendable, keep_attendable
from primaldual.kernels.pooled_prefix import PooledPrefixCall
from primaldual.kernels.softmax import pooled_prefix_attention, softmax_attention
from primaldual.kernels.statistics import KeyStatistics
from primaldual.kernels.window import window_attention, window_statistics


@dataclass(frozen=True)
class TrainingSet:
    """Training pairs of a group of heads.

    Attributes:
        key: (batch, kv heads, Nt, D), finite everywhere.
        value: (batch, kv heads, Nt, Dv), finite everywhere.
        query_length: Nq; queries are the last Nq positions of a causal sequence.
        attendable: which pairs each query may use.
        log_weight: log of what each pair counts, (batch or 1, heads or 1, 1, Nt); None = 1 each.
    """

    key: Tensor
    value: Tensor
    query_length: int
    attendable: Attendable
    log_weight: Tensor | None = field(default=None, kw_only=True)

    pools_keys: ClassVar[bool] = False
    """Whether ``key`` holds positions that are still to be averaged, query by query, into training keys."""

    @property
    def unbroken(self) -> bool:
        """Whether a query's training keys are all attendable ones, or with ``is_causal`` all up to its own."""
        return False

    @property
    def shared_by_queries(self) -> bool:
        """Whether all queries have the same training keys, and so the same statistics."""
        return self.unbroken and not self.attendable.is_causal

    @property
    def square(self) -> bool:
        """Whether query i has the keys 0..i for its training keys, as many queries as keys."""
        return self.unbroken and self.attendable.is_causal and self.query_length == self.key.shape[2]

    def centred(self) -> tuple[Self, KeyStatistics]:
        """The set with one constant vector taken off all keys, and the statistics of the keys as they were."""
        raise NotImplementedError

    def softmax(self, query: Tensor, scale: float, dropout_p: float) -> Tensor:
        """sum_j softmax_j(scale q . k_j) v_j: (batch, heads, Nq, Dv)."""
        raise NotImplementedError

    def softmax_call(self, scale: float) -> SoftmaxCall | None:
        """The same as a call that saves nothing by itself, or None where it has no such form."""
        del scale
        return None

    def factored(self, query_features: Tensor, key_features: Tensor, normalize: bool) -> Tensor | None:
        """The weighted sum from features of queries and keys, or None where no factored form exists."""
        del query_features, key_features, normalize
        return None

    def with_keys(self, key: Tensor) -> Self:
        """The same set with other keys."""
        return replace(self, key=key)

    def part(self, batch: slice, heads: slice, key: Tensor, value: Tensor) -> Self:
        """The set of some sequences and heads, given their keys and values."""
        attendable = self.attendable.of_sequences(batch).select(heads)
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
    def unbroken(self) -> bool:
        return self.attendable.pairs is None

    def centred(self) -> tuple[Self, KeyStatistics]:
        keys, pairs, is_causal = self.attendable.keys, self.attendable.pairs, self.attendable.is_causal
        mean, shifted = statistics.centre(self.key, keys)
        moved = self.with_keys(shifted.to(self.value.dtype))
        if pairs is not None:
            allowed = self.attendable.matrix(self.query_length, self.key.shape[2], self.key.device)
            return moved, statistics.pairwise_statistics(mean, shifted, allowed)
        if is_causal:
            return moved, _last_rows(statistics.prefix_statistics(mean, shifted, keys), self.query_length)
        return moved, statistics.shared_statistics(mean, shifted, keys)

    def softmax(self, query: Tensor, scale: float, dropout_p: float) -> Tensor:
        return softmax_attention(
            query, self.key.to(query.dtype), self.value, self.attendable, scale, dropout_p, self.log_weight
        )

    def softmax_call(self, scale: float) -> SoftmaxCall | None:
        keys, pairs, is_causal = self.attendable.keys, self.attendable.pairs, self.attendable.is_causal
        if pairs is not None or (is_causal and self.query_length != self.key.shape[2]):
            return None
        key = self.key.to(self.value.dtype)
        return FlashCall(key, self.value, scale, keys, is_causal, self.log_weight)

    def factored(self, query_features: Tensor, key_features: Tensor, normalize: bool) -> Tensor | None:
        if self.attendable.pairs is not None:
            return None
        if self.log_weight is not None:
            key_features = key_features * self.log_weight.transpose(-2, -1).exp().to(key_features.dtype)
        return linear_attention(
            query_features,
            key_features,
            self.value,
            key_mask=self.attendable.keys,
            is_causal=self.attendable.is_causal,
            normalize=normalize,
        )


@dataclass(frozen=True)
class Band(TrainingSet):
    """The pairs at most ``radius`` positions from the query, under a key mask, causal or not."""

    radius: int

    def centred(self) -> tuple[Self, KeyStatistics]:
        mean, variance = window_statistics(
            self.key,
            self.radius,
            query_length=self.query_length,
            key_mask=self.attendable.keys,
            is_causal=self.attendable.is_causal,
        )
        shifted = statistics.centre(self.key, self.attendable.keys)[1]
        return self.with_keys(shifted.to(self.key.dtype)), KeyStatistics(mean, variance)

    def softmax(self, query: Tensor, scale: float, dropout_p: float) -> Tensor:
        return window_attention(
            query,
            self.key,
            self.value,
            self.radius,
            key_mask=self.attendable.keys,
            is_causal=self.attendable.is_causal,
            scale=scale,
            dropout_p=dropout_p,
        )


@dataclass(frozen=True)
class PooledPrefix(TrainingSet):
    """Causal pooled pairs: the complete windows before the query's, and its own window so far.

    ``key`` and ``value`` are the unpooled sequences.
    """

    pools_keys: ClassVar[bool] = True
    window_scale: int

    def centred(self) -> tuple[Self, KeyStatistics]:
        mean, shifted = statistics.centre(self.key, self.attendable.keys)
        pools, kept = self._pools(shifted)
        partial, present = pooling.prefix_means(shifted, self.window_scale, self.attendable.keys)
        found = statistics.partial_window_statistics(mean, pools, kept, partial, present, self.window_scale)
        return self.with_keys(shifted.to(self.key.dtype)), _last_rows(found, self.query_length)

    def softmax(self, query: Tensor, scale: float, dropout_p: float) -> Tensor:
        keys = self.attendable.keys
        key_pools, kept = self._pools(self.key)
        value_pools, _ = self._pools(self.value)
        partial_key, present = pooling.prefix_means(self.key, self.window_scale, keys)
        partial_value, _ = pooling.prefix_means(self.value, self.window_scale, keys)
        positions = (
            torch.arange(self.query_length, device=query.device) + self.key.shape[2] - self.query_length
        )
        return pooled_prefix_attention(
            query,
            (key_pools, value_pools),
            (_last(partial_key, self.query_length), _last(partial_value, self.query_length)),
            kept,
            _last(present, self.query_length),
            positions // self.window_scale,
            scale,
            dropout_p,
        )

    def softmax_call(self, scale: float) -> SoftmaxCall | None:
        if self.query_length != self.key.shape[2]:
            return None
        keys = self.attendable.keys
        key, value = keep_attendable(self.key, keys), keep_attendable(self.value, keys)
        return PooledPrefixCall(key, value, scale, self.window_scale, keys)

    def _pools(self, tensor: Tensor) -> tuple[Tensor, Tensor]:
        pools, mask = pooling.pool(tensor, self.window_scale, self.attendable.keys)
        if mask is None:
            mask = torch.ones(1, 1, 1, pools.shape[-2], dtype=torch.bool, device=pools.device)
        return pools, mask.transpose(-2, -1)


def _last(rows: Tensor, count: int) -> Tensor:
    """The last ``count`` rows of (..., N, D); rows of zeros (or False) in front where there are fewer."""
    length = rows.shape[-2]
    return rows[..., length - count :, :] if count <= length else pad(rows, (0, 0, count - length, 0))


def _last_rows(found: KeyStatistics, count: int) -> KeyStatistics:
    return KeyStatistics(_last(found.mean, count), _last(found.variance, count))
