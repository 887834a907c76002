"""Softmax of scores over all keys, or a prefix of them, by scaled_dot_product_attention."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from primaldual.kernels.gradient_layout import gradient_laid_out
from primaldual.kernels.precision import own_precision
from primaldual.primal.call import Call
from primaldual.primal.choices import Choices
from primaldual.primal.forms.form import (
    Cost,
    Form,
    Prepared,
    differentiable,
    over_row_blocks,
    pairs_scored,
    shared_pairs_refusal,
    softmax_cost,
    softmax_refusal,
    transform_operations,
)
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.question import Question
from primaldual.primal.training_sets import TrainingSet


class Softmax(Form):
    """sum_j softmax_j(c q' . k'_j) v_j with queries that carry the transform, for each set of heads."""

    name = "softmax"

    def refusal(self, choices: Choices, heads: HeadSet, question: Question) -> str | None:
        if refused := softmax_refusal(choices, question):
            return refused
        return shared_pairs_refusal(choices, heads, question)

    def cost(self, choices: Choices, heads: HeadSet, question: Question) -> Cost:
        scored, pairs = pairs_scored(choices, heads, question), heads.pairs(question.key_length)
        count = question.batch * len(heads.members)
        operations = 2 * scored * (question.head_dim + question.value_dim) + transform_operations(
            choices, heads, question
        )
        numbers = 2 * pairs * question.head_dim
        late = question.is_causal and heads.scale > 1
        parts = choices.subset.with_heads(heads)
        irregular = any(part.patterned and part.reach is None for part, _ in parts)
        if late or question.pairs or irregular:
            numbers += question.query_length * pairs
        return Cost(count * operations, count * numbers)

    def prepared(self, choices: Choices, sets: list[HeadSet], question: Question) -> Prepared | None:
        windows = choices.subset.windows(sets[0])
        everything = windows is not None and windows.size == 1 and not choices.subset.patterned
        if len(sets) > 1 or not (choices.untransformed and everything):
            return None
        causal = question.is_causal and question.query_length > 1
        if causal and not question.square:
            return None
        scale, sharing = choices.softmax_scale(question.head_dim), question.heads != question.kv_heads

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return gradient_laid_out(
                scaled_dot_product_attention(
                    query, key, value, is_causal=causal, scale=scale, enable_gqa=sharing
                )
            )

        return attend

    def attend(self, call: Call, heads: HeadSet) -> Tensor:
        query, transform = call.queries(heads), call.choices.transform
        training = call.training_set(heads)  # projected as autocast says

        def attend(rows: Tensor, seen: TrainingSet, first: int) -> Tensor:
            changed, seen = transform.into_query(rows, seen, heads)
            return seen.softmax(changed, call.scale, call.dropout_p)[:, :, first:]

        with own_precision(query.device):
            out = over_row_blocks(query, training, transform, attend)
        return differentiable(out, call.choices)


class Band(Softmax):
    """The same over a window around every query, block by block of queries: O(N w)."""

    name = "band"

    def prepared(self, choices: Choices, sets: list[HeadSet], question: Question) -> None:
        del choices, sets, question

    def refusal(self, choices: Choices, heads: HeadSet, question: Question) -> str | None:
        if choices.subset.reach is None:
            return "needs a subset that reaches a limited number of positions"
        if question.pairs:
            return "needs the same mask for every query"
        return super().refusal(choices, heads, question)

    def cost(self, choices: Choices, heads: HeadSet, question: Question) -> Cost:
        return softmax_cost(choices, heads, question, question.key_length)
