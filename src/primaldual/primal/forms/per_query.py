"""Training keys of every query, formed a few queries at a time: for what changes them query by query."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import dropout

from primaldual.kernels.layout import SEQUENCE
from primaldual.kernels.precision import own_precision
from primaldual.kernels.row_scores import FormedPairs, JoinedPairs, softmax_of_pairs
from primaldual.kernels.statistics import KeyStatistics, accumulation_dtype
from primaldual.primal.call import Call
from primaldual.primal.choices import Choices
from primaldual.primal.definition import normalized_kernel
from primaldual.primal.forms.form import (
    Cost,
    Form,
    row_pairs_refusal,
    transform_operations,
    weighted_mean_refusal,
)
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.question import EAGER, Question
from primaldual.primal.row_blocks import BLOCK_NUMBERS, by_rows
from primaldual.primal.training_sets import Kind
from primaldual.primal.transforms import Transform


class PerQuery(Form):
    """Pools as products of shares and keys, then T, kernel and normaliser of each query by their definitions.

    Values are not pooled: the weight of a pool is spread over its members.
    """

    name = "per query"

    def refusal(self, choices: Choices, heads: HeadSet, question: Question) -> str | None:
        if question.mode != EAGER:
            return "runs outside of graphs and of transforms of functions"
        if refused := weighted_mean_refusal(choices) or row_pairs_refusal(choices):
            return refused
        if not (choices.normalizer.cancels_query_factors or _few_features(choices, question.head_dim)):
            return "keeps too few digits of kernels that nothing normalises"
        if question.empty:
            return "needs a query and a key"
        kind = choices.subset.training_kind(heads, question.pairs, question.is_causal)
        if isinstance(kind, str):
            return kind
        own = type(choices.transform).per_query is not Transform.per_query
        if not (own or heads.scale > 1 or _few_features(choices, question.head_dim)):
            return (
                "gains nothing where pairs are positions, and neither kernel nor transform has a faster form"
            )
        return None

    def cost(self, choices: Choices, heads: HeadSet, question: Question) -> Cost:
        pairs, queries, count = (
            heads.pairs(question.key_length),
            question.query_length,
            question.batch * len(heads.members),
        )
        operations = 2 * queries * (pairs * question.head_dim + question.key_length * question.value_dim)
        if heads.scale > 1:
            operations += 2 * queries * question.key_length * question.head_dim
        operations += queries * transform_operations(choices, heads, question)
        return Cost(count * operations, min(count * queries * pairs * question.head_dim, BLOCK_NUMBERS))

    def caution(self, choices: Choices, heads: HeadSet, question: Question) -> str | None:
        kind = choices.subset.training_kind(heads, question.pairs, question.is_causal)
        if isinstance(kind, str) or _alike(choices, heads, kind):
            return None
        reason = (
            choices.transform.shared_refusal(kind)
            or f"{choices.subset.spec()} pools for every query what it may attend"
        )
        return (
            f"{choices.spec()} forms {question.head_dim} numbers for each pair of query and key, where softmax attention "
            f"forms one score: {reason}"
        )

    def attend(self, call: Call, heads: HeadSet) -> Tensor:
        choices, pairs, query = call.choices, call.row_pairs(heads), call.queries(heads)
        dtype, wide = query.dtype, accumulation_dtype(query.dtype)
        transform = choices.transform
        if transform.token_inputs or transform.two_dimensional or transform.layout != SEQUENCE:
            pairs = pairs.uncut()  # what T of a key is follows from its place among all of them
        by_precision = transform.standardization(heads) is not None
        if transform.uses_statistics and not by_precision:
            query, pairs = query.double(), pairs.double()

        def attend(rows: Tensor, formed: FormedPairs | JoinedPairs, found: KeyStatistics | None) -> Tensor:
            keys = formed.keys()
            if found is None:
                changed, keys = transform.per_query(rows, keys, formed.valid, heads)
            else:
                changed, keys = transform.by_statistics(rows, keys, found, heads)
            weights = _weights(choices, changed, keys, formed, heads, wide).to(rows.dtype)
            return formed.weighted_values(dropout(weights, call.dropout_p) if call.dropout_p else weights)

        with own_precision(query.device):
            width = 1 if _alike(choices, heads, pairs.kind) else query.shape[3]
            floor = transform.variance_floor if by_precision else None
            return by_rows(pairs, attend, query, floor, width).to(dtype)


def _alike(choices: Choices, heads: HeadSet, kind: Kind) -> bool:
    """Whether all queries have the same keys, as far as they may attend them."""
    return heads.scale == 1 and choices.transform.shared_refusal(kind) is None


def _few_features(choices: Choices, head_dim: int) -> bool:
    count = choices.feature_map.feature_count(head_dim)
    return count is not None and count <= 4 * head_dim


def _weights(
    choices: Choices,
    query: Tensor,
    keys: Tensor,
    pairs: FormedPairs | JoinedPairs,
    heads: HeadSet,
    wide: torch.dtype,
) -> Tensor:
    """Kappa / h, (batch, heads, R, Nt): a softmax, or else products of few features in ``wide``, or the definition."""
    feature_map, normalizer = choices.feature_map, choices.normalizer
    scale = feature_map.score_scale(query.shape[-1]) if normalizer.cancels_query_factors else None
    sink = normalizer.sink_logits(heads.members, query) if normalizer.sink else None
    if scale is not None:
        scores, added = _products(query * scale, keys), pairs.log_weight
        return softmax_of_pairs(scores if added is None else scores + added, pairs.valid, sink)
    if not _few_features(choices, query.shape[-1]):
        return normalized_kernel(choices, query, keys, pairs.valid, pairs.log_weight, heads)[0]
    query_features, key_features = (feature_map.features(each.to(wide)) for each in (query, keys))
    assert query_features is not None
    assert key_features is not None
    matrix = _products(query_features, key_features) * pairs.valid
    if (added := pairs.log_weight) is not None:
        matrix = matrix * added.exp()
    denominator = normalizer.denominator(matrix)
    if sink is not None:
        denominator = denominator + sink.exp().unsqueeze(-1)
    return matrix / (denominator + (denominator == 0))


def _products(query: Tensor, keys: Tensor) -> Tensor:
    """q . k of every query, (batch, heads, R, F), and its keys, (batch, heads, R or 1, Nt, F)."""
    if keys.shape[2] == 1:
        return query @ keys.squeeze(2).transpose(-2, -1)
    return (keys * query.unsqueeze(-2)).sum(-1)  # in a third of the time of a product with one column
