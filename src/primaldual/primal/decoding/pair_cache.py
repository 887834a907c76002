"""Softmax attention to the pairs so far: a cache of pairs, and queries that carry the transform."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from primaldual.kernels.single_query import attend_one
from primaldual.primal.decoding.decoder import Decoder
from primaldual.primal.decoding.memory import Memory, grow, write
from primaldual.primal.decoding.new_tokens import NewTokens
from primaldual.primal.decoding.pair_stream import PairStream
from primaldual.primal.decoding.windows import NewPairs

HEADROOM = 16.0
"""Divisor of transformed queries in float16, which the scores get back: they are large where keys hardly differ."""


class PairCache(Decoder):
    """out = sum_j softmax_j(c T(q) . T(k_j)) v_j over the complete pairs and the query's own.

    The pair of an incomplete window occupies the slot behind the complete ones until it is complete.

    Args:
        stream: what tokens become.
        score_scale: c.
    """

    most = 512  # which of the new ones each token sees is a square of bits

    def __init__(self, stream: PairStream, score_scale: float) -> None:
        self.stream = stream
        self.score_scale = score_scale

    def filled(self, memory: Memory, lengths: list[int]) -> list[int]:
        return [self.stream.windows.complete(length) for length in lengths]

    def start(self, query: Tensor, key: Tensor, value: Tensor, capacity: int) -> Memory:
        memory = self.stream.start(key, value)
        for name, like in (("keys", key), ("values", value)):
            memory[name] = like
            grow(memory, name, self.stream.windows.complete(capacity) + 1)
        return memory

    def one(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, position: int) -> Tensor:
        dtype = query.dtype
        query, key, value = self.stream.one(query, key, value, memory, position)
        slot = self.stream.windows.complete(position)
        keys, values = grow(memory, "keys", slot + 1), grow(memory, "values", slot + 1)
        keys.narrow(2, slot, 1).copy_(key)
        values.narrow(2, slot, 1).copy_(value)
        scale = self.score_scale
        if query.dtype != dtype:
            query, scale = _narrowed(query, dtype, scale)
        return attend_one(query, keys.narrow(2, 0, slot + 1), values.narrow(2, 0, slot + 1), scale)

    def many(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, tokens: NewTokens) -> Tensor:
        new, dtype = NewPairs(self.stream.windows, tokens), query.dtype
        query, key, value = self.stream.many(query, key, value, memory, new)
        complete = self.filled(memory, tokens.starts)
        write(memory, "keys", key, complete)
        write(memory, "values", value, complete)
        slots = max(complete) + tokens.length
        keys, values = memory["keys"][:, :, :slots], memory["values"][:, :, :slots]
        shared = {"enable_gqa": True} if query.shape[1] != keys.shape[1] else {}
        query, scale = _narrowed(query, dtype, self.score_scale)
        mask = _visible(new, slots)
        out = scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=scale, **shared)
        self._keep(key, value, memory, new)
        return out

    def absorb(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, tokens: NewTokens) -> None:
        new = NewPairs(self.stream.windows, tokens)
        _, key, value = self.stream.many(query[:, :, :1], key, value, memory, new)
        if self.stream.windows.size == 1:
            write(memory, "keys", key, tokens.starts)
            write(memory, "values", value, tokens.starts)
        self._keep(key, value, memory, new)

    def _keep(self, key: Tensor, value: Tensor, memory: Memory, new: NewPairs) -> None:
        """Bring complete pairs to their slots; single tokens are there already."""
        if self.stream.windows.size == 1 or new.kept is None:
            return
        needed = max(self.filled(memory, new.tokens.ends)) + 1
        rows, tokens = new.kept.expand(key.shape[0], -1).nonzero(as_tuple=True)
        window = new.window.expand(key.shape[0], -1)[rows, tokens]
        for name, pairs in (("keys", key), ("values", value)):
            held = grow(memory, name, needed)
            held.transpose(1, 2)[rows, window] = pairs.transpose(1, 2)[rows, tokens].to(held.dtype)


def _narrowed(query: Tensor, dtype: torch.dtype, scale: float) -> tuple[Tensor, float]:
    """The queries in the type of the cache, and the scale of their scores."""
    if dtype != torch.float16 or query.dtype == dtype:
        return query.to(dtype), scale
    most = torch.finfo(dtype).max
    return (query / HEADROOM).clamp(-most, most).to(dtype), HEADROOM * scale


def _visible(new: NewPairs, slots: int) -> Tensor:
    """Bool (rows, 1, n, slots): complete pairs, and among the new ones behind them what each token sees."""
    behind = torch.arange(slots, device=new.former.device) - new.former
    index = behind.clamp(0, new.tokens.length - 1)[:, None, None].expand(-1, -1, new.tokens.length, -1)
    among = new.visible.expand(index.shape[0], -1, -1, -1).gather(3, index)
    inside = behind[:, None, None] < new.tokens.length
    return (behind[:, None, None] < 0) | (among & inside)
