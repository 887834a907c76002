"""Softmax over pairs that every query forms of what it may attend, by scores of the keys themselves."""

from __future__ import annotations

from torch import Tensor

from primaldual.kernels.precision import own_precision
from primaldual.primal.call import Call
from primaldual.primal.choices import Choices
from primaldual.primal.forms.form import (
    Cost,
    Form,
    differentiable,
    row_pairs_refusal,
    softmax_refusal,
)
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.joined_sets import JoinedSet
from primaldual.primal.pair_weights import PairWeights
from primaldual.primal.question import GRAPH, Question
from primaldual.primal.row_blocks import BLOCK_NUMBERS, softmax_by_rows
from primaldual.primal.row_pairs import RowPairs
from primaldual.primal.training_sets import OWN, Kind


class Scores(Form):
    """softmax_t(q . mean(k_j)) mean(v_j) = products of q . k_j and v_j with means taken in between: N x N, a few times.

    Means and convolutions are linear in the keys, so they are taken of the scores, for any mask.
    """

    name = "scores"

    def refusal(self, choices: Choices, heads: HeadSet, question: Question) -> str | None:
        if question.mode == GRAPH:
            return "runs outside of graphs"
        if refused := softmax_refusal(choices._replace(pair_weights=PairWeights()), question):
            return refused
        if refused := row_pairs_refusal(choices):
            return refused
        kind = choices.subset.training_kind(heads, question.pairs, question.is_causal)
        if isinstance(kind, str):
            return kind
        return choices.transform.scores_refusal(Kind(OWN, pooled_late=True))

    def cost(self, choices: Choices, heads: HeadSet, question: Question) -> Cost:
        matrix = question.batch * len(heads.members) * question.query_length * question.key_length
        taps = choices.transform.operations(1, 0, question.head_dim) // 2
        return Cost(
            2 * matrix * (max(taps, question.head_dim) + question.value_dim), min(matrix, BLOCK_NUMBERS)
        )

    def attend(self, call: Call, heads: HeadSet) -> Tensor:
        pairs, query = call.row_pairs(heads), call.queries(heads)
        with own_precision(query.device):
            transform = call.choices.transform
            changed, training = transform.into_scores(query, pairs, heads)
            scale = call.choices.feature_map.score_scale(query.shape[-1])
            assert isinstance(training, RowPairs | JoinedSet)
            assert scale is not None
            out = softmax_by_rows(training, changed, transform, heads, scale, call.dropout_p)
        return differentiable(out.to(query.dtype), call.choices)
