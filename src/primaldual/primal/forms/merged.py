"""Causal softmax attention whose last keys before a query are changed query by query, merged with all before them."""

from __future__ import annotations

from torch import Tensor

from primaldual.kernels.flash import FlashCall, MergeableCall
from primaldual.kernels.masks import keep_attendable
from primaldual.kernels.merged import EarlierKeys, MergedCall, RecentKeys, attention_of
from primaldual.kernels.precision import own_precision
from primaldual.primal.call import Call
from primaldual.primal.choices import Choices
from primaldual.primal.forms.form import (
    Cost,
    Form,
    kernel_refusal,
    pairs_scored,
    softmax_refusal,
    transform_operations,
)
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.question import Question
from primaldual.primal.training_sets import PREFIX, Kind


class Merged(Form):
    """Two pieces of one softmax: keys that are the same for all later queries, and the few that are not yet."""

    name = "merged"

    def refusal(self, choices: Choices, heads: HeadSet, question: Question) -> str | None:
        if refused := kernel_refusal(question):
            return refused
        if refused := softmax_refusal(choices, question):
            return refused
        if not question.is_causal or not question.square:
            return "needs a causal mask over as many queries as keys"
        if choices.subset.training_kind(heads, question.pairs, True) != Kind(PREFIX):
            return "needs all keys up to each query"
        if not choices.transform.unsettled_keys:
            return "needs a transform that changes only the last keys before a query anew"
        return None

    def cost(self, choices: Choices, heads: HeadSet, question: Question) -> Cost:
        count = question.batch * len(heads.members)
        copies = 1 + (choices.transform.unsettled_keys or 0)
        operations = 2 * pairs_scored(choices, heads, question) * (question.head_dim + question.value_dim)
        operations += copies * transform_operations(choices, heads, question)
        return Cost(count * operations, count * copies * question.key_length * question.head_dim)

    def attend(self, call: Call, heads: HeadSet) -> Tensor:
        query, transform = call.queries(heads), call.choices.transform
        training = call.training_set(heads)
        mask = training.attendable.keys
        with own_precision(query.device):
            training = training.for_query_heads(len(heads.members))
            training = training.with_keys(keep_attendable(training.key, mask))
            recent = tuple(transform.unsettled(training, heads))
            calls: list[MergeableCall] = [RecentKeys(recent, training.value, call.scale, mask)]
            if (end := training.key.shape[2] - len(recent)) > 0:
                settled = transform.shared(query, training, heads)[1].key.to(query.dtype)[:, :, :end]
                mask = None if mask is None else mask[..., :end]
                earlier = FlashCall(settled, training.value[:, :, :end], call.scale, mask, is_causal=True)
                calls.append(EarlierKeys(earlier, len(recent)))
            return attention_of(MergedCall(tuple(calls)), query)
