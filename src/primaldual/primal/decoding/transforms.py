"""Input transforms on pairs that come one after the other."""

from __future__ import annotations

from functools import singledispatch

import torch
from torch import Tensor

from primaldual.errors import ArgumentError
from primaldual.kernels.statistics import KeyStatistics
from primaldual.kernels.streaming import StreamingStatistics
from primaldual.primal.batch_normalization import BatchNormalization
from primaldual.primal.decoding.arrival import NewPairs
from primaldual.primal.decoding.memory import Memory
from primaldual.primal.function_parts import TransformFunction
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.transforms import Identity, Transform

Changed = tuple[Tensor, Tensor, Tensor | None]
"""Queries, keys less a shift, and the shift: a constant vector (batch, heads, 1, D), None = 0."""


class Incremental:
    """T for pairs that come one after the other; the base class states T(x) = x.

    Keys come in float32 or wider, less a constant vector that T may count on: softmax ignores it,
    and small numbers keep their digits. T gives them back less a constant vector too.
    """

    own_keys: bool = False
    """Whether every query head changes the keys in its own way."""

    centred: bool = False
    """Whether T gains from keys near 0."""

    def start(self, keys: Tensor) -> Memory:
        """What is kept of no pairs yet, for keys like (batch, heads, 0, D)."""
        del keys
        return Memory()

    def one(self, changed: Changed, memory: Memory, count: int, closes: bool) -> Changed:
        """T of a query and its own pair, after ``count`` complete pairs in every row; kept if it is complete."""
        del memory, count, closes
        return changed

    def many(self, changed: Changed, memory: Memory, new: NewPairs) -> Changed:
        """The same for n tokens; rows may differ in length."""
        del memory, new
        return changed


@singledispatch
def incremental(transform: Transform, heads: HeadSet, exact: bool) -> Incremental | None:
    """The incremental form of a transform, None where there is none; register one for a transform of your own.

    Args:
        transform: the transform.
        heads: which heads it is for.
        exact: T itself is needed; otherwise T(q) . T(k) up to what does not depend on k is enough.
    """
    del transform, heads, exact
    return None


@incremental.register
def _(transform: Identity, heads: HeadSet, exact: bool) -> Incremental | None:
    del heads, exact
    return Incremental() if type(transform) is Identity else None


class PointByPoint(Incremental):
    """T(x) = function(x)."""

    def __init__(self, transform: TransformFunction) -> None:
        self.transform = transform

    def one(self, changed: Changed, memory: Memory, count: int, closes: bool) -> Changed:
        query, keys, shift = changed
        whole = (keys if shift is None else keys + shift).to(query.dtype)
        return self.transform.apply_to(query), self.transform.apply_to(whole).to(keys.dtype), None

    def many(self, changed: Changed, memory: Memory, new: NewPairs) -> Changed:
        return self.one(changed, memory, 0, True)


@incremental.register
def _(transform: TransformFunction, heads: HeadSet, exact: bool) -> Incremental | None:
    del heads, exact
    return PointByPoint(transform)


class NormalizedByPrefix(Incremental):
    """Batch normalisation by the mean and variance of the pairs so far, all of it in the query."""

    centred = True

    def __init__(self, transform: BatchNormalization, heads: HeadSet) -> None:
        self.transform = transform
        self.heads = heads
        self.eps: Tensor | None = None

    def start(self, keys: Tensor) -> Memory:
        empty = StreamingStatistics.empty(keys)
        return Memory({"mean": empty.mean, "deviations": empty.deviations})

    def one(self, changed: Changed, memory: Memory, count: int, closes: bool) -> Changed:
        query, keys, shift = changed
        found = StreamingStatistics(count, memory["mean"], memory["deviations"]).including(keys)
        if closes:
            memory["mean"], memory["deviations"] = found.mean, found.deviations
        transform = self.transform
        plain = transform.scale == "inv_std" and not transform.learnable and not transform.running
        if not plain or query.shape[1] != keys.shape[1]:
            return self._normalized(query, found.statistics(), shift), keys, shift
        # The same with operations between tensors, which take half the time of those with numbers.
        mean = found.mean if shift is None else found.mean + shift
        if self.eps is None or self.eps.dtype != mean.dtype or self.eps.device != mean.device:
            self.eps = mean.new_tensor(transform.eps)
        variance = torch.add(self.eps, found.deviations, alpha=1 / (count + 1))
        return torch.sub(query, mean, alpha=transform.beta) / variance, keys, shift

    def many(self, changed: Changed, memory: Memory, new: NewPairs) -> Changed:
        query, keys, shift = changed
        former = StreamingStatistics(
            new.former[:, None, None].to(keys.dtype), memory["mean"], memory["deviations"]
        )
        kept = None if new.kept is None else new.kept[:, None, None]
        later = former.update(keys, kept)
        memory["mean"], memory["deviations"] = later.mean, later.deviations
        return self._normalized(query, former.along(keys, kept), shift), keys, shift

    def _normalized(self, query: Tensor, found: KeyStatistics, shift: Tensor | None) -> Tensor:
        if self.transform.running and not self.transform.training:
            raise _other_mode(self.transform, "evaluation")
        mean = found.mean if shift is None else found.mean + shift
        return self.transform.normalized_query(query, KeyStatistics(mean, found.variance), self.heads)


class NormalizedByAverages(Incremental):
    """Batch normalisation by running averages, the same for every sequence."""

    centred = True

    def __init__(self, transform: BatchNormalization, heads: HeadSet, exact: bool) -> None:
        self.transform = transform
        self.heads = heads
        self.exact = exact
        self.own_keys = exact

    def one(self, changed: Changed, memory: Memory, count: int, closes: bool) -> Changed:
        query, keys, shift = changed
        found = self.transform.fixed_statistics(self.heads.members, query.dtype)
        if found is None:
            raise _other_mode(self.transform, "training")
        if not self.exact:
            return self.transform.normalized_query(query, found, self.heads), keys, shift
        whole = keys if shift is None else keys + shift
        valid = torch.ones(1, 1, 1, whole.shape[2], dtype=torch.bool, device=whole.device)
        query, keys = self.transform.dense(query, whole.unsqueeze(2), valid, self.heads)
        return query, keys.squeeze(2), None

    def many(self, changed: Changed, memory: Memory, new: NewPairs) -> Changed:
        return self.one(changed, memory, 0, True)


@incremental.register
def _(transform: BatchNormalization, heads: HeadSet, exact: bool) -> Incremental | None:
    if transform.running and not transform.training:
        return NormalizedByAverages(transform, heads, exact)
    return None if exact else NormalizedByPrefix(transform, heads)


def _other_mode(transform: BatchNormalization, mode: str) -> ArgumentError:
    return ArgumentError(
        f"{transform.spec()} keeps something else in training than in evaluation; got a problem put into {mode} mode "
        "since the state was made"
    )
