"""The delta rule on features of the keys, chunk after chunk."""

from __future__ import annotations

from torch import Tensor

from primaldual.kernels.delta_rule import delta_rule
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.masks import keep_attendable
from primaldual.kernels.precision import own_precision
from primaldual.kernels.statistics import accumulation_dtype
from primaldual.primal.call import Call
from primaldual.primal.choices import Choices
from primaldual.primal.forms.factored import features_refusal
from primaldual.primal.forms.form import Cost, Form
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.pair_weights import PairWeights
from primaldual.primal.question import EAGER, GRAPH, Question
from primaldual.primal.solvers import RATE


class ChunkedDelta(Form):
    """W_t = f_t W_(t-1) + beta_t (v_t - f_t W_(t-1) Phi_t) Phi_t', read by every query, with states between chunks only."""

    name = "chunked delta"

    def refusal(self, choices: Choices, heads: HeadSet, question: Question) -> str | None:
        if not choices.solver.delta_rule:
            return "computes delta rules"
        if question.mode == GRAPH:
            return "takes chunk after chunk outside of graphs"
        if not choices.untransformed:
            return "needs keys as they are"
        if question.pairs or question.query_length > question.key_length:
            return "needs a key for every query, and no mask that differs from query to query"
        if choices.pair_weights.summed:
            choices = choices._replace(pair_weights=PairWeights())
        return features_refusal(choices, heads, question._replace(mode=EAGER))

    def cost(self, choices: Choices, heads: HeadSet, question: Question) -> Cost:
        count = choices.feature_map.feature_count(question.head_dim) or 0
        number, length = question.batch * len(heads.members), question.key_length
        each = 3 * count * question.value_dim + 64 * (3 * count + 2 * question.value_dim)
        each += 2 * choices.feature_map.operations(question.head_dim)
        return Cost(2 * number * length * each, number * length * (4 * count + 2 * question.value_dim + 128))

    def attend(self, call: Call, heads: HeadSet) -> Tensor:
        query, feature_map, members = call.queries(heads), call.choices.feature_map, heads.members
        key, value = (for_query_heads(part, len(members)) for part in call.source.take(members))
        mask = call.attendable.keys
        with own_precision(query.device):
            wide = accumulation_dtype(query.dtype)
            features = [feature_map.features(each.to(wide)) for each in (query, key)]
            query_features, key_features = features
            assert query_features is not None
            assert key_features is not None
            rate, sums = call.inputs[RATE].to(wide), None
            if call.choices.pair_weights.summed:
                count, length = call.query.shape[1], call.source.length
                sums = call.choices.pair_weights.prefix_sums(heads, count, length, call.inputs, query)
            key_features, values = (keep_attendable(each, mask) for each in (key_features, value.to(wide)))
            return delta_rule(query_features, key_features, values, rate, sums)[0].to(value.dtype)
