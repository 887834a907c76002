"""Sharded attention by gathering keys and values: every process runs the attention for its own queries."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.kernels.masks import Attendable
from primaldual.kernels.precision import own_precision
from primaldual.kernels.softmax import softmax_attention
from primaldual.parallel.moments import standardized, whole_statistics
from primaldual.parallel.pooled_source import PooledSource, SentPairs
from primaldual.parallel.sequences import Sent, in_sequence, received, what_is_sent
from primaldual.parallel.sharded_call import ShardedCall, shared_pairs, standardization
from primaldual.primal.attention import Attention
from primaldual.primal.choices import Choices
from primaldual.primal.forms.form import differentiable
from primaldual.primal.sources import KeyValueSource, TensorSource, pick
from primaldual.primal.token_inputs import KEYS, Inputs

Arguments = tuple[Tensor, KeyValueSource, Attendable, float, Inputs]
EVERY_KEY = Sent(None, [], [])


def local_call(call: ShardedCall) -> Arguments:
    """The call on one process that gives its outputs: its queries, and the keys and values that they need of all.

    Under a causal mask these are the keys up to its last query, which are the last ones then; where some of them are
    means, a call of half precision is one of float32, as they are.
    """
    heads, kv_heads = call.query.shape[1], call.key.shape[1]
    sent = what_is_sent(call.attention, heads, kv_heads, call.shards.total)
    of_keys = [need.name for need in call.attention.token_inputs if need.tokens == KEYS]
    tensors = [(each, pick(rows, each.kv_heads)) for each in sent for rows in (call.key, call.value)]
    pairs = len(tensors)
    tensors += [(EVERY_KEY, call.inputs[name]) for name in of_keys]
    found = received(tensors, call.own_mask, call.shards)
    parts = [[mine[number] for mine in found] for number in range(len(tensors))]

    def whole(number: int) -> Tensor:
        return in_sequence(*tensors[number], parts[number], call.shards, call.is_causal)

    source: KeyValueSource
    query, given = call.query, call.inputs
    if (
        call.is_causal
        or call.value.shape[3] != call.key.shape[3]
        or all(each.windows is None for each in sent)
    ):
        order = _order(sent, heads, kv_heads)
        keys, values = (
            pick(torch.cat(list(map(whole, range(first, pairs, 2))), 1), order) for first in (0, 1)
        )
        source = TensorSource(keys, values, heads)
        query, given = _as_wide(query, keys), {name: _as_wide(each, keys) for name, each in given.items()}
    else:
        groups = [
            SentPairs(
                each,
                (tensors[2 * number][1], tensors[2 * number + 1][1]),
                (parts[2 * number], parts[2 * number + 1]),
            )
            for number, each in enumerate(sent)
        ]
        source = PooledSource(groups, heads // kv_heads, call.shards)
    mask = call.mask
    if mask is not None and call.is_causal:
        mask = mask[..., : call.shards.spans[call.shards.rank][1]]
    wholes = {name: whole(pairs + number).to(given[name].dtype) for number, name in enumerate(of_keys)}
    return query, source, Attendable(mask, is_causal=call.is_causal), call.dropout_p, {**given, **wholes}


def _as_wide(tensor: Tensor, keys: Tensor) -> Tensor:
    """A tensor in the type of the keys, if that is wider."""
    return tensor.to(torch.promote_types(tensor.dtype, keys.dtype))


def _order(sent: list[Sent], heads: int, kv_heads: int) -> list[int]:
    """Where the key heads are among those that travel: one for each, or for each query head if these pool otherwise."""
    travelling = [(each, kv_head) for each in range(len(sent)) for kv_head in sent[each].kv_heads]
    place = {pair: number for number, pair in enumerate(travelling)}
    if len(place) == kv_heads:
        return [number for _, number in sorted((kv, number) for (_, kv), number in place.items())]
    groups = heads // kv_heads
    of_head = {head: each for each in range(len(sent)) for head in sent[each].heads}
    return [place[of_head[head], head // groups] for head in range(heads)]


def normalizable(attention: Attention, heads: int, head_dim: int, is_causal: bool) -> Choices | None:
    """The parts of a softmax attention whose queries and keys are batch-normalised by the same statistics; or None."""
    choices = shared_pairs(attention, heads, is_causal)
    if choices is None or choices.untransformed or choices.softmax_scale(head_dim) is None:
        return None
    return choices


def normalized(call: ShardedCall) -> Tensor | None:
    """Such an attention by queries and keys that are normalised before they travel; None where it is not that."""
    heads, head_dim = call.query.shape[1], call.query.shape[3]
    choices = normalizable(call.attention, heads, head_dim, call.is_causal)
    if choices is None:
        return None
    scale, by = choices.softmax_scale(head_dim), standardization(choices, heads)
    assert scale is not None
    assert by is not None
    with own_precision(call.query.device):
        query, key = standardized(call.query, call.key, whole_statistics(call), by, exact=False)
        pairs = [(EVERY_KEY, key.to(call.key.dtype)), (EVERY_KEY, call.value)]
        found = received(pairs, None, call.shards)
        keys, values = (
            in_sequence(*pair, [mine[number] for mine in found], call.shards)
            for number, pair in enumerate(pairs)
        )
        query = query.to(call.query.dtype)
        out = softmax_attention(query, keys, values, Attendable(call.mask), scale, call.dropout_p)
        return differentiable(out, choices)
