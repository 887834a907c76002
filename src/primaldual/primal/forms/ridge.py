"""Ridge regression by features, and by one kernel matrix of keys that all queries share."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.kernels.cholesky import cholesky
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.modes import in_graph
from primaldual.kernels.precision import own_precision
from primaldual.kernels.ridge import regularized, regularized_name, ridge_attention
from primaldual.kernels.statistics import accumulation_dtype
from primaldual.primal.call import Call
from primaldual.primal.choices import Choices
from primaldual.primal.forms.factored import features_refusal
from primaldual.primal.forms.form import Cost, Form, differentiable, transform_operations
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.question import EAGER, TRANSFORM, Question
from primaldual.primal.training_sets import ALL

ROWS = 2**22
"""Kernel values of queries and keys that are formed at a time."""


class FactoredRidge(Form):
    """Phi(T q)' (lambda I + sum_j Phi_j Phi_j')^-1 sum_j Phi_j v_j', under a causal mask on every prefix."""

    name = "factored ridge"

    def refusal(self, choices: Choices, heads: HeadSet, question: Question) -> str | None:
        if choices.solver.ridge_penalty is None:
            return "solves ridge regressions"
        if choices.solver.ridge_penalty == 0:
            return "needs a penalty above 0"
        if question.mode == TRANSFORM and not choices.transform.uses_statistics:
            question = question._replace(mode=EAGER)
        return features_refusal(choices, heads, question)

    def cost(self, choices: Choices, heads: HeadSet, question: Question) -> Cost:
        count = choices.feature_map.feature_count(question.head_dim) or 0
        pairs, queries = heads.pairs(question.key_length), question.query_length
        each = 4 * count * (queries + pairs) if question.is_causal else 2 * count * pairs
        operations = count * each + 2 * count * (queries + pairs) * question.value_dim
        operations += (queries + pairs) * choices.feature_map.operations(question.head_dim)
        operations += transform_operations(choices, heads, question)
        number = question.batch * len(heads.members)
        return Cost(number * operations, number * count * (2 * queries + pairs + count))

    def attend(self, call: Call, heads: HeadSet) -> Tensor:
        penalty, query = call.choices.solver.ridge_penalty, call.queries(heads)
        assert penalty is not None
        training = call.training_set(heads)
        with own_precision(query.device):
            changed, training = call.choices.transform.shared(query, training, heads)
            wide = accumulation_dtype(query.dtype)
            features = [call.choices.feature_map.features(each.to(wide)) for each in (changed, training.key)]
            query_features, key_features = features
            assert query_features is not None
            assert key_features is not None
            value = training.value
            if training.log_weight is not None:
                root = (training.log_weight / 2).exp().mT
                key_features, value = key_features * root.to(wide), value.to(wide) * root.to(wide)
            out = ridge_attention(
                query_features,
                key_features,
                value,
                penalty,
                key_mask=training.attendable.keys,
                is_causal=training.attendable.is_causal,
            )
            return differentiable(out.to(training.value.dtype), call.choices)


class KernelRidge(Form):
    """kappa(T q, T K) c, c = (K + lambda I)^-1 v from one Cholesky factor of the matrix of the training keys."""

    name = "kernel ridge"

    def refusal(self, choices: Choices, heads: HeadSet, question: Question) -> str | None:
        if choices.solver.ridge_penalty is None:
            return "solves ridge regressions"
        if choices.pair_weights.uneven:
            return "needs pairs that count alike"
        if question.dropout:
            return "has no weights to drop"
        if question.empty:
            return "needs a query and a key"
        if question.mode == TRANSFORM and choices.transform.uses_statistics:
            return "has statistics of one derivative only"
        kind = choices.subset.training_kind(heads, question.pairs, question.is_causal)
        if isinstance(kind, str):
            return kind
        if kind.seen != ALL or kind.pooled_late:
            return "needs training keys that all queries share"
        return choices.transform.shared_refusal(kind)

    def cost(self, choices: Choices, heads: HeadSet, question: Question) -> Cost:
        pairs, queries = heads.pairs(question.key_length), question.query_length
        operations = 2 * pairs * (pairs + queries) * (question.head_dim + question.value_dim)
        operations += pairs**3 // 3 + transform_operations(choices, heads, question)
        number = question.batch * len(heads.members)
        return Cost(number * operations, number * 2 * pairs * pairs)

    def attend(self, call: Call, heads: HeadSet) -> Tensor:
        kernel, penalty, query = (
            call.choices.feature_map,
            call.choices.solver.ridge_penalty,
            call.queries(heads),
        )
        assert penalty is not None
        training = call.training_set(heads)
        with own_precision(query.device):
            changed, training = call.choices.transform.shared(query, training, heads)
            wide = accumulation_dtype(query.dtype)
            key, value = (
                for_query_heads(each, len(heads.members)).to(wide) for each in (training.key, training.value)
            )
            roots, mask = key.new_ones(key.shape[:3]), training.attendable.keys
            if training.log_weight is not None:
                roots = (training.log_weight / 2).exp().squeeze(2).to(wide) * roots
            if mask is not None:
                hidden = ~mask.squeeze(2)
                roots = roots.masked_fill(hidden, 0.0)
                key, value = (each.masked_fill(hidden.unsqueeze(-1), 0.0) for each in (key, value))
            system = regularized(kernel.kernel(key, key), roots, penalty)
            factor = cholesky(system, regularized_name(penalty))
            root = roots.unsqueeze(-1)
            coefficients = root * torch.cholesky_solve(root * value, factor)
            changed = changed.to(wide)
            rows = 0 if in_graph() else max(1, ROWS // key.shape[:3].numel())
            parts = changed.split(rows, 2) if rows else [changed]
            out = torch.cat([kernel.kernel(part, key) @ coefficients for part in parts], 2)
            return differentiable(out.to(training.value.dtype), call.choices)
