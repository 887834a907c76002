"""Steps of one token by kernels whose shapes stay fixed, for states that keep pairs on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from primaldual.kernels.gpu.availability import available
from primaldual.primal.decoding.head_decoders import HeadDecoder
from primaldual.primal.decoding.memory import Memory, grow
from primaldual.primal.decoding.pair_cache import PairCache
from primaldual.primal.decoding.sizes import Sizes

if TYPE_CHECKING:
    from primaldual.kernels.gpu.decode_step import CachedHeads

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
WIDEST = 256
"""Largest dimension of heads that a program holds."""


class FixedStep:
    """One token of every sequence, with the memories of a state changed in place.

    Args:
        decoders: those of all heads, which :func:`served` accepts.
        memories: what they keep.
        sizes: of the state.
        lengths: tokens of each sequence so far, each 1 or more.

    Attributes:
        room: tokens that the longest sequence may have without larger caches.
        positions: tokens of each sequence so far, on the device.
    """

    def __init__(
        self, decoders: Sequence[HeadDecoder], memories: Sequence[Memory], sizes: Sizes, lengths: list[int]
    ) -> None:
        from primaldual.kernels.gpu.decode_step import DecodeStep, Normalization

        caches = [
            _cached(heads, memory, sizes, max(lengths) + 1)
            for heads, memory in zip(decoders, memories, strict=True)
        ]
        first = decoders[0].decoder
        assert isinstance(first, PairCache)
        facts = first.stream.transform.fixed_facts()
        assert facts is not None
        normalization = None if facts.beta is None else Normalization(facts.beta, facts.eps)
        self.room = min(_room(cache) for cache in caches)
        self._step = DecodeStep(caches, lengths, first.score_scale, normalization)
        self.positions = self._step.positions

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The outputs (batch, heads, 1, Dv); the lengths on the device grow by one."""
        return self._step(query, key, value)


def served(decoders: Sequence[HeadDecoder], sizes: Sizes) -> bool:
    """Whether the kernels serve these heads: softmax over cached pairs, T the identity or plain batch normalisation."""
    return (
        available(sizes.device.type)
        and sizes.dtype in DTYPES
        and max(sizes.head_dim, sizes.value_dim) <= WIDEST
        and all(
            isinstance(heads.decoder, PairCache) and heads.decoder.stream.transform.fixed_facts() is not None
            for heads in decoders
        )
    )


def _cached(heads: HeadDecoder, memory: Memory, sizes: Sizes, length: int) -> CachedHeads:
    """The tensors of some heads, with room for so many tokens."""
    from primaldual.kernels.gpu.decode_step import CachedHeads

    assert isinstance(heads.decoder, PairCache)
    windows, normalized = heads.decoder.stream.windows, memory.children[0]
    for name in ("keys", "values"):
        grow(memory, name, windows.complete(length - 1) + 1)
    for owner in (memory, normalized):
        for name, tensor in owner.items():
            owner[name] = tensor.contiguous()
    every = list(range(sizes.heads)), list(range(sizes.kv_heads))
    members, key_heads = (
        all_heads if chosen is None else all_heads[chosen] if isinstance(chosen, slice) else chosen
        for chosen, all_heads in zip((heads.members, heads.key_heads), every, strict=True)
    )
    return CachedHeads(
        memory["keys"],
        memory["values"],
        memory.get("shift"),
        memory.get("partial_key"),
        memory.get("partial_value"),
        normalized.get("mean"),
        normalized.get("deviations"),
        windows.size,
        windows.prefix,
        members,
        key_heads,
    )


def _room(cache: CachedHeads) -> int:
    """Tokens whose pairs, the last one complete or not, fit into a cache."""
    slots = cache.keys.shape[2]
    return slots if slots <= cache.prefix else cache.prefix + (slots - cache.prefix) * cache.size
