"""Softmax over pairs that count differently: their logarithms are added to the scores, a few queries at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.kernels.biased import BLOCK_ROWS, BiasedCall
from primaldual.kernels.merged import attention_of
from primaldual.kernels.precision import own_precision
from primaldual.kernels.statistics import accumulation_dtype
from primaldual.primal.call import Call
from primaldual.primal.choices import Choices
from primaldual.primal.forms.form import (
    Cost,
    Form,
    kernel_refusal,
    over_row_blocks,
    shared_pairs_refusal,
    softmax_cost,
    softmax_refusal,
)
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.pair_weights import PairWeights
from primaldual.primal.question import Question
from primaldual.primal.training_sets import TrainingSet


class Biased(Form):
    """sum_j softmax_j(c q' . k_j + log w_ij) v_j by the blockwise CPU kernel."""

    name = "biased"

    def refusal(self, choices: Choices, heads: HeadSet, question: Question) -> str | None:
        if not choices.pair_weights.uneven:
            return "needs pairs that count differently"
        if not choices.pair_weights.relative:
            return "needs weights by distance alone"
        if refused := kernel_refusal(question):
            return refused
        if refused := softmax_refusal(choices._replace(pair_weights=PairWeights()), question):
            return refused
        if question.is_causal and question.query_length > question.key_length:
            return "needs a key for every query of a causal mask"
        kind = choices.subset.training_kind(heads, question.pairs, question.is_causal)
        if not heads.single(question.key_length) or choices.subset.patterned or isinstance(kind, str):
            return "needs all single keys that the mask allows"
        return shared_pairs_refusal(choices, heads, question)

    def cost(self, choices: Choices, heads: HeadSet, question: Question) -> Cost:
        return softmax_cost(choices, heads, question, question.key_length)

    def attend(self, call: Call, heads: HeadSet) -> Tensor:
        query, transform = call.queries(heads), call.choices.transform
        training = call.training_set(heads)  # projected as autocast says

        def attend(rows: Tensor, seen: TrainingSet, first: int) -> Tensor:
            changed, seen = transform.into_query(rows, seen, heads)
            return _attend(call, heads, changed, seen, first)

        with own_precision(query.device):
            return over_row_blocks(query, training, transform, attend)


def _attend(call: Call, heads: HeadSet, query: Tensor, training: TrainingSet, first: int) -> Tensor:
    """The outputs of queries from number ``first`` on."""
    training = training.for_query_heads(len(heads.members))
    key, value = (tensor.to(query.dtype) for tensor in (training.key, training.value))
    masks, scale = training.attendable, call.choices.feature_map.score_scale(query.shape[-1])
    assert scale is not None
    mask, is_causal, length = masks.keys, masks.is_causal, key.shape[2]
    if masks.pairs is not None:
        mask, is_causal = masks.matrix(query.shape[2], length, query.device), False
    block_rows = min(BLOCK_ROWS, query.shape[2])
    ahead = max(block_rows, 1 if is_causal else length + query.shape[2])
    wide = accumulation_dtype(query.dtype)
    place = torch.arange(-length, ahead, dtype=wide, device=query.device)
    rows = place[length : length + block_rows]
    count = call.query.shape[1]
    bias = call.choices.pair_weights.log_weights(heads, count, rows, place, call.inputs)
    if is_causal:
        bias += torch.where(place > rows[:, None], -torch.inf, 0.0)
    biased = BiasedCall(key, value, scale, bias.to(query.dtype), mask)
    return attention_of(biased, query[:, :, first:])
