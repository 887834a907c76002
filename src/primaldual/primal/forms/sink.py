"""Softmax with a sink: one more pair of value 0, whose score is compared with the scores themselves."""

from __future__ import annotations

from torch import Tensor

from primaldual.kernels.precision import own_precision
from primaldual.kernels.statistics import accumulation_dtype
from primaldual.primal.call import Call
from primaldual.primal.choices import Choices
from primaldual.primal.forms.form import (
    Cost,
    Form,
    differentiable,
    over_row_blocks,
    row_pairs_refusal,
    softmax_cost,
    statistics_apart,
)
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.joined_sets import JoinedSet
from primaldual.primal.question import GRAPH, TRANSFORM, Question
from primaldual.primal.row_blocks import softmax_by_rows
from primaldual.primal.row_pairs import RowPairs
from primaldual.primal.training_sets import OWN, Kind, TrainingSet


class WithSink(Form):
    """sum_j exp(c q . k_j) v_j / (sum_j exp(c q . k_j) + e^s), with scores that lack no constant."""

    name = "sink"

    def refusal(self, choices: Choices, heads: HeadSet, question: Question) -> str | None:
        if not choices.normalizer.sink:
            return "needs a sink"
        if choices.feature_map.score_scale(question.head_dim) is None:
            return "needs the exponential kernel"
        if question.empty:
            return "needs a query and a key"
        if question.mode == TRANSFORM:
            return "has no rules for torch.func and forward-mode differentiation"
        kind = choices.subset.training_kind(heads, question.pairs, question.is_causal)
        if isinstance(kind, str):
            return kind
        refused = choices.transform.scored_refusal(kind)
        if choices.pair_weights.uneven:
            refused = refused or "needs scores of every query and key, which weights are added to"
        if not (refused or kind.pooled_late):
            return None
        if question.mode == GRAPH:
            return "forms pairs query by query outside of graphs"
        if own := row_pairs_refusal(choices):
            return own
        return refused and choices.transform.scored_refusal(Kind(OWN, pooled_late=True))

    def cost(self, choices: Choices, heads: HeadSet, question: Question) -> Cost:
        return softmax_cost(choices, heads, question, heads.pairs(question.key_length))

    def attend(self, call: Call, heads: HeadSet) -> Tensor:
        query, choices = call.queries(heads), call.choices
        scale = choices.feature_map.score_scale(query.shape[-1])
        assert scale is not None
        masks = call.attendable
        kind = choices.subset.training_kind(heads, masks.pairs is not None, masks.is_causal)
        assert isinstance(kind, Kind)
        by_rows = (
            kind == (OWN, True)
            or choices.pair_weights.uneven
            or choices.transform.scored_refusal(kind) is not None
            or statistics_apart(choices, heads, kind, masks.pairs is not None)
        )
        if by_rows:
            return self._by_rows(call, heads, scale)
        training = call.training_set(heads)

        def attend(rows: Tensor, seen: TrainingSet, first: int) -> Tensor:
            changed, seen, lacking = choices.transform.into_scored(rows, seen, heads)
            wide = changed.new_empty(0, dtype=accumulation_dtype(changed.dtype))
            logit = choices.normalizer.sink_logits(heads.members, wide)
            if lacking is not None:
                logit = logit - scale * lacking
            return seen.to(changed.dtype).softmax(changed, scale, call.dropout_p, logit)[:, :, first:]

        with own_precision(query.device):
            out = over_row_blocks(query, training, choices.transform, attend)
        return differentiable(out, choices)

    def _by_rows(self, call: Call, heads: HeadSet, scale: float) -> Tensor:
        """The output by pairs that every query forms."""
        query, choices = call.queries(heads), call.choices
        pairs, dtype = call.row_pairs(heads), query.dtype
        if choices.transform.uses_statistics:  # what scores lack is far larger than their differences
            query, pairs = query.double(), pairs.double()
        with own_precision(query.device):
            changed, seen, lacking = choices.transform.into_scored(query, pairs, heads)
            assert isinstance(seen, RowPairs | JoinedSet)
            assert lacking is None
            logit = choices.normalizer.sink_logits(
                heads.members, query.new_empty(0, dtype=accumulation_dtype(query.dtype))
            )
            out = softmax_by_rows(seen, changed, choices.transform, heads, scale, call.dropout_p, logit)
        return differentiable(out.to(dtype), choices)
