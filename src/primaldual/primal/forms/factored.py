"""Attention from features of queries and keys, the sum over the keys first: linear in the length."""

from __future__ import annotations

from torch import Tensor

from primaldual.kernels.linear import linear_attention
from primaldual.kernels.precision import own_precision
from primaldual.kernels.statistics import accumulation_dtype
from primaldual.primal.call import Call
from primaldual.primal.choices import Choices
from primaldual.primal.forms.form import Cost, Form, transform_operations, weighted_mean_refusal
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.question import GRAPH, TRANSFORM, Question
from primaldual.primal.training_sets import OWN

FEW_FEATURES = 1024
"""Most features that are factored in a graph, which serves lengths that are not known."""


class Factored(Form):
    """Phi(T q) . sum_j Phi(T k_j) v_j^T, divided by Phi(T q) . sum_j Phi(T k_j) where h is the sum of kernels."""

    name = "factored"

    def refusal(self, choices: Choices, heads: HeadSet, question: Question) -> str | None:
        if refused := weighted_mean_refusal(choices):
            return refused
        return features_refusal(choices, heads, question)

    def cost(self, choices: Choices, heads: HeadSet, question: Question) -> Cost:
        features = choices.feature_map.feature_count(question.head_dim) or 0
        pairs, count = heads.pairs(question.key_length), question.batch * len(heads.members)
        rows = question.query_length + pairs
        operations = 2 * features * (rows * question.value_dim + question.query_length)
        operations += rows * choices.feature_map.operations(question.head_dim)
        operations += transform_operations(choices, heads, question)
        return Cost(count * operations, count * features * (rows + question.value_dim))

    def attend(self, call: Call, heads: HeadSet) -> Tensor:
        feature_map, query = call.choices.feature_map, call.queries(heads)
        training = call.training_set(heads)
        with own_precision(query.device):
            changed, training = call.choices.transform.shared(query, training, heads)
            wide = accumulation_dtype(query.dtype)  # powers leave the range of half precision
            query_features = feature_map.features(changed.to(wide))
            key_features = feature_map.features(training.key.to(wide))
            assert query_features is not None
            assert key_features is not None
            if training.log_weight is not None:
                weight = training.log_weight.transpose(-2, -1).exp()
                key_features = key_features * weight.to(key_features.dtype)
            return linear_attention(
                query_features,
                key_features,
                training.value,
                key_mask=training.attendable.keys,
                is_causal=training.attendable.is_causal,
                normalize=bool(call.choices.normalizer.factored),
            )


def features_refusal(choices: Choices, heads: HeadSet, question: Question) -> str | None:
    """Why features of queries and keys do not serve, whatever is made of their sums."""
    count = choices.feature_map.feature_count(question.head_dim)
    if count is None:
        return "needs a finite feature map"
    if choices.pair_weights.uneven:
        return "needs pairs that count alike"
    if choices.normalizer.factored is None:
        return "needs a normaliser that does not see the kernel matrix"
    if question.dropout:
        return "has no weights to drop"
    if question.empty:
        return "needs a query and a key"
    if question.mode == TRANSFORM:
        return "has no rules for torch.func and forward-mode differentiation"
    if count > _most(question):
        return f"{count} features cost more than the kernel matrix"
    kind = choices.subset.training_kind(heads, question.pairs, question.is_causal)
    if isinstance(kind, str):
        return kind
    if kind.seen == OWN or kind.pooled_late:
        return "needs training keys that all queries share, or those up to each"
    return choices.transform.shared_refusal(kind)


def _most(question: Question) -> int:
    """Features up to which N products with them cost less than N^2 products of queries and keys, roughly."""
    if question.mode == GRAPH:
        return FEW_FEATURES
    return max(4 * question.head_dim, question.key_length)
