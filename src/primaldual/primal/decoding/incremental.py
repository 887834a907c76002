"""Input transforms on training pairs that arrive one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from primaldual.primal.decoding.memory import Memory
from primaldual.primal.decoding.windows import NewPairs

Changed = tuple[Tensor, Tensor, Tensor | None]
"""Queries, keys less a shift, and the shift: a constant vector (batch, heads, 1, D), None = 0."""


class FixedFacts(NamedTuple):
    """What a kernel needs to know of T: the identity, or (q - beta mean) / (variance + eps).

    Attributes:
        beta: None = the identity.
        eps: None = without a division.
    """

    beta: float | None = None
    eps: float | None = None


class Incremental:
    """T for pairs that arrive one after the other; the base class states T(x) = x.

    Keys come in float32 or wider, less a constant vector: softmax ignores it, and small differences keep
    their digits. T returns them less a constant vector too, and the queries in any type.
    """

    own_keys: bool = False
    """Whether every query head changes the keys in its own way."""

    centred: bool = False
    """Whether T is more accurate on keys near 0."""

    def fixed_facts(self) -> FixedFacts | None:
        """Constants by which a kernel computes T; None where only the methods do."""
        return FixedFacts() if type(self) is Incremental else None

    def start(self, keys: Tensor) -> Memory:
        """What is kept before the first pair, for keys like (batch, heads, 0, D)."""
        del keys
        return Memory()

    def one(self, changed: Changed, memory: Memory, count: int, closes: bool) -> Changed:
        """T of one query and its own pair in every row.

        Args:
            changed: what the transforms before made of them.
            memory: from :meth:`start`; changed in place.
            count: complete pairs before it.
            closes: whether the pair is complete, and therefore kept.
        """
        del memory, count, closes
        return changed

    def many(self, changed: Changed, memory: Memory, new: NewPairs) -> Changed:
        """The same for n tokens; rows may differ in length."""
        del memory, new
        return changed


class PointByPoint(Incremental):
    """T(x) = function(x)."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def one(self, changed: Changed, memory: Memory, count: int, closes: bool) -> Changed:
        query, keys, shift = changed
        whole = (keys if shift is None else keys + shift).to(query.dtype)
        return self.function(query), self.function(whole).to(keys.dtype), None

    def many(self, changed: Changed, memory: Memory, new: NewPairs) -> Changed:
        return self.one(changed, memory, 0, True)


class InTurn(Incremental):
    """T(x) = T_n(... T_1(x))."""

    def __init__(self, steps: list[Incremental]) -> None:
        self.steps = steps
        self.own_keys = any(step.own_keys for step in steps)
        self.centred = any(step.centred for step in steps)

    def start(self, keys: Tensor) -> Memory:
        return Memory(children=[step.start(keys) for step in self.steps])

    def one(self, changed: Changed, memory: Memory, count: int, closes: bool) -> Changed:
        for step, own in zip(self.steps, memory.children, strict=True):
            changed = step.one(changed, own, count, closes)
        return changed

    def many(self, changed: Changed, memory: Memory, new: NewPairs) -> Changed:
        for step, own in zip(self.steps, memory.children, strict=True):
            changed = step.many(changed, own, new)
        return changed
