"""The delta rule on features, token by token: its weights, of a size that does not grow."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.kernels.delta_rule import delta_rule
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.statistics import accumulation_dtype
from primaldual.primal.decoding.fixed_size import FixedSizeDecoder
from primaldual.primal.decoding.memory import Memory
from primaldual.primal.decoding.new_tokens import NewTokens
from primaldual.primal.feature_maps import FeatureMap
from primaldual.primal.solvers import RATE, Solver


class DeltaSums(FixedSizeDecoder):
    """out_t = Phi(q_t)' W_t,  W_t = W_(t-1) + beta_t Phi_t (v_t - Phi_t' W_(t-1)), in float32 or wider.

    Args:
        feature_map: Phi, finite.
        solver: accepts the steps.
    """

    most = 512  # as many as the sums of features take at once

    def __init__(self, feature_map: FeatureMap, solver: Solver) -> None:
        self.feature_map = feature_map
        self.solver = solver

    def start(self, query: Tensor, key: Tensor, value: Tensor, capacity: int) -> Memory:
        count = self.feature_map.feature_count(key.shape[3])
        assert count is not None
        wide = accumulation_dtype(value.dtype)
        shape = (*query.shape[:2], count, value.shape[3])
        return Memory({"weights": value.new_zeros(shape, dtype=wide)})

    def one(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, position: int) -> Tensor:
        batch = query.shape[0]
        return self.many(
            query, key, value, memory, NewTokens([position] * batch, [1] * batch, 1, query.device)
        )

    def many(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, tokens: NewTokens) -> Tensor:
        weights, heads = memory["weights"], query.shape[1]
        queries, keys = (self.features(each, weights) for each in (query, key))
        keys, values = for_query_heads(keys, heads), for_query_heads(value, heads).to(weights.dtype)
        if tokens.members is not None:
            keys = torch.where(tokens.members[:, None, :, None], keys, 0.0)
        self.solver.check_inputs(tokens.inputs)
        rate = tokens.inputs[RATE].to(weights.dtype)
        if tokens.length == 1:
            memory["weights"] = weights + keys.mT @ (rate * (values - keys @ weights))
            return (queries @ memory["weights"]).to(query.dtype)
        out, memory["weights"] = delta_rule(queries, keys, values, rate.squeeze(-1), state=weights)
        return out.to(query.dtype)

    def absorb(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, tokens: NewTokens) -> None:
        self.many(query, key, value, memory, tokens)
