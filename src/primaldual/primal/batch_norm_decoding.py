"""Batch normalisation over training keys that arrive one after the other."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from primaldual.errors import ArgumentError
from primaldual.kernels.statistics import KeyStatistics
from primaldual.kernels.streaming import StreamingStatistics
from primaldual.primal.decoding.incremental import Changed, FixedFacts, Incremental
from primaldual.primal.decoding.memory import Memory
from primaldual.primal.decoding.windows import NewPairs
from primaldual.primal.head_sets import HeadSet


class Normalization(Protocol):
    """What these forms ask of the transform."""

    beta: float
    scale: str
    eps: float
    learnable: bool
    running: bool
    gain: float | None
    training: bool

    def spec(self) -> str:
        """The transform in words."""

    def dense(self, query: Tensor, keys: Tensor, valid: Tensor, heads: HeadSet) -> tuple[Tensor, Tensor]:
        """Its definition."""

    def normalized_query(self, query: Tensor, statistics: KeyStatistics, heads: HeadSet) -> Tensor:
        """The queries that carry it, in their own type."""

    def fixed_statistics(self, members: list[int], dtype: torch.dtype) -> KeyStatistics | None:
        """Running averages where they stand for every sequence."""


class NormalizedByPrefix(Incremental):
    """Batch normalisation by the mean and variance of the pairs so far, all of it in the query.

    A query that sees a single pair becomes 0: its weight is 1 whatever the query, while 1 / (0 + eps) leaves
    the range of half precision.
    """

    centred = True

    def __init__(self, transform: Normalization, heads: HeadSet) -> None:
        self.transform = transform
        self.heads = heads
        self.plain = transform.scale == "inv_std" and not (
            transform.learnable or transform.running or transform.gain is not None
        )
        self.eps: Tensor | None = None

    def fixed_facts(self) -> FixedFacts | None:
        transform = self.transform
        if transform.learnable or transform.running or transform.gain is not None:
            return None
        return FixedFacts(transform.beta, transform.eps if transform.scale == "inv_std" else None)

    def start(self, keys: Tensor) -> Memory:
        empty = StreamingStatistics.empty(keys)
        return Memory({"mean": empty.mean, "deviations": empty.deviations})

    def one(self, changed: Changed, memory: Memory, count: int, closes: bool) -> Changed:
        query, keys, shift = changed
        found = StreamingStatistics(count, memory["mean"], memory["deviations"]).including(keys)
        if closes:
            memory["mean"], memory["deviations"] = found.mean, found.deviations
        if count == 0:
            return torch.zeros_like(query), keys, shift
        if not self.plain or query.shape[1] != keys.shape[1]:
            return self._normalized(query.to(keys.dtype), found.statistics(), shift), keys, shift
        # The same with operations between tensors, which take half the time of those with numbers.
        mean = found.mean if shift is None else found.mean + shift
        if self.eps is None or self.eps.dtype != mean.dtype or self.eps.device != mean.device:
            self.eps = mean.new_tensor(self.transform.eps)
        variance = torch.add(self.eps, found.deviations, alpha=1 / (count + 1))
        return torch.sub(query, mean, alpha=self.transform.beta) / variance, keys, shift

    def many(self, changed: Changed, memory: Memory, new: NewPairs) -> Changed:
        query, keys, shift = changed
        former = StreamingStatistics(
            new.former[:, None, None].to(keys.dtype), memory["mean"], memory["deviations"]
        )
        kept = None if new.kept is None else new.kept[:, None, None]
        later = former.update(keys, kept)
        memory["mean"], memory["deviations"] = later.mean, later.deviations
        query = self._normalized(query.to(keys.dtype), former.along(keys, kept), shift)
        return torch.where(new.window[:, None, :, None] == 0, 0.0, query), keys, shift

    def _normalized(self, query: Tensor, found: KeyStatistics, shift: Tensor | None) -> Tensor:
        if self.transform.running and not self.transform.training:
            raise _other_mode(self.transform, "evaluation")
        mean = found.mean if shift is None else found.mean + shift
        return self.transform.normalized_query(query, KeyStatistics(mean, found.variance), self.heads)


class NormalizedByAverages(Incremental):
    """Batch normalisation by running averages, the same for every sequence."""

    centred = True

    def __init__(self, transform: Normalization, heads: HeadSet, exact: bool) -> None:
        self.transform = transform
        self.heads = heads
        self.own_keys = exact

    def one(self, changed: Changed, memory: Memory, count: int, closes: bool) -> Changed:
        query, keys, shift = changed
        found = self.transform.fixed_statistics(self.heads.members, query.dtype)
        if found is None:
            raise _other_mode(self.transform, "training")
        if not self.own_keys:
            return self.transform.normalized_query(query.to(keys.dtype), found, self.heads), keys, shift
        whole = keys if shift is None else keys + shift
        valid = torch.ones(1, 1, 1, whole.shape[2], dtype=torch.bool, device=whole.device)
        query, keys = self.transform.dense(query, whole.unsqueeze(2), valid, self.heads)
        return query, keys.squeeze(2), None

    def many(self, changed: Changed, memory: Memory, new: NewPairs) -> Changed:
        return self.one(changed, memory, 0, True)


def _other_mode(transform: Normalization, mode: str) -> ArgumentError:
    return ArgumentError(
        f"{transform.spec()} keeps other statistics in training than in evaluation; got a problem put into {mode} mode "
        "since the state was made"
    )
