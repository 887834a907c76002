"""Causal softmax over pairs whose weights are exp(c_i - c_j): blocks of queries, by PyTorch's CPU kernel."""

from __future__ import annotations

from torch import Tensor

from primaldual.kernels.decayed import DecayedCall
from primaldual.kernels.merged import attention_of
from primaldual.kernels.precision import own_precision
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


class Decayed(Form):
    """sum_(j <= i) softmax_j(c q' . k_j + c_i - c_j) v_j by the blockwise CPU kernel, without keys that are forgotten."""

    name = "decayed"

    def refusal(self, choices: Choices, heads: HeadSet, question: Question) -> str | None:
        if not choices.pair_weights.summed:
            return "needs weights of pairs that are exp(c_i - c_j)"
        if refused := kernel_refusal(question):
            return refused
        if refused := softmax_refusal(choices._replace(pair_weights=PairWeights()), question):
            return refused
        last = (
            question.query_length == 1 and not choices.pair_weights.relative
        )  # every key is up to a last query
        if not (question.is_causal or last):
            return "needs queries that attend no later key"
        if question.pairs:
            return "takes no mask that differs from query to query"
        if question.query_length > question.key_length:
            return "needs a key for every query"
        kind = choices.subset.training_kind(heads, question.pairs, question.is_causal)
        if not heads.single(question.key_length) or choices.subset.patterned or isinstance(kind, str):
            return "needs all single keys up to the query"
        return shared_pairs_refusal(choices, heads, question)

    def cost(self, choices: Choices, heads: HeadSet, question: Question) -> Cost:
        return softmax_cost(choices, heads, question, question.key_length)

    def attend(self, call: Call, heads: HeadSet) -> Tensor:
        query, transform, members = call.queries(heads), call.choices.transform, heads.members
        training = call.training_set(heads)  # projected as autocast says
        count, length = call.query.shape[1], call.source.length
        sums = call.choices.pair_weights.prefix_sums(heads, count, length, call.inputs, query)
        scale = call.choices.feature_map.score_scale(query.shape[-1])
        assert scale is not None

        def attend(rows: Tensor, seen: TrainingSet, first: int) -> Tensor:
            changed, seen = transform.into_query(rows, seen, heads)
            seen = seen.for_query_heads(len(members))
            key, value = (tensor.to(changed.dtype) for tensor in (seen.key, seen.value))
            sums_seen, mask = sums[..., : key.shape[2]], seen.attendable.keys
            decayed = DecayedCall(key, value, sums_seen, scale, mask, sums.requires_grad)
            return attention_of(decayed, changed[:, :, first:])

        with own_precision(query.device):
            return over_row_blocks(query, training, transform, attend)
