"""Factored attention on NVIDIA GPUs by kernels in Triton, which keep nothing as large as the keys in float32."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.kernels.gpu import availability
from primaldual.kernels.gpu.linear_limits import DTYPES, widest
from primaldual.kernels.modes import in_graph
from primaldual.kernels.precision import own_precision
from primaldual.primal.call import Call
from primaldual.primal.choices import Choices
from primaldual.primal.forms.factored import Factored
from primaldual.primal.forms.form import Prepared, operator_refusal
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.question import Question
from primaldual.primal.training_sets import TrainingSet


class TritonFactored(Factored):
    """Phi(T q) . sum_j Phi(T k_j) v_j^T / Phi(T q) . sum_j Phi(T k_j), elementwise Phi within the kernels."""

    name = "factored by Triton"
    device = "cuda"

    def refusal(self, choices: Choices, heads: HeadSet, question: Question) -> str | None:
        if not availability.available(question.device):
            return "runs on NVIDIA GPUs, where Triton is installed"
        if question.dtype not in DTYPES:
            return "serves bfloat16, float16 and float32"
        if refused := operator_refusal(question):
            return refused
        if refused := super().refusal(choices, heads, question):
            return refused
        if not choices.normalizer.factored:
            return "divides by the sum of kernels"
        most = widest(question.device)
        if max(choices.feature_map.feature_count(question.head_dim) or 0, question.value_dim) > most:
            return f"serves up to {most} features, and values of up to {most}, on this GPU"
        if question.is_causal and not question.square:
            return "needs as many queries as keys under a causal mask"
        return None

    def prepared(self, choices: Choices, sets: list[HeadSet], question: Question) -> Prepared | None:
        windows, features = choices.subset.windows(sets[0]), choices.feature_map.elementwise
        everything = windows is not None and windows.size == 1 and not choices.subset.patterned
        if len(sets) > 1 or not (choices.untransformed and everything and features):
            return None
        from primaldual.kernels.gpu.linear import unchecked_linear_attention

        is_causal = question.is_causal

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            dtype = query.dtype
            return unchecked_linear_attention(
                query, key.to(dtype), value.to(dtype), None, is_causal, features
            )

        return attend

    def attend(self, call: Call, heads: HeadSet) -> Tensor:
        if in_graph():
            from primaldual.kernels.gpu.operators.linear import linear_attention
        else:
            from primaldual.kernels.gpu.linear import linear_attention

        query, feature_map = call.queries(heads), call.choices.feature_map
        training = call.training_set(heads)
        dtype = query.dtype
        with own_precision(query.device):
            changed, training = call.choices.transform.shared(query, training, heads)
            mask = training.attendable.keys
            if mask is not None and mask.shape[1] not in (1, training.key.shape[1]):
                training = training.for_query_heads(query.shape[1])
            features = feature_map.elementwise
            if features is None or training.log_weight is not None:
                features, dtype = "identity", torch.float32  # features leave the range of half precision
                changed, training = _features(call.choices, changed, training)
            out = linear_attention(
                changed.to(dtype),
                training.key.to(dtype),
                training.value.to(dtype),
                key_mask=mask,
                is_causal=training.attendable.is_causal,
                features=features,
            )
            return out.to(call.query.dtype)


def _features(choices: Choices, query: Tensor, training: TrainingSet) -> tuple[Tensor, TrainingSet]:
    """Phi of queries and keys in float32, those of keys times what each pair counts."""
    query_features = choices.feature_map.features(query.float())
    key_features = choices.feature_map.features(training.key.float())
    assert query_features is not None
    assert key_features is not None
    if training.log_weight is not None:
        key_features = key_features * training.log_weight.transpose(-2, -1).exp().to(key_features.dtype)
    return query_features, training.with_keys(key_features)
