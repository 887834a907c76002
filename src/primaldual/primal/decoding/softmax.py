"""Softmax attention to the pairs so far: a cache of pairs, and queries that carry the transform."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from primaldual.kernels.single_query import attend_one
from primaldual.primal.decoding.arrival import Arrival, NewPairs
from primaldual.primal.decoding.memory import Memory, grow, write
from primaldual.primal.decoding.pairs import PairStream


class PairCache:
    """out = sum_j softmax_j(c T(q) . T(k_j)) v_j over the complete pairs and the query's own.

    The pair of a window that is not complete stands in the place behind the complete ones, until it is.

    Args:
        pairs: what tokens become.
        scale: c.
    """

    def __init__(self, pairs: PairStream, scale: float) -> None:
        self.pairs = pairs
        self.scale = scale

    def places(self, length: int) -> int:
        """Pairs that so many tokens are cached as; the sum of a window that is not complete stands apart."""
        return self.pairs.windows.complete(length)

    def start(self, key: Tensor, value: Tensor, capacity: int) -> Memory:
        """The memory of no tokens, with room for so many."""
        memory = self.pairs.start(key, value)
        for name, like in (("keys", key), ("values", value)):
            memory[name] = like
            grow(memory, name, self.places(capacity) + 1)
        return memory

    def one(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, position: int) -> Tensor:
        """The output of the token at a position, above 0, of every row."""
        dtype = query.dtype
        query, key, value = self.pairs.one(query, key, value, memory, position)
        place = self.places(position)
        keys, values = grow(memory, "keys", place + 1), grow(memory, "values", place + 1)
        keys.narrow(2, place, 1).copy_(key)
        values.narrow(2, place, 1).copy_(value)
        query = query if query.dtype == dtype else query.to(dtype)
        return attend_one(query, keys.narrow(2, 0, place + 1), values.narrow(2, 0, place + 1), self.scale)

    def many(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, arrival: Arrival) -> Tensor:
        """The outputs of n tokens of every row."""
        new, dtype = self.pairs.windows.of(arrival), query.dtype
        query, key, value = self.pairs.many(query, key, value, memory, new)
        complete = [self.places(start) for start in arrival.starts]
        write(memory, "keys", key, complete, arrival.uniform)
        write(memory, "values", value, complete, arrival.uniform)
        places = max(complete) + arrival.length
        keys, values = memory["keys"][:, :, :places], memory["values"][:, :, :places]
        shared = {"enable_gqa": True} if query.shape[1] != keys.shape[1] else {}
        out = scaled_dot_product_attention(
            query.to(dtype), keys, values, attn_mask=_visible(new, places), scale=self.scale, **shared
        )
        self._keep(key, value, memory, new)
        return out

    def absorb(self, key: Tensor, value: Tensor, memory: Memory, arrival: Arrival) -> None:
        """Take in n first tokens without attending."""
        new = self.pairs.windows.of(arrival)
        no_query = key.new_zeros(key.shape[0], self.pairs.query_heads, 1, key.shape[3])
        _, key, value = self.pairs.many(no_query, key, value, memory, new)
        if self.pairs.windows.scale == 1:
            write(memory, "keys", key, arrival.starts, arrival.uniform)
            write(memory, "values", value, arrival.starts, arrival.uniform)
        self._keep(key, value, memory, new)

    def _keep(self, key: Tensor, value: Tensor, memory: Memory, new: NewPairs) -> None:
        """Bring complete pairs to their places; single tokens stand there already."""
        if self.pairs.windows.scale == 1 or new.kept is None:
            return
        ends = [start + count for start, count in zip(new.arrival.starts, new.arrival.counts, strict=True)]
        needed = max(map(self.places, ends)) + 1
        rows, tokens = new.kept.expand(key.shape[0], -1).nonzero(as_tuple=True)
        window = new.window.expand(key.shape[0], -1)[rows, tokens]
        for name, pairs in (("keys", key), ("values", value)):
            held = grow(memory, name, needed)
            held.transpose(1, 2)[rows, window] = pairs.transpose(1, 2)[rows, tokens].to(held.dtype)


def _visible(new: NewPairs, places: int) -> Tensor:
    """Bool (rows, 1, n, places): complete pairs, and among the new ones behind them what each token sees."""
    behind = torch.arange(places, device=new.former.device) - new.former
    index = behind.clamp(0, new.arrival.length - 1)[:, None, None].expand(-1, -1, new.arrival.length, -1)
    among = new.visible.expand(index.shape[0], -1, -1, -1).gather(3, index)
    inside = behind[:, None, None] < new.arrival.length
    return (behind[:, None, None] < 0) | (among & inside)
