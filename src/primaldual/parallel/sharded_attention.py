"""An attention whose keys and values are split over the processes of a group."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from torch import Tensor

from primaldual.errors import UnsupportedError
from primaldual.kernels.masks import Attendable
from primaldual.parallel.gathered import local_call, normalized
from primaldual.parallel.refusals import check_shardable
from primaldual.parallel.sequences import whole_mask
from primaldual.parallel.sharded_call import ShardedCall
from primaldual.parallel.shards import agree, check_group, telling_others
from primaldual.parallel.summed import summed
from primaldual.primal.attention import Attention
from primaldual.primal.reading import read
from primaldual.primal.sources import KeyValueSource
from primaldual.primal.token_inputs import Inputs, TokenInput, check_inputs, with_values


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
        call = self._agreed(query, source, attendable, dropout_p, inputs)
        found = _by_moments(call)
        if found is None:
            found = self.attention.compute_source(*local_call(call))
        return found.to(call.value.dtype)

    def forward(
        self,
        query: Tensor,
        source: KeyValueSource,
        attendable: Attendable,
        dropout_p: float = 0.0,
        inputs: Inputs | None = None,
    ) -> Tensor:
        call = self._agreed(query, source, attendable, dropout_p, inputs)
        outputs = _by_moments(call)
        if outputs is None:
            outputs = self.attention(*local_call(call))
        return outputs.to(call.value.dtype)

    def _agreed(
        self,
        query: Tensor,
        source: KeyValueSource,
        attendable: Attendable,
        dropout_p: float,
        inputs: Inputs | None,
    ) -> ShardedCall:
        """The call, which every process makes alike."""
        check_group(self.group)
        with telling_others(query.device, self.group):
            check_shardable(self.attention, query, attendable)
            key, value = source.tensors or source.take(list(range(query.shape[1])))
            needs = self.token_inputs
            inputs = with_values(needs, inputs, query.shape[1], value)
            given = check_inputs(self, needs, inputs, query, source.length, value.shape[3])
        shards = agree(self.attention, query, key, value, attendable, dropout_p, given, self.group)
        mask, is_causal = whole_mask(attendable, shards, key.device), attendable.is_causal
        return ShardedCall(self.attention, query, key, value, mask, is_causal, dropout_p, given, shards)

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

    def init_state(self, *sizes: object, **options: object) -> NoReturn:
        """Unsupported: a sequence that is decoded token by token lies on one process.

        Raises:
            UnsupportedError: always.
        """
        del sizes, options
        raise UnsupportedError(
            "sharded attention does not decode; call init_state and step outside of the context"
        )

    step = init_state


def _by_moments(call: ShardedCall) -> Tensor | None:
    """The outputs by sums, or by keys that are normalised before they travel; None where neither applies."""
    outputs = summed(call)
    return normalized(call) if outputs is None else outputs
