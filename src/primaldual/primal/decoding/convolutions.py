"""Causal convolutions, and transforms in turn, on pairs that come one after the other."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.primal.chain import Chain
from primaldual.primal.convolutions import Convolution
from primaldual.primal.decoding.arrival import NewPairs
from primaldual.primal.decoding.memory import Memory
from primaldual.primal.decoding.transforms import Changed, Incremental, incremental
from primaldual.primal.head_sets import HeadSet


class ConvolvedBackwards(Incremental):
    """T(k_j) = sum_t w_t * k_(j-t), t = 0..K-1, from the last K - 1 complete pairs.

    What stands before the first pair counts as 0, which is minus the shift once that has been taken off;
    the shift of T(k) is its own times the sum of the taps.
    """

    own_keys = True

    def __init__(self, transform: Convolution, heads: HeadSet) -> None:
        self.transform = transform
        self.heads = heads
        self.prefix = transform.positions(heads, 0).prefix
        self.reach = transform.kernel_size - 1

    def start(self, keys: Tensor) -> Memory:
        batch, heads, _, head_dim = keys.shape
        return Memory({"recent": keys.new_zeros(batch, heads, self.reach, head_dim)})

    def one(self, changed: Changed, memory: Memory, count: int, closes: bool) -> Changed:
        query, keys, shift = changed
        taps = self._taps(keys)
        moved = None if shift is None else shift * taps.sum(1, keepdim=True)
        if count < self.prefix:
            return query, _shifted(keys, shift, moved), moved
        seen = torch.cat([memory["recent"], keys], 2)
        if closes:
            memory["recent"] = seen[:, :, 1:]
        return query, (seen * taps).sum(2, keepdim=True), moved

    def many(self, changed: Changed, memory: Memory, new: NewPairs) -> Changed:
        query, keys, shift = changed
        taps = self._taps(keys)
        moved = None if shift is None else shift * taps.sum(1, keepdim=True)
        recent = memory["recent"]
        if shift is not None:
            recent = torch.where(new.arrival.fresh, -shift, recent)
        body = new.window >= self.prefix
        pushed = body if new.kept is None else body & new.kept
        order = (~pushed).to(torch.uint8).argsort(dim=-1, stable=True)
        seen = torch.cat([recent, _take(keys, order)], 2)
        memory["recent"] = _take(
            seen, pushed.sum(-1, keepdim=True) + torch.arange(self.reach, device=keys.device)
        )
        newest = self.reach + new.window - new.former.clamp(min=self.prefix)
        convolved = keys * taps[:, -1:]
        for back in range(1, self.reach + 1):
            place = (newest - back).clamp(min=0)
            convolved = convolved + _take(seen, place) * taps[:, self.reach - back, None]
        lone = ~body[:, None, :, None]
        return query, torch.where(lone, _shifted(keys, shift, moved), convolved), moved

    def _taps(self, keys: Tensor) -> Tensor:
        """The filters, oldest tap first: (heads, K, D)."""
        return self.transform.filters(self.heads, keys).squeeze(-2).transpose(-2, -1).to(keys.dtype)


@incremental.register
def _(transform: Convolution, heads: HeadSet, exact: bool) -> Incremental | None:
    del exact
    return ConvolvedBackwards(transform, heads) if transform.causal and not transform.queries else None


class InTurn(Incremental):
    """T(x) = T_n(... T_1(x))."""

    def __init__(self, steps: list[Incremental]) -> None:
        self.steps = steps
        self.own_keys = any(step.own_keys for step in steps)
        self.centred = any(step.centred for step in steps)

    def start(self, keys: Tensor) -> Memory:
        return Memory(parts=[step.start(keys) for step in self.steps])

    def one(self, changed: Changed, memory: Memory, count: int, closes: bool) -> Changed:
        for step, own in zip(self.steps, memory.parts, strict=True):
            changed = step.one(changed, own, count, closes)
        return changed

    def many(self, changed: Changed, memory: Memory, new: NewPairs) -> Changed:
        for step, own in zip(self.steps, memory.parts, strict=True):
            changed = step.many(changed, own, new)
        return changed


@incremental.register
def _(transform: Chain, heads: HeadSet, exact: bool) -> Incremental | None:
    *former, last = transform.steps()
    steps = [incremental(step, heads, True) for step in former] + [incremental(last, heads, exact)]
    found = [step for step in steps if step is not None]
    return InTurn(found) if len(found) == len(steps) else None


def _take(tensor: Tensor, places: Tensor) -> Tensor:
    """Rows of (batch, heads, n, D) at places (batch or 1, m)."""
    batch, heads, _, width = tensor.shape
    return tensor.gather(2, places[:, None, :, None].expand(batch, heads, -1, width))


def _shifted(keys: Tensor, former: Tensor | None, new: Tensor | None) -> Tensor:
    """The same keys less another constant vector."""
    return keys if former is None or new is None else keys + (former - new)
