"""Sharded attention by adding up sums over keys: of factored attentions no key travels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.masks import keep_attendable
from primaldual.kernels.precision import own_precision
from primaldual.kernels.statistics import accumulation_dtype
from primaldual.parallel.collectives import add_up
from primaldual.parallel.moments import standardized, whole_statistics
from primaldual.parallel.sharded_call import ShardedCall, shared_pairs, standardization
from primaldual.primal.attention import Attention
from primaldual.primal.choices import Choices
from primaldual.primal.forms.form import differentiable


def summable(attention: Attention, heads: int, head_dim: int, is_causal: bool) -> Choices | None:
    """The parts of an attention that is Phi(T q) . sum_j Phi(T k_j) v_j^T, maybe normalised by its sum; or None."""
    choices = shared_pairs(attention, heads, is_causal)
    if choices is None or choices.feature_map.feature_count(head_dim) is None or choices.normalizer.sink:
        return None
    return None if choices.normalizer.factored is None else choices


def summed(call: ShardedCall) -> Tensor | None:
    """The outputs by sums over the keys of each process, F (Dv + 1) numbers for every key head; None = not that.

    S = sum_j Phi(T k_j) (v_j, 1)^T over the keys of all processes,  out_i = Phi(T q_i) S
    """
    heads = call.query.shape[1]
    choices = summable(call.attention, heads, call.query.shape[3], call.is_causal)
    if choices is None or call.dropout_p:
        return None
    wide = accumulation_dtype(call.query.dtype)
    query, key, value = (tensor.to(wide) for tensor in (call.query, call.key, call.value))
    with own_precision(query.device):
        by = standardization(choices, heads)
        if by is not None:
            query, key = standardized(query, key, whole_statistics(call), by, exact=True)
        queries, keys = (choices.feature_map.features(tensor) for tensor in (query, key))
        assert queries is not None
        assert keys is not None
        keys = keep_attendable(keys, call.own_mask)
        values = pad(for_query_heads(value, keys.shape[1]), (0, 1), value=1.0)
        (sums,) = add_up([keys.transpose(-2, -1) @ values], call.shards.group)
        out, total = (queries @ for_query_heads(sums, heads)).tensor_split([value.shape[3]], -1)
        if choices.normalizer.factored:
            out = out / torch.where(total != 0, total, torch.inf)
        return differentiable(out.to(call.query.dtype), choices)
