"""Causal convolutions of training keys that arrive one after the other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from primaldual.primal.decoding.incremental import Changed, Incremental
from primaldual.primal.decoding.memory import Memory
from primaldual.primal.decoding.windows import NewPairs


class CausalConvolution(Incremental):
    """T(k_j) = sum_t w_t * k_(j-t), t = 0..K-1, from the last K - 1 complete pairs.

    Keys before the first count as 0, which is minus the shift once that has been subtracted; the shift of
    T(k) is its own times the sum of the taps.

    Args:
        filters: from keys to the filters of their heads, (heads, D, 1, K).
        kernel_size: K.
        prefix: pairs in front that stay as they are and that no other pair takes from.
    """

    own_keys = True

    def __init__(self, filters: Callable[[Tensor], Tensor], kernel_size: int, prefix: int) -> None:
        self.filters = filters
        self.prefix = prefix
        self.reach = kernel_size - 1

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
            recent = torch.where(new.tokens.fresh, -shift, recent)
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
            earlier = _take(seen, (newest - back).clamp(min=0))
            convolved = convolved + earlier * taps[:, self.reach - back, None]
        lone = ~body[:, None, :, None]
        return query, torch.where(lone, _shifted(keys, shift, moved), convolved), moved

    def _taps(self, keys: Tensor) -> Tensor:
        """The filters, oldest tap first: (heads, K, D)."""
        return self.filters(keys).squeeze(-2).transpose(-2, -1).to(keys.dtype)


def _take(tensor: Tensor, index: Tensor) -> Tensor:
    """Pairs of (batch, heads, n, D) by index (batch or 1, m)."""
    batch, heads, _, width = tensor.shape
    return tensor.gather(2, index[:, None, :, None].expand(batch, heads, -1, width))


def _shifted(keys: Tensor, former: Tensor | None, new: Tensor | None) -> Tensor:
    """The same keys less another constant vector."""
    return keys if former is None or new is None else keys + (former - new)
