"""The definition itself, a few queries at a time: what every problem has."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import dropout

from primaldual.kernels.dense import weighted_sum
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.modes import in_graph
from primaldual.kernels.precision import own_precision
from primaldual.primal.call import Call
from primaldual.primal.choices import Choices
from primaldual.primal.definition import weights_of_heads
from primaldual.primal.forms.form import Cost, Form, transform_operations
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.question import Question
from primaldual.primal.sources import selection
from primaldual.primal.subsets import restrict

DENSE_ELEMENTS = 2**24
"""Largest intermediate of the dense form, in numbers; more queries are taken in chunks."""


class Dense(Form):
    """Training pairs of every query, kernel matrix, normaliser, weighted sum."""

    name = "dense"

    def refusal(self, choices: Choices, heads: HeadSet, question: Question) -> None:
        del choices, heads, question

    def caution(self, choices: Choices, heads: HeadSet, question: Question) -> str | None:
        del heads
        by_query = question.is_causal or question.pairs or choices.subset.patterned
        if choices.solver.by_row and by_query:
            return f"{choices.spec()} solves a system of the keys for every query"
        return None

    def cost(self, choices: Choices, heads: HeadSet, question: Question) -> Cost:
        pairs, queries = heads.pairs(question.key_length), question.query_length
        count, width = question.batch * len(heads.members), question.head_dim + question.value_dim
        alike = not (question.is_causal or question.pairs or choices.subset.patterned)
        operations = 2 * queries * pairs * width
        numbers = queries * pairs
        if not alike and (heads.scale > 1 or choices.transform.uses_statistics):
            numbers = min(queries * pairs * question.head_dim, DENSE_ELEMENTS)
        if not alike and heads.scale > 1:
            operations += 2 * queries * pairs * question.key_length * width
        if not choices.solver.has_map:
            systems = pairs * pairs * question.value_dim
            numbers = systems if alike else max(numbers, min(queries * systems, DENSE_ELEMENTS))
        steps = 1 if alike else queries
        operations += steps * transform_operations(choices, heads, question)
        operations += steps * choices.solver.row_operations(pairs, question.value_dim)
        return Cost(count * operations, count * numbers)

    def attend(self, call: Call, heads: HeadSet) -> Tensor:
        choices, members = call.choices, heads.members
        pairs = call.source.take(members)  # projected as autocast says
        query = call.queries(heads)
        key, value = (for_query_heads(part, len(members)) for part in pairs)
        attendable = call.attendable.select(selection(members))
        pattern = choices.subset.allowed(query.shape[2], key.shape[2], query.device)
        if pattern is not None:
            attendable = restrict(attendable, pattern)
        allowed = attendable.matrix(query.shape[2], key.shape[2], query.device)

        def rows_of(part: Tensor, allowed: Tensor, start: int = 0) -> Tensor:
            added = None
            if choices.pair_weights.uneven:
                added = call.log_weights(heads, slice(start, start + part.shape[2]), part)
            seen = call.inputs_of(slice(start, start + part.shape[2]))
            weights, values, _ = weights_of_heads(choices, part, key, value, allowed, heads, added, seen)
            kept = dropout(weights, call.dropout_p) if call.dropout_p else weights
            return weighted_sum(kept, values).to(value.dtype)

        with own_precision(query.device):
            if in_graph() or query.numel() == 0 or key.numel() == 0:
                return rows_of(query, allowed)
            numbers = key.numel()
            if not choices.solver.amortized and allowed.shape[2] > 1:  # a matrix of the keys for every query
                systems = 1 if choices.solver.has_map else value.shape[3]
                numbers = max(numbers, key.shape[:3].numel() * key.shape[2] * systems)
            rows = max(1, DENSE_ELEMENTS // numbers)
            parts = query.split(rows, 2)
            patterns = allowed.split(rows, 2) if allowed.shape[2] > 1 else [allowed] * len(parts)
            starts = range(0, query.shape[2], rows)
            return torch.cat([rows_of(*each) for each in zip(parts, patterns, starts, strict=True)], 2)
