"""An attention whose keys and values are split over the processes of a group."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

import torch
from torch import Tensor

from primaldual.errors import UnsupportedError
from primaldual.kernels.masks import Attendable
from primaldual.parallel.refusals import check_shardable
from primaldual.parallel.sequences import Sent, joined, what_is_sent, whole_mask
from primaldual.parallel.shards import agree, check_group, telling_others
from primaldual.primal.attention import Attention
from primaldual.primal.reading import read
from primaldual.primal.sources import KeyValueSource, TensorSource, pick
from primaldual.primal.token_inputs import KEYS, Inputs, TokenInput, check_inputs


class ShardedAttention(Attention):
    """The attention of queries on one process to the keys of all: its own shard of the output of the whole.

    Args:
        attention: what one process would compute on the whole sequence.
        group: the process group; None = the default one.
    """

    def __init__(self, attention: Attention, group: Any = None) -> None:
        super().__init__()
        self.attention = attention
        self.group = group

    def spec(self) -> str:
        return self.attention.spec()

    def problems(self, heads: int) -> Iterable[tuple[Any, list[int]]]:
        return self.attention.problems(heads)

    @property
    def token_inputs(self) -> tuple[TokenInput, ...]:
        return self.attention.token_inputs

    def keep_heads(self, members: list[int], heads: int) -> Attention:
        return ShardedAttention(self.attention.keep_heads(members, heads), self.group)

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        is_causal: bool = False,
        dropout_p: float = 0.0,
        *,
        inputs: Inputs | None = None,
    ) -> Tensor:
        check_group(self.group)
        with telling_others(query.device, self.group):
            source, attendable = read(query, key, value, mask, is_causal, dropout_p)
        outputs: Tensor = self(query, source, attendable, dropout_p, inputs)
        return outputs

    def compute_source(
        self,
        query: Tensor,
        source: KeyValueSource,
        attendable: Attendable,
        dropout_p: float = 0.0,
        inputs: Inputs | None = None,
    ) -> Tensor:
        return self.attention.compute_source(*self._shared(query, source, attendable, dropout_p, inputs))

    def forward(
        self,
        query: Tensor,
        source: KeyValueSource,
        attendable: Attendable,
        dropout_p: float = 0.0,
        inputs: Inputs | None = None,
    ) -> Tensor:
        outputs: Tensor = self.attention(*self._shared(query, source, attendable, dropout_p, inputs))
        return outputs

    def _shared(
        self,
        query: Tensor,
        source: KeyValueSource,
        attendable: Attendable,
        dropout_p: float,
        inputs: Inputs | None,
    ) -> tuple[Tensor, TensorSource, Attendable, float, Inputs]:
        """The call that gives this process its outputs, on the keys and values that it needs of all processes."""
        check_group(self.group)
        heads = query.shape[1]
        with telling_others(query.device, self.group):
            check_shardable(self.attention, query, attendable)
            key, value = source.tensors or source.take(list(range(heads)))
            given = check_inputs(self, self.token_inputs, inputs, query, source.length, value.shape[3])
        shards = agree(self.attention, query, key, value, attendable, dropout_p, given, self.group)
        start, stop = shards.spans[shards.rank]
        mask = whole_mask(attendable, shards, key.device)
        sent = what_is_sent(self.attention, heads, key.shape[1], shards.total)
        pairs = [(each, pick(rows, each.kv_heads)) for each in sent for rows in (key, value)]
        of_keys = [need.name for need in self.token_inputs if need.tokens == KEYS]
        every = Sent(None, [], [])
        own_mask = None if mask is None else mask[..., start:stop]
        whole = joined(
            [*pairs, *((every, given[name]) for name in of_keys)], own_mask, shards, attendable.is_causal
        )
        order = _order(sent, heads, key.shape[1])
        keys, values = (pick(torch.cat(whole[first : len(pairs) : 2], 1), order) for first in (0, 1))
        if mask is not None and attendable.is_causal:
            mask = mask[..., :stop]
        given |= dict(zip(of_keys, whole[len(pairs) :], strict=True))
        reached = Attendable(mask, is_causal=attendable.is_causal)
        return query, TensorSource(keys, values, heads), reached, dropout_p, given

    def attention_map(self, *tensors: object, **options: object) -> NoReturn:
        """Unsupported: its columns are the keys of all processes.

        Raises:
            UnsupportedError: always.
        """
        del tensors, options
        raise UnsupportedError(
            "sharded attention has no attention map, whose columns would be the keys of all processes; pass "
            "need_weights=False"
        )


def _order(sent: list[Sent], heads: int, kv_heads: int) -> list[int]:
    """Where the key heads are among those that travel: one for each, or for each query head if these pool otherwise."""
    travelling = [(each, kv_head) for each in range(len(sent)) for kv_head in sent[each].kv_heads]
    place = {pair: number for number, pair in enumerate(travelling)}
    if len(place) == kv_heads:
        return [number for _, number in sorted((kv, number) for (_, kv), number in place.items())]
    groups = heads // kv_heads
    of_head = {head: each for each in range(len(sent)) for head in sent[each].heads}
    return [place[of_head[head], head // groups] for head in range(heads)]
