"""Steps of one token by kernels whose shapes stay fixed, for states that keep pairs or a window of tokens on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from primaldual.kernels.gpu.availability import available
from primaldual.primal.decoding.decoder import Decoder
from primaldual.primal.decoding.head_decoders import HeadDecoder
from primaldual.primal.decoding.history import History
from primaldual.primal.decoding.incremental import FixedFacts
from primaldual.primal.decoding.memory import Memory, grow
from primaldual.primal.decoding.pair_cache import PairCache
from primaldual.primal.decoding.sizes import Sizes
from primaldual.primal.decoding.windows import Windows

if TYPE_CHECKING:
    from primaldual.kernels.gpu.decode_table import CachedHeads

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
        positions: slots that a cache of single tokens has filled for each sequence, on the device.
    """

    def __init__(
        self, decoders: Sequence[HeadDecoder], memories: Sequence[Memory], sizes: Sizes, lengths: list[int]
    ) -> None:
        from primaldual.kernels.gpu.decode_step import DecodeStep, Normalization

        first = decoders[0].decoder
        held = lengths
        if isinstance(first, History):
            held = first.make_room(memories[0], lengths, 1)
        caches = [
            _cached(heads, memory, sizes, max(held) + 1)
            for heads, memory in zip(decoders, memories, strict=True)
        ]
        facts, scale = _facts(first), _scale(first, sizes.head_dim)
        assert facts is not None
        assert scale is not None
        normalization = None if facts.beta is None else Normalization(facts.beta, facts.eps)
        self.room = max(lengths) - max(held) + min(_room(cache) for cache in caches)
        self._step = DecodeStep(caches, held, scale, normalization)
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
            _facts(heads.decoder) is not None and _scale(heads.decoder, sizes.head_dim) is not None
            for heads in decoders
        )
    )


def _facts(decoder: Decoder) -> FixedFacts | None:
    """What T is, where a cache holds all that it needs; a window is served untransformed."""
    if isinstance(decoder, PairCache):
        return decoder.stream.transform.fixed_facts()
    return FixedFacts() if isinstance(decoder, History) and decoder.reach is not None else None


def _scale(decoder: Decoder, head_dim: int) -> float | None:
    """The factor on scores whose softmax, over the cached pairs within reach, gives the weights."""
    if isinstance(decoder, PairCache):
        return decoder.score_scale
    if not isinstance(decoder, History):
        return None
    choices = decoder.problem.parts()
    plain = (
        choices.subset.unbroken
        and choices.untransformed
        and not (choices.order.linear or choices.token_inputs)
    )
    return choices.softmax_scale(head_dim) if plain else None


def _cached(heads: HeadDecoder, memory: Memory, sizes: Sizes, length: int) -> CachedHeads:
    """The tensors of some heads, with room for a number of tokens."""
    from primaldual.kernels.gpu.decode_table import CachedHeads

    decoder, windows, reach, normalized = heads.decoder, Windows(), None, Memory()
    if isinstance(decoder, PairCache):
        windows, normalized = decoder.stream.windows, memory.children[0]
    elif isinstance(decoder, History):
        reach, length = decoder.reach, decoder.room
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
        reach,
    )


def _room(cache: CachedHeads) -> int:
    """Tokens whose pairs, the last one complete or not, fit into a cache."""
    slots = cache.keys.shape[2]
    return slots if slots <= cache.prefix else cache.prefix + (slots - cache.prefix) * cache.size
